"""Profiles, and the runs behind Tables 1 to 6 and Figures 4, 5 and 9: the CIFAR-100 half (Section 5.1)."""

from dataclasses import dataclass, replace
from functools import lru_cache

from dclib import datasets
from dclib.correction import RELEASED_CIFAR100, UnitDesign
from dclib.distortions import DISTORTIONS, levels
from dclib.errors import InputError
from dclib.runs import FRACTIONS, SEMANTICS, Run, Schedule, Selection

CONV = tuple(f"conv{i}" for i in range(1, 10))
TOP = CONV[6:]
#: l2 coefficients of the released baseline; fine-tuned layers keep theirs. DeepCorrect's networks have one for all, which
#: acts on what -c variants train and is else reported in the loss alone.
RELEASED_L2 = tuple((layer, 3e-4 if layer in CONV[:6] else 1e-4) for layer in CONV)
DEEPCORRECT_L2 = tuple((layer, 1e-4) for layer in CONV)


@dataclass(frozen=True)
class Profile:
    """One scale at which the paper's runs are made.

    `narrow` and `wide` are the corrected filters of conv1..3 and conv4..6, `score` is what filters are ranked by.
    `baseline_layers` are those that the baseline trains. `stand_in` says in a few words how the profile differs from the
    paper; empty where it does not.
    """

    name: str
    dataset: str
    classes: int
    width: int
    narrow: int
    wide: int
    design: UnitDesign
    baseline: Schedule
    finetune: Schedule
    deepcorrect: Schedule
    ranking_images: int
    ranking_split: str
    seeds: tuple[int, ...]
    deep_warm_up: int = 0
    photographs: tuple[int, ...] = ()
    validation_images: int | None = None
    batchnorm_momentum: float = 0.01
    precision: str = "float32"
    score: str = "relative_error"
    stand_in: str = ""
    batch_statistics: bool = True
    baseline_layers: tuple[str, ...] = ()


def _paper() -> Profile:
    """The released schedules: steps of a tenth (Section 5.1.1)."""
    per_epoch = 176  # 45,000 images in batches of 256
    baseline = Schedule(110 * per_epoch, 256, 0.1, tuple(per_epoch * e for e in (30, 60, 90)), per_epoch,
                        augmentation="rotate-shift-flip", l2=RELEASED_L2)
    # 40 "epochs" of 90,000 samples, as released: twice the passes that the text names. Four equal parts.
    finetune = Schedule(40 * 360, 250, 0.01, (10 * 360, 20 * 360, 30 * 360), 360, decay=1e-5,
                        augmentation="rotate-shift-flip", l2=RELEASED_L2)
    deepcorrect = replace(finetune, learning_rate=0.1, l2=DEEPCORRECT_L2, l1=1e-5)
    return Profile("paper", "cifar100", 100, 96, 50, 100, RELEASED_CIFAR100, baseline, finetune, deepcorrect,
                   10, "train", (0, 1, 2), deep_warm_up=360, precision="bfloat16")


