"""Tests of pairs: levels, images, random choices of filters; and the correction of several."""

from dataclasses import dataclass

import numpy as np
import scipy

from dclib.statistics.checks import accuracies, bits, same_shape
from dclib.statistics.defaults import CONFIDENCE


@dataclass(frozen=True)
class TTest:
    """A t-test: a minus b, with a two-sided p-value and the interval of the mean difference."""

    statistic: float
    pvalue: float
    degrees_of_freedom: int
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class McNemar:
    """McNemar's test: images that only one of two networks gets right, and the exact p-value."""

    only_a: int
    only_b: int
    pvalue: float


def paired_t_test(a, b) -> TTest:
    """Compare two networks over levels, as the paper does (Sections 5.1.2, 5.1.3 and 5.2.2).

    a, b: accuracies [levels] in 0..1, the same levels in the same order; two levels at least.
    Equal differences leave no variance: p is 1 where the networks agree at every level, and 0 where they
    differ by the same amount at every level; the interval is then that one difference.
    Raises ValueError for other shapes, unequal lengths, NaN or values outside 0..1.
    """
    a, b = accuracies("a", a), accuracies("b", b)
    if len(a) != len(b):
        raise ValueError(
            f"Expected as many accuracies in b as in a, got {len(a)} and {len(b)}; give both for the same levels."
        )
    if len(a) < 2:
        raise ValueError(f"Expected at least 2 pairs of accuracies, got {len(a)}; give one pair per level.")
    difference = a - b
    mean = float(difference.mean())
    # Subtracting printed decimals leaves 1e-17 of noise: differences this close are one difference.
    if np.ptp(difference) < 1e-12:
        if abs(mean) < 1e-12:
            return TTest(0.0, 1.0, len(a) - 1, 0.0, 0.0, 0.0)
        return TTest(float(np.copysign(np.inf, mean)), 0.0, len(a) - 1, mean, mean, mean)
    result = scipy.stats.ttest_rel(a, b)
    low, high = result.confidence_interval(CONFIDENCE)
    return TTest(float(result.statistic), float(result.pvalue), int(result.df), mean, float(low), float(high))


def mcnemar(correct_a, correct_b) -> McNemar:
    """Compare two networks on the same images at one level.

    correct_a, correct_b: bits [images]. The p-value is the exact binomial one whatever the number of
    discordant images: it is as cheap as the chi-square approximation and valid where few are discordant.
    Raises ValueError for non-boolean bits, other shapes or unequal lengths.
    """
    from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar  # takes a second to import

    a, b = bits("correct_a", correct_a), bits("correct_b", correct_b)
    if a.ndim != 1 or b.ndim != 1:
        raise ValueError(
            f"Expected bits [images], got shapes {list(a.shape)} and {list(b.shape)}; test one level at a time."
        )
    same_shape(a, b)
    both, only_a, only_b = int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum())
    table = [[both, only_a], [only_b, len(a) - both - only_a - only_b]]
    return McNemar(only_a, only_b, float(statsmodels_mcnemar(table, exact=True).pvalue))


def holm(pvalues) -> np.ndarray:
    """Holm's correction of several p-values, such as one per level: adjusted values [tests], same order.

    Raises ValueError for anything but a non-empty list of numbers in 0..1.
    """
    values = np.asarray(pvalues, dtype=float)
    if values.ndim != 1 or values.size == 0 or not np.all((values >= 0) & (values <= 1)):
        raise ValueError("Expected a non-empty list of p-values in 0..1, got something else; give one per test.")
    # statsmodels' multipletests gives the same, but collects garbage at every call: seconds a page.
    order = np.argsort(values)
    adjusted = np.empty_like(values)
    adjusted[order] = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)).clip(max=1)
    return adjusted


def draw_test(chosen, draws) -> TTest:
    """Is a deliberate choice no better than one more random draw? The unit is the draw (Section 5.1.3).

    chosen: one number per condition [conditions], such as a mean accuracy for each number of corrected filters; draws: the
    same for random choices [conditions, draws]. The two-sided t-test of a difference common to all conditions, from least
    squares with a level of its own for each; with one condition it is the two-sample t-test against a sample of one.
    Equal draws leave no variance: p is then 1 or 0, as in `paired_t_test`.
    Raises ValueError for NaN, other shapes, or a single draw.
    """
    chosen, draws = np.asarray(chosen, dtype=float), np.asarray(draws, dtype=float)
    if (
        chosen.ndim != 1
        or not chosen.size
        or draws.ndim != 2
        or draws.shape[0] != len(chosen)
        or draws.shape[1] < 2
        or not (np.isfinite(chosen).all() and np.isfinite(draws).all())
    ):
        raise ValueError(
            f"Expected finite values [conditions] and [conditions, draws] with at least 2 draws, got shapes "
            f"{list(chosen.shape)} and {list(draws.shape)}; give one row of draws per condition."
        )
    conditions, count = draws.shape
    differences = chosen - draws.mean(axis=1)
    mean, freedom = float(differences.mean()), conditions * count - 1
    squares = draws.var(axis=1).sum() * count + ((differences - mean) ** 2).sum() * count / (count + 1)
    error = float(np.sqrt(squares / freedom * (1 + 1 / count) / conditions))
    if error < 1e-12:  # subtracting printed decimals leaves as much
        statistic = 0.0 if abs(mean) < 1e-12 else float(np.copysign(np.inf, mean))
        return TTest(statistic, 1.0 if statistic == 0 else 0.0, freedom, mean, mean, mean)
    half = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    return TTest(
        mean / error, float(2 * scipy.stats.t.sf(abs(mean) / error, freedom)), freedom, mean, mean - half, mean + half
    )
