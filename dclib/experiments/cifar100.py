"""The runs behind Tables 1 to 6 and Figures 4, 5 and 9: the CIFAR-100 half (Section 5.1)."""

from dataclasses import replace
from functools import lru_cache

from dclib import datasets
from dclib.correction import UnitDesign
from dclib.distortions import DISTORTIONS, levels
from dclib.errors import InputError
from dclib.experiments.profiles import CONV, Profile
from dclib.experiments.published import FILES
from dclib.experiments.run import FRACTIONS, Run, Selection
from dclib.experiments.variations import CHOICES, as_in_the_text, with_budget
from dclib.training import SEMANTICS

TOP = CONV[6:]


def common(p: Profile, seed: int) -> dict:
    """What all runs of a profile's CIFAR-100 half say."""
    return {
        "dataset": p.dataset,
        "fingerprint": fingerprint(p),
        "classes": p.classes,
        "width": p.width,
        "seed": seed,
        "photographs": p.photographs,
        "batchnorm_momentum": p.batchnorm_momentum,
        "precision": p.precision,
        "semantics": SEMANTICS,
    }


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
    if p.published:
        return _published(p, "Baseline")
    return Run(
        "train",
        "Baseline",
        **common(p, seed),
        layers=p.baseline_layers,
        schedule=p.baseline,
        validation_images=p.validation_images,
        batch_statistics=bool(p.baseline_layers),
    )


def baseline_under(p: Profile, distortion: str, seed: int = 0) -> Run:
    """The baseline's accuracy per level of a distortion (Tables 1 and 2)."""
    return Run("evaluate", "Baseline", **common(p, seed), **_levels(distortion), base=baseline(p, seed))


def finetune(p: Profile, k: int, distortion: str, seed: int = 0) -> Run:
    """Finetune-k: the first k convolutions and their BatchNorm trained on (Section 5.1.1)."""
    if p.published:
        return _published(p, f"Finetune-{k}", distortion, layers=CONV[:k], base=baseline(p))
    return Run(
        "train",
        f"Finetune-{k}",
        **common(p, seed),
        **_levels(distortion),
        layers=CONV[:k],
        schedule=p.finetune,
        base=baseline(p, seed),
        validation_images=p.validation_images,
        batch_statistics=p.batch_statistics,
    )


def ranking(p: Profile, distortion: str, seed: int = 0) -> Run:
    """Algorithm 1 over conv1..conv6: accuracy after each filter's swap, per level."""
    return Run(
        "rank",
        "Algorithm 1",
        **common(p, seed),
        **_levels(distortion),
        layers=CONV[:6],
        ranking_images=p.ranking_images,
        ranking_split=p.ranking_split,
        base=baseline(p, seed),
    )


def swaps(p: Profile, distortion: str, seed: int = 0) -> Run:
    """Top fractions of one layer's filters swapped together (Figures 4 and 5)."""
    return Run(
        "swap",
        "Figures 4 and 5",
        **common(p, seed),
        **_levels(distortion),
        layers=CONV[:6],
        ranking_images=p.ranking_images,
        ranking_split=p.ranking_split,
        fractions=FRACTIONS,
        selection=Selection("ranked", "local", p.score, ()),
        base=baseline(p, seed),
        ranking=ranking(p, distortion, seed),
    )


