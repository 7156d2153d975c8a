"""Every table, figure and study, one line each, and the order in which their runs are made. Nothing is computed here."""

import re
from collections.abc import Iterable

from dclib.errors import InputError
from dclib.experiments import cifar100, efficientnet, imagenet, neighbours
from dclib.experiments.profiles import ImageNetHalf, Profile
from dclib.experiments.run import Run
from dclib.experiments.stand_ins import StandIn
from dclib.experiments.target import Target

_SCOPES, _SETS = ("method", "distortion"), ("method", "dataset")
#: By name; what needs runs is in the order of their value, which is what a sweep makes first.
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            "table1",
            "section3_setup",
            table=1,
            rows=cifar100.baseline_rows,
            distortion="blur",
            levels="cifar100",
            labels=("method",),
            dataset="cifar100",
            spread="cifar100",
        ),
        Target(
            "table2",
            "section3_setup",
            table=2,
            rows=cifar100.baseline_rows,
            distortion="awgn",
            levels="cifar100",
            labels=("method",),
            dataset="cifar100",
            spread="cifar100",
        ),
        Target(
            "table3",
            "section5_1_cifar100",
            table=3,
            rows=cifar100.method_rows,
            distortion="blur",
            levels="cifar100",
            labels=("method",),
            spread="cifar100",
        ),
        Target(
            "table4",
            "section5_1_cifar100",
            table=4,
            rows=cifar100.method_rows,
            distortion="awgn",
            levels="cifar100",
            labels=("method",),
            spread="cifar100",
        ),
        Target("figure4", "section4_deepcorrect", figure=4, rows=cifar100.swap_rows),
        Target("figure5", "section4_deepcorrect", figure=5, rows=cifar100.swap_rows),
        Target(
            "table5", "section5_1_cifar100", table=5, rows=cifar100.scope_rows, labels=_SCOPES, spread="cifar100", stage=1
        ),
        Target(
            "table6",
            "section5_1_cifar100",
            table=6,
            rows=cifar100.first_layer_rows,
            spread="cifar100",
            stage=1,
            first_seed=True,
        ),
        Target("figure9", "section5_1_cifar100", figure=9, rows=cifar100.first_layer_rows, stage=1, first_seed=True),
        Target("audit", "audit", rows=cifar100.audit_rows, stage=4, first_seed=True),
        Target("budget", "audit", rows=cifar100.budget_rows, stage=4, first_seed=True),
        Target(
            "table7",
            "section5_2_imagenet",
            table=7,
            half="imagenet",
            rows=imagenet.method_rows,
            distortion="blur",
            levels="imagenet",
            labels=("method",),
            spread="imagenet",
            rivals=imagenet.other_rival,
            stage=2,
        ),
        Target(
            "table8",
            "section5_2_imagenet",
            table=8,
            half="imagenet",
            rows=imagenet.method_rows,
            distortion="awgn",
            levels="imagenet",
            labels=("method",),
            spread="imagenet",
            rivals=imagenet.fewer_images,
            stage=2,
        ),
        Target(
            "figure6",
            "section5_2_imagenet",
            figure=6,
            half="imagenet",
            rows=imagenet.ranking_rows,
            differs=imagenet.networks_alone,
            stage=2,
        ),
        Target(
            "table11",
            "section5_2_imagenet",
            table=11,
            half="imagenet",
            rows=imagenet.unit_rows,
            distortion="blur",
            levels="imagenet",
            labels=("method",),
            spread="imagenet",
            stage=2,
        ),
        Target(
            "table12",
            "section5_2_imagenet",
            table=12,
            half="imagenet",
            rows=imagenet.unit_rows,
            distortion="awgn",
            levels="imagenet",
            labels=("method",),
            spread="imagenet",
            stage=2,
        ),
        Target("figure11", "section5_2_imagenet", figure=11, half="imagenet", rows=imagenet.class_rows, stage=2),
        Target("figure12", "section5_2_imagenet", figure=12, half="imagenet", rows=imagenet.speed_rows, stage=2),
        Target(
            "table9",
            "section5_2_imagenet",
            table=9,
            half="imagenet",
            rows=imagenet.scope_rows,
            labels=_SCOPES,
            spread="imagenet",
            stage=2,
        ),
        Target(
            "figure4_imagenet",
            "section5_2_imagenet",
            half="imagenet",
            rows=imagenet.swap_rows,
            differs=imagenet.networks_alone,
            stage=2,
        ),
        Target(
            "table13",
            "section5_3_transfer",
            table=13,
            half="imagenet",
            rows=imagenet.transfer_rows,
            labels=_SETS,
            differs=imagenet.other_collections,
            spread="transfer",
            stage=3,
        ),
        Target(
            "table14",
            "section5_3_transfer",
            table=14,
            half="imagenet",
            rows=imagenet.transfer_rows,
            distortion="blur",
            labels=_SETS,
            differs=imagenet.other_collections,
            spread="transfer",
            stage=3,
        ),
        Target(
            "table15",
            "section5_3_transfer",
            table=15,
            half="imagenet",
            rows=imagenet.transfer_rows,
            distortion="awgn",
            labels=_SETS,
            differs=imagenet.other_collections,
            spread="transfer",
            stage=3,
        ),
        Target("figure10", "section1_introduction", figure=10, half="imagenet", rows=imagenet.embedding_rows, stage=2),
        Target("audit_imagenet", "section5_2_imagenet", half="imagenet", rows=imagenet.audit_rows, stage=2),
        Target(
            "efficientnet_convolutions",
            "efficientnet",
            half="efficientnet",
            rows=efficientnet.convolution_rows,
            differs=efficientnet.twenty_of_1000,
            stage=2,
        ),
        Target(
            "efficientnet_blur",
            "efficientnet",
            half="efficientnet",
            rows=efficientnet.method_rows,
            distortion="blur",
            differs=efficientnet.twenty_of_1000,
            stage=2,
        ),
        Target(
            "efficientnet_noise",
            "efficientnet",
            half="efficientnet",
            rows=efficientnet.method_rows,
            distortion="awgn",
            differs=efficientnet.twenty_of_1000,
            stage=2,
        ),
        Target(
            "blur_published",
            "neighbour_blur",
            half="neighbours",
            rows=neighbours.published_blur_rows,
            differs=neighbours.lite0_for_vgg,
            stage=4,
            first_seed=True,
        ),
        Target(
            "blur_tuning",
            "neighbour_blur",
            half="neighbours",
            rows=neighbours.tuning_rows,
            differs=neighbours.cifar_for_imagenet,
            stage=4,
            first_seed=True,
        ),
        Target(
            "blur_deconvolution",
            "neighbour_blur",
            half="neighbours",
            rows=neighbours.deblurred_rows,
            differs=neighbours.cifar_for_imagenet,
            stage=4,
            first_seed=True,
        ),
        Target(
            "selected_filters",
            "neighbour_filters",
            half="neighbours",
            rows=neighbours.selected_rows,
            differs=neighbours.on_small_networks,
            stage=4,
            first_seed=True,
        ),
        Target(
            "gate",
            "neighbour_gate",
            half="neighbours",
            rows=neighbours.gate_rows,
            differs=neighbours.lite0_for_resnet,
            stage=4,
            first_seed=True,
        ),
        Target("joint", "section4_deepcorrect", rows=cifar100.joint_rows, stage=4, first_seed=True),
        # What needs no run, or none of its own.
        Target("figure4_joint", "section4_deepcorrect", shares="joint"),
        Target("table10", "section5_2_imagenet", table=10, half="imagenet"),
        Target("figure1", "section1_introduction", figure=1),
        Target("figure2", "section1_introduction", figure=2, half="imagenet", shares="figure10"),
        Target("figure3", "section3_setup", figure=3),
        Target("figure7", "section4_deepcorrect", figure=7),
        Target("figure8", "section4_deepcorrect", figure=8),
    )
}
#: The halves of the paper by their data set, each a name for all of its tables and figures that runs are made for; what is
#: done with a network that an extra brings; and the neighbouring studies.
HALVES = {
    half: tuple(t.name for t in TARGETS.values() if t.half == half and t.rows)
    for half in ("cifar100", "imagenet", "efficientnet", "neighbours")
}


