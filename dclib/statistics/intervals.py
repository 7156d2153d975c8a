"""Intervals over seeds, random splits and shares of images."""

from dataclasses import dataclass

import numpy as np
import scipy

from dclib.statistics.defaults import CONFIDENCE


@dataclass(frozen=True)
class SeedInterval:
    """Mean and spread (standard deviation, n - 1) over seeds; None where one seed cannot tell."""

    mean: float
    spread: float | None
    low: float | None
    high: float | None
    seeds: int
    note: str


def seed_interval(values, confidence: float = CONFIDENCE) -> SeedInterval:
    """Mean, spread and t-interval of one number measured with several seeds [seeds].

    One seed gives its value alone and says so. Raises ValueError for no values, NaN or another shape.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"Expected finite values [seeds], got {values.tolist()}; give one number per seed, at least one.")
    mean, seeds = float(values.mean()), len(values)
    if seeds == 1:
        return SeedInterval(mean, None, None, None, 1, "one seed: neither spread nor interval")
    spread = float(values.std(ddof=1))
    half = float(scipy.stats.t.ppf((1 + confidence) / 2, seeds - 1)) * spread / np.sqrt(seeds)
    return SeedInterval(mean, spread, mean - half, mean + half, seeds, f"{seeds} seeds")


def draws_interval(values, test_to_train: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """t-interval of the mean of a number measured on several random splits of the same images [draws].

    The splits share images, so their spread alone is too narrow: Nadeau and Bengio (2003) add test images / training
    images of a split to 1 / draws. Raises ValueError for fewer than two draws or a ratio that is not positive.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2 or test_to_train <= 0:
        raise ValueError(
            f"Expected two draws or more and a positive ratio, got {values.tolist()} and {test_to_train}; "
            "give one number per split."
        )
    deviation = values.std(ddof=1) * np.sqrt(1 / len(values) + test_to_train)
    half = float(scipy.stats.t.ppf((1 + confidence) / 2, len(values) - 1) * deviation)
    return float(values.mean()) - half, float(values.mean()) + half


def share_interval(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact (Clopper-Pearson) interval of a share; 0 to 1 for no trials, which say nothing."""
    if not trials:
        return 0.0, 1.0
    found = scipy.stats.binomtest(successes, trials).proportion_ci(confidence)
    return float(found.low), float(found.high)


def difference_error(a, b, images: int, confidence: float = CONFIDENCE) -> np.ndarray | float:
    """By how much the difference of two accuracies on the same images may be off; for records without bits.

    The binomial error of independent accuracies: an upper bound, because networks that see the same images agree on
    most of them. An image counts once however many levels an accuracy averages over.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    return scipy.stats.norm.ppf((1 + confidence) / 2) * np.sqrt((a * (1 - a) + b * (1 - b)) / images)
