"""Paired tests and intervals.

The paper compares two networks with a paired t-test whose pairs are distortion levels (Sections 5.1 and
5.2): seven pairs, and levels of one network are far from independent. Images are the better unit: both
networks see the same 10,000 test images, so each image is a pair. Both views are here. SciPy and
statsmodels do the work; arrays come in, small frozen dataclasses go out.

Shapes: accuracies are float [levels] in 0..1. Correctness bits are bool [images] or [levels, images], true
where the network named the right class; level 0 is the clean image.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy

CONFIDENCE = 0.95
SIGNIFICANCE = 0.05  # the paper's threshold
RESAMPLES = 2000


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


@dataclass(frozen=True)
class Interval:
    """An estimate with its percentile bootstrap interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class SeedInterval:
    """Mean and spread (standard deviation, n - 1) over seeds; None where one seed cannot tell."""

    mean: float
    spread: float | None
    low: float | None
    high: float | None
    seeds: int
    note: str


def paired_t_test(a, b) -> TTest:
    """Compare two networks over levels, as the paper does (Sections 5.1.2, 5.1.3 and 5.2.2).

    a, b: accuracies [levels] in 0..1, the same levels in the same order; two levels at least.
    Equal differences leave no variance: p is 1 where the networks agree at every level, and 0 where they
    differ by the same amount at every level; the interval is then that one difference.
    Raises ValueError for other shapes, unequal lengths, NaN or values outside 0..1.
    """
    a, b = _accuracies("a", a), _accuracies("b", b)
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

    a, b = _bits("correct_a", correct_a), _bits("correct_b", correct_b)
    if a.ndim != 1 or b.ndim != 1:
        raise ValueError(
            f"Expected bits [images], got shapes {list(a.shape)} and {list(b.shape)}; test one level at a time."
        )
    _same_shape(a, b)
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
    values, member = np.asarray(values, dtype=float), _members(groups)
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
    hits, other = _bits("hits", hits), _bits("other", other)
    _same_shape(hits, other)
    per_image = _level_counts(hits) - _level_counts(other)
    if groups is not None:
        _fits(groups, per_image)
        per_image = np.bincount(_members(groups), weights=per_image)
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
    hits = _bits("hits", hits)
    per_image = _level_counts(hits)
    if other is not None:
        other = _bits("other", other)
        _same_shape(hits, other)
        per_image = per_image - _level_counts(other)
    levels = 1 if hits.ndim == 1 else hits.shape[0]
    # Whole numbers until here: equal images stay exactly equal, which resample_means relies on for speed.
    values = per_image[None] / levels
    if groups is None:
        means = resample_means(values, resamples, seed)[:, 0]
    else:
        _fits(groups, per_image)
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


def _accuracies(name, values) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.ndim != 1:
        raise ValueError(
            f"Expected accuracies [levels] in {name}, got shape {list(values.shape)}; average over seeds first."
        )
    if not np.all((values >= 0) & (values <= 1)):
        raise ValueError(f"Expected accuracies in 0..1 in {name}, got {values.tolist()}; give shares, not percent.")
    return values


def _bits(name, values) -> np.ndarray:
    values = np.asarray(values)
    if values.dtype != np.bool_:
        raise ValueError(f"Expected boolean bits in {name}, got {values.dtype}; compare predictions with labels first.")
    if values.ndim not in (1, 2) or values.shape[-1] < 2 or values.shape[0] < 1:
        raise ValueError(
            f"Expected bits [images] or [levels, images] with at least 2 images in {name}, "
            f"got shape {list(values.shape)}; put images last."
        )
    return values


def _same_shape(a, b) -> None:
    if a.shape != b.shape:
        raise ValueError(
            f"Expected bits of the same images, got shapes {list(a.shape)} and {list(b.shape)}; "
            "evaluate both networks on one test set."
        )


def _members(groups) -> np.ndarray:
    """The groups [images], numbered from 0 without gaps."""
    groups = np.asarray(groups)
    if (
        groups.ndim != 1
        or groups.dtype.kind not in "iu"
        or len(found := np.unique(groups, return_inverse=True)[1]) == 0
        or found.max() == 0
    ):
        raise ValueError(
            f"Expected whole numbers [images] of at least 2 groups, got {groups.dtype} {list(groups.shape)}; "
            "give the number of the group of each image."
        )
    return found


def _fits(groups, per_image) -> None:
    if np.shape(groups) != per_image.shape:
        raise ValueError(
            f"Expected the group of each of {len(per_image)} images, got groups of shape "
            f"{list(np.shape(groups))}; give one number per image."
        )


def _level_counts(bits) -> np.ndarray:
    """Number of levels at which each image is right: int [images]."""
    return bits.astype(int) if bits.ndim == 1 else bits.sum(0)


def own_neighbours(points: np.ndarray, labels: np.ndarray) -> float:
    """The share of points [N, D] whose nearest other point has the same label: 1 for separate clusters."""
    nearest = scipy.spatial.cKDTree(points).query(points, k=2)[1]
    other = np.where(nearest[:, 0] == np.arange(len(points)), nearest[:, 1], nearest[:, 0])
    return float(np.mean(labels[other] == labels))
