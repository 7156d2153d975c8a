"""What another training, another random choice or another claim would have changed.

An interval over images speaks for the networks that were trained. The unit of a claim about a method is a training
(a seed), that of a claim about random filters a choice of filters (a draw), and a page full of claims is a sample of its
own. SciPy does the work; every function says what its answer rests on.
"""

import math
from collections.abc import Iterable, Sequence
from statistics import NormalDist

import numpy as np
import scipy

from dclib.statistics import CONFIDENCE

POWER = 0.8  # what an experiment should have before its silence counts
_NORMAL = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


def pooled_deviation(groups: Iterable[Sequence[float]]) -> tuple[float, int] | None:
    """The standard deviation from one training to the next, pooled over methods, and its degrees of freedom.

    groups: one list of accuracies per method, one number per seed; a method with one seed says nothing. None if all do.
    """
    groups = [np.asarray(group, dtype=float) for group in groups]
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups if len(group) > 1)
    freedom = sum(len(group) - 1 for group in groups if len(group) > 1)
    return (math.sqrt(squares / freedom), freedom) if freedom else None


def seeds_half_width(values: Sequence[float], confidence: float = CONFIDENCE) -> float:
    """Half the t-interval of the mean of a number measured once per seed, two seeds at least."""
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"Expected two seeds or more, got {values.tolist()}; one seed has no spread.")
    return float(scipy.stats.t.ppf((1 + confidence) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))


def widen(value: float, low: float, high: float, half: float) -> tuple[float, float]:
    """An interval over images, widened by the half-width of what a second source of chance adds.

    Images and trainings are crossed and independent, so their variances add: half-widths do as the sides of a right
    triangle. Compared with resampling both (a hierarchical bootstrap) it keeps its promise with three seeds, of which a
    bootstrap has too few.
    """
    return value - math.hypot(max(value - low, 0), half), value + math.hypot(max(high - value, 0), half)


def draw_pvalue(value: float, draws: Sequence[float]) -> float:
    """The exact one-sided p-value that a choice of filters is no better than random ones: the draw is the unit.

    If the choice were one more draw, each of the n + 1 ranks would be as likely: (draws at least as good + 1) / (n + 1).
    """
    draws = np.asarray(draws, dtype=float)
    if draws.ndim != 1 or not len(draws):
        raise ValueError(f"Expected accuracies [draws], one at least, got shape {list(draws.shape)}; make a draw first.")
    return float((np.sum(draws >= value) + 1) / (len(draws) + 1))


def power(effect: float, low: float, high: float) -> float:
    """The chance that an experiment whose interval is low..high shows an effect of this size, by the normal law."""
    error = (high - low) / (2 * _NORMAL)
    if not math.isfinite(error):
        return 0.0
    return float(scipy.stats.norm.cdf(abs(effect) / error - _NORMAL)) if error else float(effect != 0)


def smallest_effect(low: float, high: float) -> float:
    """The smallest effect that an experiment whose interval is low..high shows with a chance of 80 % (`POWER`)."""
    return (high - low) / (2 * _NORMAL) * (_NORMAL + float(scipy.stats.norm.ppf(POWER)))


def expected_false_ticks(claims: int, confidence: float = CONFIDENCE) -> float:
    """How many of so many claims would be ticked by chance alone if no effect were there: one tail of each interval."""
    return claims * (1 - confidence) / 2
