"""Every claim of the paper judged by the records of this project, found in a `Store`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from dclib.experiments import TARGETS, Profile, Run, Target, baseline_under, imagenet, profile, rows, stand_in
from dclib.experiments.imagenet import SUBSTITUTES
from dclib.experiments.networks import other_classes, other_width, short_training, trained_parameters
from dclib.experiments.profiles import PREFERRED
from dclib.results import Record, Store, unpack_bits
from dclib.statistics import Interval, bootstrap_interval
from dclib.transfer import TRAINING, VALIDATION
from dclib.verdicts import rule
from dclib.verdicts.finding import WAITING, Estimate, Outcome, difference
from dclib.verdicts.gate import Training
from dclib.verdicts.measures import measure
from dclib.verdicts.replication import pooled_deviation
from dclib.verdicts.rule import Verdict
from dclib.verdicts.source import Measure, Sourced, Swaps


@dataclass(frozen=True)
class JudgedRecord(Sourced):
    """A record as verdicts want it: with its test set, its random splits, its training, and what it stands in for."""

    record: Record

    @property
    def accuracy(self) -> np.ndarray:
        return self.record.accuracy

    @property
    def hits(self) -> np.ndarray:
        return self.record.hits

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def seed(self) -> int:
        return self.record.seed

    @property
    def classes(self) -> int:
        return self.record.description["classes"]

    @property
    def choice(self) -> int | None:
        """The number of the random choice of filters; None where they are not chosen at random."""
        selection = self.record.description.get("selection", {})
        return selection.get("draw", 0) if selection.get("order") == "random" else None

    @property
    def test_images(self) -> int | None:
        return self.record.description.get("test_images")

    @property
    def draws(self) -> list[list[float]] | None:
        return self.record.outcome.get("splits")

    @property
    def test_to_train(self) -> float:
        """Images tested on in a random split for each one trained on, on average over classes (Section 5.3)."""
        return (self.record.outcome["images"] / self.classes - TRAINING - VALIDATION) / TRAINING


def swap_curves(profile_name: str, distortion: str, store: Store, target: str = "figure4") -> Swaps | None:
    """Figures 4 and 5 from the records, averaged over seeds; `before` is without any swap. None if there is none.

    `target` is "figure4" for the CIFAR-100 network and "figure4_imagenet" for AlexNet.
    """
    p = profile(profile_name)
    found = [(run, record) for run in rows(target, p).get(distortion, ()) if (record := store.get(run))]
    if not found:
        return None
    records = [record for _, record in found]
    layers = records[0].description["layers"]
    curves = Swaps({layer: np.mean([r.outcome["accuracy"][layer] for r in records], axis=0) for layer in layers})
    curves.runs, curves.stand_in = tuple(r.id for r in records), stand_in(target, p)
    # Seeds draw images anew, some of them the same: one record's count is what is surely there.
    curves.images = min((r.outcome["images"] for r in records if "images" in r.outcome), default=None)
    curves.before = np.mean([r.outcome["distorted_accuracy"] for r in records], axis=0)
    if all("correct_after" in r.outcome for r in records):
        curves.after = tuple({layer: unpack_bits(r.outcome["correct_after"][layer]) for layer in layers} for r in records)
    curves.trainings = tuple(training(run, record, p, store) for run, record in found)
    return curves


def training(run: Run, record: Record, p: Profile, store: Store) -> Training:
    """The trained network that `record` tests, as the gate wants it: that of `run`, or of the run that it starts from."""
    network = run if run.kind in ("train", "import") else run.base
    own = record if network is run else store.get(network)
    half, alexnet = p.imagenet, network.network == "AlexNet"
    tested = baseline = None
    if network.base is not None:
        under = (
            imagenet.baseline_under(half, network.distortion, network.seed)
            if alexnet
            else baseline_under(p, network.distortion, network.seed)
        )
        tested, baseline = own or record, store.get(under) if own else None
    # A plane of features shows few images by design, and has its own interval: what counts is how the network was tested.
    seen = own if run.kind == "embed" and own else record
    images = seen.hits.shape[1] if seen.hits is not None else seen.outcome.get("images", 0)
    return Training(
        str(network),
        own.outcome.get("curve", ()) if own else (),
        images,
        tested,
        baseline,
        bool(half.stand_in if alexnet else p.stand_in),
    )


def judge(claim: dict, store: Store) -> tuple[Verdict, str]:
    """The verdict on a claim, and the profile whose records carry it ("" where none was needed or found).

    A claim is judged by records of one profile alone: the profile `paper` if all that it needs is there, else the
    stand-in. A claim that they cannot judge is carried by none.
    """
    verdict, name = best_evidence(claim, store)
    return verdict, "" if verdict.verdict in WAITING else name


def judge_in_miniature(
    better: np.ndarray, worse: np.ndarray, margin: float, groups: np.ndarray | None = None
) -> tuple[Outcome, Interval]:
    """Is `better` ahead of `worse` by more than `margin`, on the same images? For claims without a record of their own.

    Correctness bits [levels, images]; `groups` [images] of images that share pixels are resampled whole. The claim holds if
    the whole interval lies above the margin, and is contradicted if it lies below. It speaks for the networks that were
    trained.
    """
    found = bootstrap_interval(better, worse, groups=groups)
    return difference(Estimate(found.estimate, found.low, found.high), null=margin), found


def best_evidence(claim: dict, store: Store) -> tuple[Verdict, str]:
    """The verdict by the first profile that has all the records, and that profile; "" where none is needed or has them."""
    verdict = None
    for name in PREFERRED:
        verdict = rule.judge(claim, Records(name, store))
        if verdict.runs or verdict.verdict != Outcome.NOT_RUN:
            return verdict, name if verdict.runs else ""
    return verdict, ""


class Records:
    """The `Source` over the records of one profile."""

    def __init__(self, profile_name: str, store: Store) -> None:
        self.name, self.store, self.profile = profile_name, store, profile(profile_name)
        self._moves: dict[str, dict] = {}

    def records(self, table: int, method: str) -> list[JudgedRecord]:
        runs, whole = (_runs(name).get((table, method), ()) for name in (self.name, PREFERRED[0]))
        return [self._judged(run, whole[0], record, _by_table()[table]) for run in runs if (record := self.store.get(run))]

    def _judged(self, run: Run, whole: Run, record: Record, target: Target) -> JudgedRecord:
        """`whole` is the same run in profile paper. A rival's note is about the rival, not about the other rows."""
        other = f"a {SUBSTITUTES[run.method]} was run in place of {run.method}" if run.method in SUBSTITUTES else ""
        return JudgedRecord(
            record,
            stand_in=stand_in(target.name, self.profile, rivals=bool(run.restoration)),
            other_classes=other_classes(run, whole),
            other_width=other_width(run, whole),
            short_training=short_training(run, whole),
            other_method=other,
            trainings=(training(run, record, self.profile, self.store),),
        )

    def swaps(self, dataset: str, distortion: str) -> Swaps | None:
        targets = {self.profile.dataset: "figure4", "imagenet": "figure4_imagenet"}
        return swap_curves(self.name, distortion, self.store, targets[dataset]) if dataset in targets else None

    def measure(self, test: Mapping) -> Measure | None:
        found = measure(test, self.name, self.store)
        if found is None:
            return None
        return replace(found, trainings=tuple(training(*pair, self.profile, self.store) for pair in found.networks))

    def parameters(self, table: int, method: str) -> int | None:
        runs = _runs(PREFERRED[0]).get((table, method), ())
        return trained_parameters(runs[0]) if runs else None

    def run_to_run(self, table: int, level: int | None) -> tuple[float, int] | None:
        spread = _by_table()[table].spread
        if spread not in self._moves:
            self._moves[spread] = deviations(self.name, spread, self.store)
        return self._moves[spread].get(level)


