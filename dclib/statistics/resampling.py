"""Intervals and tests over images that are drawn again, or whose pairs change sides."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dclib.statistics.checks import bits, fits, level_counts, members, same_shape
from dclib.statistics.defaults import CONFIDENCE, RESAMPLES


@dataclass(frozen=True)
class Interval:
    """An estimate with its percentile bootstrap interval."""

    estimate: float
    low: float
    high: float


def resample_means(values, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Bootstrap means of per-image values, all rows resampled together.

    values: [rows, images], for example the mean correctness of each image in two networks. Returns
    [resamples, rows], which cannot be written into: equal seeds give equal draws, and who asks again gets the same array.

    A bootstrap mean depends only on how often each distinct column was drawn, and those counts are
    multinomial. Correctness averaged over 7 levels takes 8 values, so a resample draws 8 numbers instead of
    10,000 and has exactly the distribution of drawing images one by one.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 2 or values.shape[1] < 2 or not np.isfinite(values).all():
        raise ValueError(
            f"Expected finite values [rows, images] with at least 2 images, got shape {list(values.shape)}"
            f"{'' if np.isfinite(values).all() else ' with NaN or infinity'}; give one column per image."
        )
    if resamples < 1:
        raise ValueError(f"Expected at least 1 resample, got {resamples}; {RESAMPLES} is the default.")
    distinct, counts = np.unique(values, axis=1, return_counts=True)
    return _resampled(distinct.tobytes(), len(values), tuple(counts.tolist()), resamples, seed)


@lru_cache(maxsize=128)  # many claims compare the same networks; some 160 kB each
def _resampled(distinct: bytes, rows: int, counts: tuple[int, ...], resamples: int, seed: int) -> np.ndarray:
    """Means over resamples of columns, of which each is there so many times."""
    columns, images = np.frombuffer(distinct).reshape(rows, len(counts)), sum(counts)
    generator = np.random.default_rng(seed)
    block = max(1, 4_000_000 // len(counts))  # bounds the weights to 32 MB; blocks do not change the draws
    means = np.empty((resamples, rows))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        weights = generator.multinomial(images, np.array(counts) / images, size=size)
        means[start : start + size] = weights @ columns.T / images
    means.setflags(write=False)
    return means


def resample_groups(values, groups, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Bootstrap means of per-image values where images come in groups, such as patches of one tile.

    values: [rows, images]; groups: whole numbers [images]. As many groups as there are, drawn with replacement, each with
    all of its images. A mean is over the images drawn, so groups of different sizes count by their size. Returns
    [resamples, rows]; equal seeds give equal draws.
    Raises ValueError for NaN, no resample, fewer than two groups, or another number of groups than images.
    """
    values, member = np.asarray(values, dtype=float), members(groups)
    if values.ndim != 2 or values.shape[1] != len(member) or not np.isfinite(values).all() or resamples < 1:
        raise ValueError(
            f"Expected finite values [rows, {len(member)}] and at least 1 resample, got shape "
            f"{list(values.shape)} and {resamples}; give the group of each image."
        )
    sizes = np.bincount(member)
    sums = np.stack([np.bincount(member, weights=row) for row in values])
    drawn = np.random.default_rng(seed).multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=resamples)
    return drawn @ sums.T / (drawn @ sizes)[:, None]


def flip_test(hits, other, groups=None, *, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """Two-sided p-value that two networks are alike: their answers are exchanged, all of a group together.

    hits, other: bits [images] or [levels, images]; groups: whole numbers [images], or None where each image stands for
    itself. The share of random exchanges after which the networks differ by as much as they do; one is added to the count
    and to the number of exchanges. With one level and no groups it estimates McNemar's exact p-value.
    Raises ValueError for non-boolean bits, unequal shapes or groups that do not fit.
    """
    hits, other = bits("hits", hits), bits("other", other)
    same_shape(hits, other)
    per_image = level_counts(hits) - level_counts(other)
    if groups is not None:
        fits(groups, per_image)
        per_image = np.bincount(members(groups), weights=per_image)
    moved = per_image[per_image != 0].astype(float)
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(resamples, len(moved)))
    # Sums of whole numbers: exact, so that an equal difference counts as equal.
    return float(((np.abs(signs @ moved) >= abs(moved.sum())).sum() + 1) / (resamples + 1))


def bootstrap_interval(hits, other=None, *, groups=None, confidence=CONFIDENCE, resamples=RESAMPLES, seed=0) -> Interval:
    """Interval of a mean accuracy, or of the paired difference hits - other, over images or over groups of them.

    hits, other: bits [images] or [levels, images]. An image is drawn with all its levels, because they
    show the same photograph. groups: whole numbers [images]; a group of images that share pixels is drawn whole.
    Percentile interval; equal seeds give equal intervals.
    Raises ValueError for non-boolean bits, unequal shapes, groups that do not fit or a confidence outside 0..1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"Expected a confidence between 0 and 1, got {confidence}; 0.95 is the default.")
    hits = bits("hits", hits)
    per_image = level_counts(hits)
    if other is not None:
        other = bits("other", other)
        same_shape(hits, other)
        per_image = per_image - level_counts(other)
    levels = 1 if hits.ndim == 1 else hits.shape[0]
    # Whole numbers until here: equal images stay exactly equal, which resample_means relies on for speed.
    values = per_image[None] / levels
    if groups is None:
        means = resample_means(values, resamples, seed)[:, 0]
    else:
        fits(groups, per_image)
        means = resample_groups(values, groups, resamples, seed)[:, 0]
    low, high = percentile_interval(means, confidence)
    return Interval(float(values.mean()), low, high)


def percentile_interval(samples, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Low and high end of the central share of bootstrap samples [resamples]."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(samples, [tail, 1 - tail])
    return float(low), float(high)


def bootstrap_pvalue(differences) -> float:
    """Two-sided p-value that a difference is zero, from its bootstrap samples [resamples].

    Twice the smaller tail share beyond zero. One is added to the count and to the number of resamples, so
    that 2,000 of them never claim a p-value of zero. Raises ValueError for another shape, none, NaN or infinity.
    """
    differences = np.asarray(differences, dtype=float)
    if differences.ndim != 1 or not differences.size or not np.isfinite(differences).all():
        raise ValueError(
            f"Expected finite differences [resamples], got shape {list(differences.shape)}"
            f"{'' if np.isfinite(differences).all() else ' with NaN or infinity'}; give one each."
        )
    tail = min((differences <= 0).sum(), (differences >= 0).sum())
    return float(min(1.0, 2 * (tail + 1) / (len(differences) + 1)))
