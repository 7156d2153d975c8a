"""Which runs make which table or figure, in each profile. Nothing is computed here."""

from dclib.errors import InputError
from dclib.experiments import cifar100, imagenet
from dclib.experiments.cifar100 import (
    CHOICES,
    CONV,
    DRAWS,
    METHODS,
    PROFILES,
    SHARES,
    TOP,
    Profile,
    as_in_the_text,
    baseline,
    baseline_under,
    deepcorrect,
    finetune,
    fingerprint,
    first_layer,
    global_deepcorrect,
    method_run,
    profile,
    ranking,
    swaps,
    unit_variants,
)
from dclib.runs import FRACTIONS, Run

__all__ = ["CHOICES", "CONV", "DRAWS", "FRACTIONS", "HALVES", "MAIN", "METHODS", "PROFILES", "SHARES", "TARGETS",
           "TOP", "Profile", "as_in_the_text", "baseline", "baseline_under", "cifar100", "deepcorrect", "finetune",
           "fingerprint", "first_layer", "global_deepcorrect", "imagenet", "method_run", "profile", "queue", "ranking",
           "rows", "stand_in", "swaps", "unit_variants"]

#: In the order of their value: what a sweep makes first.
TARGETS = (*cifar100.TARGETS, *imagenet.TARGETS)
#: The halves of the paper by their data set, each a name for all of its tables and figures.
HALVES = {"cifar100": cifar100.TARGETS, "imagenet": imagenet.TARGETS}
#: The main tables: rankings, swaps, and all rows of Tables 1 to 4.
MAIN = cifar100.TARGETS[:6]
#: What is made with the first seed, in the order of its value.
STAGES = (MAIN, ("table5", "table6", "figure9"), tuple(t for t in imagenet.TARGETS if t not in imagenet.TRANSFER),
          tuple(imagenet.TRANSFER), ("audit", "budget"))


def rows(target: str, p: Profile, seeds: tuple[int, ...] | None = None) -> dict[str, list[Run]]:
    """The rows of one table or figure: {label: one run per seed}, labels as `verdicts` asks for them.

    Empty for a table of the ImageNet half in a profile that has no such half.
    """
    if target in cifar100.TARGETS:
        return cifar100.rows(target, p, p.seeds if seeds is None else seeds)
    if target in imagenet.TARGETS:
        scale = imagenet.SCALES.get(p.name)
        return imagenet.rows(target, scale, scale.seeds if seeds is None else seeds) if scale else {}
    raise InputError(f"target: expected one of {', '.join(TARGETS)}, got {target!r}.")


def stand_in(target: str, p: Profile) -> str:
    """How the runs behind a table or figure differ from the paper's; empty where they do not."""
    if target in imagenet.TARGETS and p.name in imagenet.SCALES:
        return imagenet.stand_in(target, imagenet.SCALES[p.name])
    return p.stand_in


def queue(targets: tuple[str, ...], p: Profile, seeds: tuple[int, ...] | None = None) -> list[Run]:
    """All runs of `targets` in the order of their value, each after the runs that it needs."""
    ordered: dict[str, Run] = {}

    def add(run: Run) -> None:
        for needed in run.needs:
            add(needed)
        ordered.setdefault(run.id, run)

    def wanted(target: str, seed: int) -> bool:
        scale = imagenet.SCALES.get(p.name)
        if target in imagenet.TARGETS and seeds is None and scale and seed not in scale.seeds:
            return False
        return target in targets and (seed == first or target not in cifar100.FIRST_SEED)

    first, *others = p.seeds if seeds is None else seeds
    stages = [(stage, [first]) for stage in STAGES]
    stages.insert(3, ((*MAIN, "table5"), others))  # spread over trainings, before what rests on them
    stages.append((TARGETS, others))
    for stage, its_seeds in stages:
        for seed in its_seeds:
            for target in (t for t in stage if wanted(t, seed)):
                for runs in rows(target, p, (seed,)).values():
                    for run in runs:
                        add(run)
    return list(ordered.values())