def deviations(name: str, spread: str, store: Store) -> dict[int | None, tuple[float, int]]:
    """By how much an accuracy moves from one training to the next in one profile: {level, or None for the mean: (the
    standard deviation pooled over the rows of the tables with this `Target.spread` that have three seeds or more, how many
    rows)}."""
    found = {}
    for (table, _), runs in _runs(name).items():
        if _by_table()[table].spread == spread and len({run.seed for run in runs}) >= 3:
            records = [record for run in runs if (record := store.get(run))]
            if len({record.seed for record in records}) >= 3:
                found[runs[0].id] = np.array([record.accuracy for record in records])  # a row of two tables counts once
    levels = range(max((accuracy.shape[1] for accuracy in found.values()), default=0))
    groups = {
        None: [accuracy.mean(1) for accuracy in found.values()],
        **{k: [accuracy[:, k] for accuracy in found.values() if accuracy.shape[1] > k] for k in levels},
    }
    return {level: (pooled_deviation(those)[0], len(those)) for level, those in groups.items() if those}


@lru_cache
def _runs(name: str) -> dict[tuple[int, str], tuple[Run, ...]]:
    """The runs behind each (table, method)."""
    return {
        (number, method): tuple(runs)
        for number, target in _by_table().items()
        for method, runs in rows(target.name, profile(name)).items()
    }


def _by_table() -> dict[int, Target]:
    """The paper's tables by number."""
    return {target.table: target for target in TARGETS.values() if target.table is not None}