def joint_selection(p: Profile, layer: str, distortion: str, seed: int = 0) -> Run:
    """The filters of one layer chosen by greedy joint swaps, the paper's future work (Section 4.1)."""
    return Run(
        "select",
        f"Joint swaps in {layer}",
        **common(p, seed),
        **_levels(distortion),
        layers=(layer,),
        ranking_images=max(1, p.ranking_images // JOINT_SHARE),
        ranking_split=p.ranking_split,
        fractions=FRACTIONS,
        validation_images=p.validation_images,
        base=baseline(p, seed),
    )


def joint_deepcorrect(p: Profile, order: str, distortion: str, seed: int = 0) -> Run:
    """Deepcorr-1 on the filters that joint swaps chose (`order` "joint"), or by Eq. 1 on the same images ("ranked")."""
    selection = Selection(order, "local", "priority", ((CONV[0], p.narrow),))
    return replace(
        _corrected(p, f"Deepcorr-1 {order}", distortion, seed, selection),
        ranking=joint_selection(p, CONV[0], distortion, seed),
    )


def deepcorrect(p: Profile, k: int, distortion: str, seed: int = 0, *, also_top: bool = False) -> Run:
    """Deepcorr-k, or Deepcorr-kc with `also_top` (Section 5.1.2)."""
    counts = tuple((layer, p.narrow if i < 3 else p.wide) for i, layer in enumerate(CONV[:k]))
    selection, name = Selection("ranked", "local", p.score, counts), f"Deepcorr-{k}{'c' if also_top else ''}"
    if p.published:
        return _published(p, name, distortion, layers=CONV[:k], design=p.design, selection=selection, base=baseline(p))
    return replace(_corrected(p, name, distortion, seed, selection), also_train=TOP if also_top else ())


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
    designs = {
        "no-bn": replace(p.design, batchnorm=False, input_batchnorm=False),
        "lite": replace(p.design, width=max(1, p.design.width // 2)),
        "bottleneck": UnitDesign(max(1, p.narrow // 2), (1, 3, 3, 3, 1), input_batchnorm=True),
    }
    return {"Deepcorr-1": run} | {
        f"Deepcorr-1-{kind}": replace(run, method=f"Deepcorr-1-{kind}", design=design) for kind, design in designs.items()
    }


def _published(p: Profile, method: str, distortion: str | None = None, **more) -> Run:
    """A network from the authors' file, whatever the seed: it is not trained here."""
    if (method, distortion) not in FILES:
        raise InputError(
            f"method: expected one of the networks that the authors published "
            f"({', '.join(dict.fromkeys(m for m, _ in FILES))}), got {method!r}."
        )
    return Run(
        "import",
        method,
        **common(p, 0) | {"semantics": ""},
        **(_levels(distortion) if distortion else {}),
        blob=FILES[method, distortion][1],
        **more,
    )


def _corrected(p: Profile, method: str, distortion: str, seed: int, selection: Selection) -> Run:
    layers = tuple(layer for layer, _ in selection.counts)
    schedule = p.deepcorrect
    if len(layers) > 4 and p.deep_warm_up:  # released: with more than four corrected layers the first epoch runs at 0.01
        schedule = replace(schedule, warm_up=p.deep_warm_up, warm_up_rate=0.01)
    return Run(
        "train",
        method,
        **common(p, seed),
        **_levels(distortion),
        layers=layers,
        design=p.design,
        selection=selection,
        schedule=schedule,
        base=baseline(p, seed),
        ranking=ranking(p, distortion, seed) if selection.order != "random" else None,
        validation_images=p.validation_images,
        batch_statistics=p.batch_statistics,
    )


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


METHODS = (
    "Baseline",
    "Finetune-1",
    "Finetune-3",
    "Finetune-6",
    "Finetune-9",
    "Deepcorr-1",
    "Deepcorr-3",
    "Deepcorr-6",
    "Deepcorr-1c",
    "Deepcorr-3c",
    "Deepcorr-6c",
)
SHARES = (6, 12, 24, 48)
DRAWS = 10
#: Of the ranking's images one in so many is what filters are chosen on by joint swaps, for n filters take n²/2 trials. One layer of the
#: profile `small` then has 200 images and takes up to half an hour on one core.
JOINT_SHARE = 5
#: Accuracy over the images that a training sees: networks, and shares of the profile's iterations.
BUDGETED = tuple(f"{family}-{k}" for k in (1, 3, 6) for family in ("Finetune", "Deepcorr"))
BUDGETS = (0.25, 0.5, 1.0)


# The rows of each table and figure: {label: one run per seed}, labels as `verdicts` asks for them.


def baseline_rows(p: Profile, seeds: tuple[int, ...], distortion: str) -> dict[str, list[Run]]:
    """Tables 1 and 2."""
    return {"Baseline": [baseline_under(p, distortion, s) for s in seeds]}


def method_rows(p: Profile, seeds: tuple[int, ...], distortion: str) -> dict[str, list[Run]]:
    """Tables 3 and 4; of the networks that the authors published, those rows that they have."""
    methods = [m for m in METHODS if not p.published or m == "Baseline" or (m, distortion) in FILES]
    return {m: [method_run(p, m, distortion, s) for s in seeds] for m in methods}


def swap_rows(p: Profile, seeds: tuple[int, ...]) -> dict[str, list[Run]]:
    """Figures 4 and 5."""
    return {d: [swaps(p, d, s) for s in seeds] for d in DISTORTIONS}


def scope_rows(p: Profile, seeds: tuple[int, ...]) -> dict[str, list[Run]]:
    """Table 5: filters ranked within each layer, or over all layers together."""
    return {
        f"{scope} {d}": [make(p, d, s) for s in seeds]
        for d in DISTORTIONS
        for scope, make in (("local", _local_6c), ("global", global_deepcorrect))
    }


def first_layer_rows(p: Profile, seeds: tuple[int, ...]) -> dict[str, list[Run]]:
    """Table 6 and Figure 9, with the first seed; a random choice of filters has one run per draw."""
    return _first_layer_rows(p, seeds, DRAWS)


def audit_rows(p: Profile, seeds: tuple[int, ...]) -> dict[str, list[Run]]:
    """Text against released code, one choice at a time."""
    return {
        f"{method} {d} {choice}": [method_run(as_in_the_text(p, choice), method, d, s) for s in seeds]
        for method in ("Deepcorr-1", "Deepcorr-6c")
        for d in DISTORTIONS
        for choice in CHOICES
    }


def budget_rows(p: Profile, seeds: tuple[int, ...]) -> dict[str, list[Run]]:
    """Accuracy over the images that a training sees."""
    return {
        f"{method} {d} {share:g}": [method_run(with_budget(p, share), method, d, s) for s in seeds]
        for d in DISTORTIONS
        for method in BUDGETED
        for share in BUDGETS
    }


def joint_rows(p: Profile, seeds: tuple[int, ...]) -> dict[str, list[Run]]:
    """Filters chosen by joint swaps layer by layer, and Deepcorr-1 on those of conv1, with the first seed."""
    chosen = {f"{layer} {d}": [joint_selection(p, layer, d, s) for s in seeds] for layer in CONV[:6] for d in DISTORTIONS}
    trained = {
        f"Deepcorr-1 {order} {d}": [joint_deepcorrect(p, order, d, s) for s in seeds]
        for d in DISTORTIONS
        for order in ("joint", "ranked")
    }
    return trained | chosen  # what trainings need is made before them: conv1 comes first


def _local_6c(p: Profile, distortion: str, seed: int) -> Run:
    return method_run(p, "Deepcorr-6c", distortion, seed)


def _first_layer_rows(p: Profile, seeds: tuple[int, ...], draws: int) -> dict[str, list[Run]]:
    labelled = {}
    for distortion in DISTORTIONS:
        for share in SHARES:
            labelled[f"ranked_{share} {distortion}"] = [first_layer(p, "ranked", share, distortion, seeds[0])]
        labelled[f"ranked_48_least {distortion}"] = [first_layer(p, "least", 48, distortion, seeds[0])]
        for share in SHARES:
            labelled[f"random_{share} {distortion}"] = [
                first_layer(p, "random", share, distortion, seeds[0], draw) for draw in range(draws)
            ]
    return labelled
