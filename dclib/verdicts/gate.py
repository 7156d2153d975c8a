"""The gate for trained networks: what has to be so before a claim of order, size, speed or likeness may rest on one.

- It has clearly left its baseline: their mean accuracies differ by more than the authors' spread, beyond doubt over
  images. A network that still predicts what the baseline does says nothing of the method that it is named after.

A stand-in moreover

- has not fallen below its baseline: a training that made its network worse did not work at this scale, and what a training
  that works would reach it cannot tell. At the paper's own scale a fall is a finding.
- has been trained to the end: in the last quarter of its training it gains no more than a tenth (`FLAT`) of all that the
  training gained, in validation accuracy averaged over levels. A steady rise gains a quarter of it there, and may yet cross
  another's; a rate that decays to nothing still gains a little. Less than the authors' spread is no rise, and a fall no
  obstacle, for the best look is kept.
- was tested on `IMAGES` images or more.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dclib.statistics import percentile_interval, resample_means
from dclib.verdicts.comparison import POINT, Sample
from dclib.verdicts.evidence import NotRun
from dclib.verdicts.finding import show

FLAT = 0.1  # of all that a training gained: what its last quarter may hold
IMAGES = 1000


@dataclass(frozen=True)
class Training:
    """The trained network behind a record.

    name: for messages. curve: its looks at the validation images, each {"iteration", "validation": [levels]}. images: how
    many the record was tested on. tested, baseline: records of this network and of the one that it started from, on the
    same images; tested None for a baseline itself, baseline None where it has no record yet. stand_in: whether it is one.
    """

    name: str
    curve: Sequence[Mapping]
    images: int
    tested: Any
    baseline: Any
    stand_in: bool


def obstacles(trainings: Iterable[Training]) -> list[str]:
    """Why no claim may rest on these networks, in words; empty if one may. Raises NotRun without a baseline's record."""
    found: dict[str, list[str]] = {}
    for training in trainings:
        for reason in _reasons(training):
            if training.name not in found.setdefault(reason, []):
                found[reason].append(training.name)
    return [f"{' and '.join(names)}: {reason}" for reason, names in found.items()]


def _reasons(training: Training) -> Iterator[str]:
    start = 0.0
    if training.tested is not None:
        if training.baseline is None:
            raise NotRun(f"the baseline of {training.name}")
        low, high, value = _moved(training.tested, training.baseline)
        start = float(np.mean(training.baseline.accuracy))
        if max(low, -high) <= POINT:
            yield f"not clearly more than {POINT:g} away from the baseline, {show(value, (low, high))}"
        elif high < 0 and training.stand_in:
            yield f"clearly below its baseline, {show(value, (low, high))}: its training did not work at this scale"
            return
    if not training.stand_in:
        return
    rise = last_rise(training.curve)
    if rise is None:
        yield "looked at too seldom to tell whether it was trained to the end"
    elif rise > max(POINT, FLAT * (np.mean(training.curve[-1]["validation"]) - start)):
        yield f"still rising, by {rise:.3f} in the last quarter of its training"
    if training.images < IMAGES:
        yield f"tested on {training.images} images, not on {IMAGES:,}"


def last_rise(curve: Sequence[Mapping]) -> float | None:
    """By how much the mean validation accuracy rises over the last quarter of a training; None if nothing tells.

    The slope of the least-squares line through the looks of that quarter and the last look at or before its start, times
    a quarter of the iterations: single looks are noisy.
    """
    if not curve:
        return None
    iterations = np.array([look["iteration"] for look in curve], dtype=float)
    accuracy = np.array([np.mean(look["validation"]) for look in curve])
    start = 0.75 * iterations[-1]
    first = max(np.flatnonzero(iterations <= start), default=None)
    if first is None or first == len(curve) - 1:
        return None
    slope = np.polyfit(iterations[first:], accuracy[first:], 1)[0]
    return float(slope * 0.25 * iterations[-1])


def _moved(tested, baseline) -> tuple[float, float, float]:
    """The interval over images of the difference in mean accuracy, and the difference; a point without bits."""
    rows = [Sample([record]).per_image() for record in (tested, baseline)]
    value = Sample([tested]).mean() - Sample([baseline]).mean()
    if any(row is None for row in rows) or len(rows[0]) != len(rows[1]):
        return value, value, value
    low, high = percentile_interval(resample_means((rows[0] - rows[1])[None])[:, 0])
    return low, high, value
