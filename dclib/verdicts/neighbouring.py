"""What the claims of neighbouring works are judged by: records of profile small, and the rules of `finding`.

One training says no more than a direction. What these claims mean by "most", "detects" and "almost nothing" is ours: at
least half, half at one false alarm in twenty, and two points of accuracy.
"""

from collections.abc import Callable

import numpy as np

from dclib.experiments import profile, rows
from dclib.results import Record, Store
from dclib.statistics import Interval, percentile_interval, resample_means
from dclib.verdicts.finding import Estimate, Outcome

#: What counts as most, and as almost nothing.
MOST, LITTLE = 0.5, 0.02
#: Judges one claim: the verdict, and what came out in words.
Judge = Callable[[Store], tuple[Outcome, str]]


class NotRun(Exception):
    """Which target lacks a record."""


def record_of(target: str, label: str, store: Store) -> Record:
    """The record of one row of a neighbouring study. Raises `NotRun` where there is none."""
    (run,) = rows(target, profile("small"))[label]
    record = store.get(run)
    if record is None:
        raise NotRun(target)
    return record


def between(found: Interval, *, trained: bool = True) -> Estimate:
    """What decides a claim: an interval over images, of one training where something was trained."""
    return Estimate(found.estimate, found.low, found.high, unreplicated=trained)


def shown(found: Interval) -> str:
    """A difference with its interval."""
    return f"{found.estimate:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


def least(outcomes: list[Outcome]) -> Outcome:
    """The weakest of several verdicts that a claim needs together."""
    order = (Outcome.CONTRADICTED, Outcome.INCONCLUSIVE, Outcome.OPEN, Outcome.DIRECTION, Outcome.HOLDS)
    return min(outcomes, key=order.index)


def regained(sharp: np.ndarray, before: np.ndarray, after: np.ndarray) -> Interval:
    """The share of an accuracy lost that came back; bits [rows, images]."""

    def share(means: np.ndarray) -> np.ndarray:
        return (means[..., 2] - means[..., 1]) / (means[..., 0] - means[..., 1])

    bits = np.stack([part.mean(0) for part in (sharp, before, after)])
    return Interval(float(share(bits.mean(1))), *percentile_interval(share(resample_means(bits))))
