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
#: The first seed of these comes before the second seed of any; the others follow.
MAIN = cifar100.TARGETS[:6]


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

    seeds = p.seeds if seeds is None else seeds
    main, others = ([t for t in targets if (t in MAIN) == wanted] for wanted in (True, False))
    # A whole first seed of the main tables before the second, and all of them before the rest.
    for group, seed in [(main, s) for s in seeds] + [(others, s) for s in seeds]:
        for target in group:
            for label, runs in rows(target, p, (seed,)).items():
                if not (label.startswith("random_") and seed != seeds[0]):
                    for run in runs:
                        add(run)
    return list(ordered.values())