def target_of(name: str) -> Target:
    """The target called `name`; `InputError` where there is none."""
    if name not in TARGETS:
        raise InputError(f"target: expected one of {', '.join(TARGETS)}, got {name!r}.")
    return TARGETS[name]


def in_paper() -> list[Target]:
    """Tables 1 to 15, then Figures 1 to 12."""
    tables = sorted((t for t in TARGETS.values() if t.table is not None), key=lambda t: t.table)
    return tables + sorted((t for t in TARGETS.values() if t.figure is not None), key=lambda t: t.figure)


def rows(target: str, p: Profile, seeds: tuple[int, ...] | None = None) -> dict[str, list[Run]]:
    """The rows of one table or figure: {label: one run per seed}, labels as `verdicts` asks for them.

    Empty for a table that the profile does not have, such as one of the ImageNet half, and where no run is needed.
    """
    found = target_of(target_of(target).runs_of or target)
    half = _half(found, p)
    return found.make_rows(half, half.seeds if seeds is None else seeds) if found.rows and half else {}


def stand_in(target: str, p: Profile, *, rivals: bool = True) -> tuple[StandIn, ...]:
    """What the runs behind a table or figure stand in for; empty where they are the paper's.

    rivals: with what its rows of methods that are no networks add to that.
    """
    found = target_of(target)
    half = _half(found, p)
    if half is None:
        return p.stand_in
    return found.differs(half) + (found.rivals(half) if rivals else ())