def _one_cycle(iterations: int, batch: int, peak: float, looks: int, **more) -> Schedule:
    """A short training: the rate rises over the first sixth, and falls to zero."""
    return Schedule(iterations, batch, peak, (), -(-iterations // looks), shape="one-cycle", warm_up=iterations // 6, **more)


def _retraining(iterations: int, batch: int, looks: int, finetune: float, deepcorrect: float) -> tuple[Schedule, Schedule]:
    """Finetune-k's and Deepcorr-k's schedule with their peak rates: the same images for both."""
    return (_one_cycle(iterations, batch, finetune, looks, l2=RELEASED_L2),
            _one_cycle(iterations, batch, deepcorrect, looks, l2=DEEPCORRECT_L2, l1=1e-5))


# Peak rates of the short schedules were chosen on held-out training images, from as many candidates for Finetune as for
# DeepCorrect and with the same images: `python -m benchmarks.peak_rates`; what was tried stands in benchmarks/results. At the
# full width they are those of `small`.


def _short_training() -> Profile:
    baseline = _one_cycle(16 * 176, 256, 0.2, 8, l2=RELEASED_L2)
    finetune, deepcorrect = _retraining(1000, 125, 8, 0.01, 0.1)
    return Profile("short-training", "cifar100", 100, 96, 50, 100, RELEASED_CIFAR100, baseline, finetune, deepcorrect,
                   5, "train", (0,), validation_images=1000, stand_in="the paper's own network, trained for a short time")


def _small() -> Profile:
    baseline = _one_cycle(15 * 176, 256, 0.2, 8, l2=RELEASED_L2)
    finetune, deepcorrect = _retraining(1000, 125, 8, 0.01, 0.1)
    return Profile("small", "cifar100", 100, 32, 16, 32, UnitDesign(width=16, input_batchnorm=True), baseline,
                   finetune, deepcorrect, 10, "train", (0, 1, 2), validation_images=1000,
                   stand_in="CIFAR-100 at a third of the width (32, 64 channels), units of width 16 on half the filters")


def _photographs(name: str, counts: tuple[int, int, int], width: int, baseline: int, retrain: int, batch: int,
                 per_class: int, seeds: tuple[int, ...]) -> Profile:
    finetune, deepcorrect = _retraining(retrain, batch, 4, 0.001, 0.1)
    return Profile(name, "photographs", len(datasets.PHOTOGRAPHS), width, width // 2, width,
                   UnitDesign(width=16, input_batchnorm=True, batchnorm_momentum=0.1),
                   _one_cycle(baseline, batch, 0.1, 4, l2=RELEASED_L2), finetune, deepcorrect,
                   per_class, "train", seeds, photographs=counts, batchnorm_momentum=0.1,
                   stand_in=f"{len(datasets.PHOTOGRAPHS)} classes of patches from photographs, {width} and "
                            f"{2 * width} channels")


PROFILES = {
    "smoke": lambda: _photographs("smoke", (12, 6, 8), 8, 8, 4, 50, 1, (0,)),
    "miniature": lambda: _photographs("miniature", (250, 20, 60), 24, 200, 64, 128, 5, (0,)),
    "small": _small,
    "short-training": _short_training,
    "imagenet20": lambda: replace(_paper(), name="imagenet20"),  # paper's CIFAR-100 half; ImageNet has a stand-in
    "paper": _paper,
}


@lru_cache
def profile(name: str) -> Profile:
    """The profile called `name`: smoke, miniature, small, short-training, imagenet20 or paper."""
    if name not in PROFILES:
        raise InputError(f"profile: expected one of {', '.join(PROFILES)}, got {name!r}.")
    return PROFILES[name]()


def _common(p: Profile, seed: int) -> dict:
    return {"dataset": p.dataset, "fingerprint": fingerprint(p), "classes": p.classes, "width": p.width, "seed": seed,
            "photographs": p.photographs, "batchnorm_momentum": p.batchnorm_momentum, "precision": p.precision,
            "semantics": SEMANTICS}


@lru_cache
def _photographs_fingerprint(counts: tuple[int, ...]) -> str:
    return datasets.photographs(*counts).fingerprint


def fingerprint(p: Profile) -> str:
    """The fingerprint of the profile's data set."""
    return _photographs_fingerprint(p.photographs) if p.photographs else datasets.fingerprint_of(p.dataset)


def _levels(distortion: str) -> dict:
    return {"distortion": distortion, "sigmas": levels("cifar100", distortion)}


def baseline(p: Profile, seed: int = 0) -> Run:
    """The network trained on clean images."""
    return Run("train", "Baseline", **_common(p, seed), layers=p.baseline_layers, schedule=p.baseline,
               validation_images=p.validation_images, batch_statistics=bool(p.baseline_layers))


def baseline_under(p: Profile, distortion: str, seed: int = 0) -> Run:
    """The baseline's accuracy per level of a distortion (Tables 1 and 2)."""
    return Run("evaluate", "Baseline", **_common(p, seed), **_levels(distortion), base=baseline(p, seed))


def finetune(p: Profile, k: int, distortion: str, seed: int = 0) -> Run:
    """Finetune-k: the first k convolutions and their BatchNorm trained on (Section 5.1.1)."""
    return Run("train", f"Finetune-{k}", **_common(p, seed), **_levels(distortion), layers=CONV[:k],
               schedule=p.finetune, base=baseline(p, seed), validation_images=p.validation_images,
               batch_statistics=p.batch_statistics)


def ranking(p: Profile, distortion: str, seed: int = 0) -> Run:
    """Algorithm 1 over conv1..conv6: accuracy after each filter's swap, per level."""
    return Run("rank", "Algorithm 1", **_common(p, seed), **_levels(distortion), layers=CONV[:6],
               ranking_images=p.ranking_images, ranking_split=p.ranking_split, base=baseline(p, seed))


def swaps(p: Profile, distortion: str, seed: int = 0) -> Run:
    """Top fractions of one layer's filters swapped together (Figures 4 and 5)."""
    return Run("swap", "Figures 4 and 5", **_common(p, seed), **_levels(distortion), layers=CONV[:6],
               ranking_images=p.ranking_images, ranking_split=p.ranking_split, fractions=FRACTIONS,
               selection=Selection("ranked", "local", p.score, ()), base=baseline(p, seed),
               ranking=ranking(p, distortion, seed))


def deepcorrect(p: Profile, k: int, distortion: str, seed: int = 0, *, also_top: bool = False) -> Run:
    """Deepcorr-k, or Deepcorr-kc with `also_top` (Section 5.1.2)."""
    counts = tuple((layer, p.narrow if i < 3 else p.wide) for i, layer in enumerate(CONV[:k]))
    selection = Selection("ranked", "local", p.score, counts)
    return replace(_corrected(p, f"Deepcorr-{k}{'c' if also_top else ''}", distortion, seed, selection),
                   also_train=TOP if also_top else ())


def global_deepcorrect(p: Profile, distortion: str, seed: int = 0) -> Run:
    """Deepcorr-6c with the top half of all filters of six layers, ranked together (Table 5)."""
    counts = tuple((layer, p.width // 2 if i < 3 else p.width) for i, layer in enumerate(CONV[:6]))
    selection = Selection("ranked", "global", p.score, counts)
    return replace(_corrected(p, "Deepcorr-6c global", distortion, seed, selection), also_train=TOP)


def first_layer(p: Profile, order: str, share: int, distortion: str, seed: int = 0, draw: int = 0) -> Run:
    """`share` of 96 filters of conv1 corrected, chosen by rank, least rank or chance (Figure 9, Table 6).

    In a narrower network the same fraction of its filters is taken.
    """
    name = {"ranked": f"ranked_{share}", "random": f"random_{share}", "least": f"ranked_{share}_least"}[order]
    selection = Selection(order, "local", p.score, ((CONV[0], max(1, share * p.width // 96)),), draw)
    return _corrected(p, name, distortion, seed, selection)


def unit_variants(p: Profile, distortion: str, seed: int = 0) -> dict[str, Run]:
    """Deepcorr-1 with the kinds of unit that Tables 7, 8, 11 and 12 compare on AlexNet, for the small network."""
    run = deepcorrect(p, 1, distortion, seed)
    designs = {"no-bn": replace(p.design, batchnorm=False, input_batchnorm=False),
               "lite": replace(p.design, width=max(1, p.design.width // 2)),
               "bottleneck": UnitDesign(max(1, p.narrow // 2), (1, 3, 3, 3, 1), input_batchnorm=True)}
    return {"Deepcorr-1": run} | {f"Deepcorr-1-{kind}": replace(run, method=f"Deepcorr-1-{kind}", design=design)
                                  for kind, design in designs.items()}


#: Where the paper's text and the released code differ, by the name of the choice; and one that only the code makes.
CHOICES = ("score", "ranking images", "filters", "unit width", "passes", "augmentation", "frozen BatchNorm",
           "untrained top")


def as_in_the_text(p: Profile, choice: str) -> Profile:
    """`p` with one choice made as the paper's text has it instead of as the released code has it.

    "frozen BatchNorm" keeps the statistics of frozen BatchNorms too, as Section 4.2 reads; released they follow the
    mini-batches. "untrained top" is the other way round: the released script of the baseline leaves conv7, conv8 and conv9
    at their initial draw. Whether the published baseline was made so is not known.
    """
    if choice == "score":
        return replace(p, score="priority")
    if choice == "ranking images":
        return replace(p, ranking_split="validation")
    if choice == "filters":
        return replace(p, narrow=p.width // 2, wide=p.width)
    if choice == "unit width":
        return replace(p, design=replace(p.design, width=None))
    if choice == "passes":
        return replace(p, finetune=shortened(p.finetune, 0.5), deepcorrect=shortened(p.deepcorrect, 0.5))
    if choice == "augmentation":
        other = "pad-crop-flip" if p.finetune.augmentation == "rotate-shift-flip" else "rotate-shift-flip"
        return replace(p, finetune=replace(p.finetune, augmentation=other),
                       deepcorrect=replace(p.deepcorrect, augmentation=other))
    if choice == "frozen BatchNorm":
        return replace(p, batch_statistics=False)
    if choice == "untrained top":
        return replace(p, baseline_layers=CONV[:6])
    raise InputError(f"choice: expected one of {', '.join(CHOICES)}, got {choice!r}.")


def shortened(schedule: Schedule, share: float) -> Schedule:
    """A complete schedule of the same shape with that share of the iterations."""
    def cut(iterations: int) -> int:
        return int(iterations * share)

    return replace(schedule, iterations=cut(schedule.iterations), warm_up=cut(schedule.warm_up),
                   drops=tuple(map(cut, schedule.drops)), evaluate_every=max(1, cut(schedule.evaluate_every)))


def _corrected(p: Profile, method: str, distortion: str, seed: int, selection: Selection) -> Run:
    layers = tuple(layer for layer, _ in selection.counts)
    schedule = p.deepcorrect
    if len(layers) > 4 and p.deep_warm_up:  # released: with more than four corrected layers the first epoch runs at 0.01
        schedule = replace(schedule, warm_up=p.deep_warm_up, warm_up_rate=0.01)
    return Run("train", method, **_common(p, seed), **_levels(distortion), layers=layers, design=p.design,
               selection=selection, schedule=schedule, base=baseline(p, seed),
               ranking=ranking(p, distortion, seed) if selection.order != "random" else None,
               validation_images=p.validation_images, batch_statistics=p.batch_statistics)


def method_run(p: Profile, method: str, distortion: str, seed: int = 0) -> Run:
    """The run behind a row of Tables 3 and 4, by the paper's name for it."""
    name, _, rest = method.partition("-")
    k, also_top = rest.removesuffix("c"), rest.endswith("c")
    if method == "Baseline":
        return baseline_under(p, distortion, seed)
    if k.isdigit() and name == "Finetune" and not also_top and 1 <= int(k) <= 9:
        return finetune(p, int(k), distortion, seed)
    if k.isdigit() and name == "Deepcorr" and 1 <= int(k) <= 6:
        return deepcorrect(p, int(k), distortion, seed, also_top=also_top)
    raise InputError(f"method: expected Baseline, Finetune-1..9 or Deepcorr-1..6 with or without c, got {method!r}.")


METHODS = ("Baseline", "Finetune-1", "Finetune-3", "Finetune-6", "Finetune-9", "Deepcorr-1", "Deepcorr-3",
           "Deepcorr-6", "Deepcorr-1c", "Deepcorr-3c", "Deepcorr-6c")
SHARES = (6, 12, 24, 48)
DRAWS = 10
TARGETS = ("table1", "table2", "table3", "table4", "figure4", "figure5", "table5", "table6", "figure9", "audit", "budget")
#: What is made with the first seed alone: draws and choices are compared there, not trainings.
FIRST_SEED = ("table6", "figure9", "audit", "budget")
#: Accuracy over the images that a training sees: networks, and shares of the profile's iterations.
BUDGETED = tuple(f"{family}-{k}" for k in (1, 3, 6) for family in ("Finetune", "Deepcorr"))
BUDGETS = (0.25, 0.5, 1.0)


def rows(target: str, p: Profile, seeds: tuple[int, ...]) -> dict[str, list[Run]]:
    """The rows of one of `TARGETS`: {label: one run per seed}, labels as `verdicts` asks for them.

    A random choice of filters has one run per draw, and `FIRST_SEED`'s targets have the first seed alone.
    """
    if target in FIRST_SEED:
        seeds = seeds[:1]
    if target in ("table1", "table2"):
        distortion = DISTORTIONS[int(target[-1]) - 1]
        return {"Baseline": [baseline_under(p, distortion, s) for s in seeds]}
    if target in ("table3", "table4"):
        distortion = DISTORTIONS[int(target[-1]) - 3]
        return {m: [method_run(p, m, distortion, s) for s in seeds] for m in METHODS}
    if target in ("figure4", "figure5"):
        return {d: [swaps(p, d, s) for s in seeds] for d in DISTORTIONS}
    if target == "table5":
        return {f"{scope} {d}": [make(p, d, s) for s in seeds] for d in DISTORTIONS
                for scope, make in (("local", _local_6c), ("global", global_deepcorrect))}
    if target in ("table6", "figure9"):
        return _first_layer_rows(p, seeds, DRAWS)
    if target == "audit":
        return {f"{method} {d} {choice}": [method_run(as_in_the_text(p, choice), method, d, s) for s in seeds]
                for method in ("Deepcorr-1", "Deepcorr-6c") for d in DISTORTIONS for choice in CHOICES}
    if target == "budget":
        return {f"{method} {d} {share:g}": [method_run(with_budget(p, share), method, d, s) for s in seeds]
                for d in DISTORTIONS for method in BUDGETED for share in BUDGETS}
    raise InputError(f"target: expected one of {', '.join(TARGETS)}, got {target!r}.")


def with_budget(p: Profile, share: float) -> Profile:
    """`p` with retrainings of that share of the iterations, each with a complete schedule of its own."""
    if share == 1:
        return p
    return replace(p, finetune=shortened(p.finetune, share), deepcorrect=shortened(p.deepcorrect, share))


def _local_6c(p: Profile, distortion: str, seed: int) -> Run:
    return method_run(p, "Deepcorr-6c", distortion, seed)


def _first_layer_rows(p: Profile, seeds: tuple[int, ...], draws: int) -> dict[str, list[Run]]:
    labelled = {}
    for distortion in DISTORTIONS:
        for share in SHARES:
            labelled[f"ranked_{share} {distortion}"] = [first_layer(p, "ranked", share, distortion, seeds[0])]
        labelled[f"ranked_48_least {distortion}"] = [first_layer(p, "least", 48, distortion, seeds[0])]
        for share in SHARES:
            labelled[f"random_{share} {distortion}"] = [first_layer(p, "random", share, distortion, seeds[0], draw)
                                                        for draw in range(draws)]
    return labelled
