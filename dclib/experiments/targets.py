"""Which runs make which table or figure, in each profile, and which page shows it. Nothing is computed here."""

import re

from dclib.errors import InputError
from dclib.experiments import cifar100, imagenet
from dclib.experiments.profiles import SCALES, Profile
from dclib.experiments.run import Run

#: In the order of their value: what a sweep makes first.
TARGETS = (*cifar100.TARGETS, *imagenet.TARGETS)
#: The halves of the paper by their data set, each a name for all of its tables and figures.
HALVES = {"cifar100": cifar100.TARGETS, "imagenet": imagenet.TARGETS}
#: The main tables: rankings, swaps, and all rows of Tables 1 to 4.
MAIN = cifar100.TARGETS[:6]
#: What is made with the first seed, in the order of its value.
STAGES = (MAIN, ("table5", "table6", "figure9"), tuple(t for t in imagenet.TARGETS if t not in imagenet.TRANSFER),
          tuple(imagenet.TRANSFER), ("audit", "budget"))
#: Every table and figure: the page that shows it, and the targets whose runs stand behind it.
PLACES = {
    **{f"Table {n}": ("section3_setup", (f"table{n}",)) for n in (1, 2)},
    **{f"Table {n}": ("section5_1_cifar100", (f"table{n}",)) for n in (3, 4, 5, 6)},
    **{f"Table {n}": ("section5_2_imagenet", (f"table{n}",)) for n in (7, 8, 9)},
    "Table 10": ("section5_2_imagenet", ()),
    **{f"Table {n}": ("section5_2_imagenet", (f"table{n}",)) for n in (11, 12)},
    **{f"Table {n}": ("section5_3_transfer", (f"table{n}",)) for n in (13, 14, 15)},
    "Figure 1": ("section1_introduction", ()),
    "Figure 2": ("section1_introduction", ("figure10",)),
    "Figure 3": ("section3_setup", ()),
    **{f"Figure {n}": ("section4_deepcorrect", (f"figure{n}",)) for n in (4, 5)},
    "Figure 6": ("section5_2_imagenet", ("figure6",)),
    **{f"Figure {n}": ("section4_deepcorrect", ()) for n in (7, 8)},
    "Figure 9": ("section5_1_cifar100", ("figure9",)),
    "Figure 10": ("section1_introduction", ("figure10",)),
    **{f"Figure {n}": ("section5_2_imagenet", (f"figure{n}",)) for n in (11, 12)},
}


def rows(target: str, p: Profile, seeds: tuple[int, ...] | None = None) -> dict[str, list[Run]]:
    """The rows of one table or figure: {label: one run per seed}, labels as `verdicts` asks for them.

    Empty for a table of the ImageNet half in a profile that has no such half.
    """
    if target in cifar100.TARGETS:
        return cifar100.rows(target, p, p.seeds if seeds is None else seeds)
    if target in imagenet.TARGETS:
        scale = SCALES.get(p.name)
        return imagenet.rows(target, scale, scale.seeds if seeds is None else seeds) if scale else {}
    raise InputError(f"target: expected one of {', '.join(TARGETS)}, got {target!r}.")


def stand_in(target: str, p: Profile) -> str:
    """How the runs behind a table or figure differ from the paper's; empty where they do not."""
    if target in imagenet.TARGETS and p.name in SCALES:
        return imagenet.stand_in(target, SCALES[p.name])
    return p.stand_in


def queue(targets: tuple[str, ...], p: Profile, seeds: tuple[int, ...] | None = None) -> list[Run]:
    """All runs of `targets` in the order of their value, each after the runs that it needs."""
    ordered: dict[str, Run] = {}

    def add(run: Run) -> None:
        for needed in run.needs:
            add(needed)
        ordered.setdefault(run.id, run)

    def wanted(target: str, seed: int) -> bool:
        scale = SCALES.get(p.name)
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


def places(words: str) -> set[str]:
    """The tables and figures in a claim's place: "Section 5.2.3; Tables 10 to 12" names three."""
    named = set()
    for kind, first, link, last in re.findall(r"(Table|Figure)s? (\d+)(?: (to|and) (\d+))?", words):
        numbers = range(int(first), int(last) + 1) if link == "to" else filter(None, (first, last))
        named |= {f"{kind} {number}" for number in numbers}
    return named