def _half(target: Target, p: Profile) -> Profile | ImageNetHalf | None:
    """What a target's runs are made from: the profile, for the ImageNet half that of the profile, if there is one."""
    if p.targets and target.name not in p.targets:
        return None
    return p if target.half in ("cifar100", "neighbours") else p.imagenet


def queue(targets: Iterable[str], p: Profile, seeds: tuple[int, ...] | None = None) -> list[Run]:
    """All runs of `targets` in the order of their value, each after the runs that it needs.

    The first seed goes stage by stage: the main tables and figures of the CIFAR-100 half, its other ones, the ImageNet
    half, its transfer, the audits. Other seeds of the CIFAR-100 half come before transfer: spread over trainings, before
    what rests on them.
    """
    wanted = {target_of(name).runs_of for name in targets}
    first, *others = p.seeds if seeds is None else seeds
    ordered: list[Run] = []

    def make(those: list[Target], seed: int) -> None:
        for target in those:
            half = _half(target, p)
            left_out = seeds is None and half is not None and target.half != "cifar100" and seed not in half.seeds
            if target.name in wanted and not left_out and (seed == first or not target.first_seed):
                for runs in rows(target.name, p, (seed,)).values():
                    ordered.extend(runs)

    made = [t for t in TARGETS.values() if t.rows]
    for stage in range(max(t.stage for t in made) + 1):
        if stage == 3:
            for seed in others:
                make([t for t in made if t.stage < 2], seed)
        make([t for t in made if t.stage == stage], first)
    for seed in others:
        make(made, seed)
    return _after_their_needs(ordered)


def of_methods(runs: Iterable[Run], methods: Iterable[str]) -> list[Run]:
    """Those of `runs` whose method is named, one method after the other, each after the runs that it needs.

    Raises `InputError` for a method that none of them has.
    """
    by_method: dict[str, list[Run]] = {}
    for run in runs:
        by_method.setdefault(run.method, []).append(run)
    ordered: list[Run] = []
    for method in methods:
        if method not in by_method:
            raise InputError(f"methods: expected some of {', '.join(by_method)}, got {method!r}.")
        ordered.extend(by_method[method])
    return _after_their_needs(ordered)


def _after_their_needs(runs: Iterable[Run]) -> list[Run]:
    """`runs` and all that they need, each once, in that order but after what it needs."""
    ordered: dict[str, Run] = {}

    def add(run: Run) -> None:
        for needed in run.needs:
            add(needed)
        ordered.setdefault(run.id, run)

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
