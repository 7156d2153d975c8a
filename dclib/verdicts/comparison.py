"""Means of one, two or more methods, their comparison, and the interval that decides a claim about it.

What moves an accuracy is the choice of images, of which every record keeps its own, and the training, which only several
seeds tell: an `Estimate` rests on both.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from dclib import statistics
from dclib.datasets import per_class_sample
from dclib.verdicts import replication
from dclib.verdicts.finding import Estimate

POINT = 0.01  # the authors' own spread between two evaluations of one network, in mean accuracy over levels


@dataclass(frozen=True)
class RunToRun:
    """By how much the accuracy of one method moves from one training to the next: a standard deviation, None if unknown."""

    deviation: float | None
    words: str


def authors_spread(level: int | None) -> RunToRun:
    """What two evaluations by the authors say: they differ by about a point in the mean, at single levels by 0 to 3.

    One pair is no estimate for single levels, so that of them it says nothing.
    """
    if level is None:
        return RunToRun(POINT / np.sqrt(2), f"the authors' own spread of {POINT:g}, as no row has three seeds yet")
    return RunToRun(None, "no row with three seeds says yet how much a single level moves")


@dataclass(frozen=True)
class Sample:
    """The records of one method, one per seed (or per draw of random filters), at one level (None: the mean over all).

    run_to_run: what moves it from one training to the next; the authors' spread where None.
    """

    records: list
    level: int | None = None
    run_to_run: Callable[[int | None], RunToRun] | None = None

    def at(self, level: int | None) -> "Sample":
        return replace(self, level=level)

    def moves(self) -> RunToRun:
        return (self.run_to_run or authors_spread)(self.level)

    def of_seeds(self, seeds) -> "Sample":
        return replace(self, records=[r for r in self.records if r.seed in seeds])

    def seeds(self) -> set[int]:
        return {r.seed for r in self.records}

    def draws(self) -> set[int]:
        """The numbers of the random choices of filters behind the records; empty where the choice is not random."""
        return {r.choice for r in self.records if r.choice is not None}

    def per_record(self) -> np.ndarray:
        return np.array([np.mean(r.accuracy if self.level is None else r.accuracy[self.level]) for r in self.records])

    def per_seed(self) -> dict[int, float]:
        values = self.per_record()
        return {seed: float(np.mean([v for v, r in zip(values, self.records) if r.seed == seed])) for seed in self.seeds()}

    def mean(self) -> float:
        return float(self.per_record().mean())

    def levels(self) -> np.ndarray:
        return np.mean([r.accuracy for r in self.records], axis=0)

    def per_split(self) -> dict[tuple[int, int], float]:
        """Mean accuracy per random split of the images, over the seeds that had it; empty where a record has no splits."""
        if any(r.draws is None for r in self.records):
            return {}
        found = defaultdict(list)
        for r in self.records:
            for number, levels in enumerate(r.draws):
                found[r.seed, number].append(np.mean(levels if self.level is None else levels[self.level]))
        return {draw: float(np.mean(values)) for draw, values in found.items()}

    def per_image(self) -> np.ndarray | None:
        """Mean correctness [images] over levels and seeds; None where a record has no bits."""
        if any(r.hits is None for r in self.records):
            return None
        bits = [r.hits if self.level is None else r.hits[self.level : self.level + 1] for r in self.records]
        if len({b.shape[1] for b in bits}) > 1:
            return None
        return sum(b.sum(0) for b in bits) / sum(len(b) for b in bits)


def estimate(samples, formula, *, within: bool = False) -> Estimate:
    """``formula(*means)`` with the interval that decides a claim about it.

    With several seeds in common, those decide: the t-interval over them, and the interval over images, widen each other
    (`replication.widen`). With one seed twice the deviation from one training to the next takes the place of the former.
    within: the formula compares accuracies of one network with itself, which another training would not tell apart.
    """
    seeds = sorted(set.intersection(*(s.seeds() for s in samples)))
    samples = [s.of_seeds(seeds) for s in samples] if seeds else list(samples)
    means, bounds, common, pvalue = _over_images(samples, formula)
    value = float(formula(*means))
    low, high = bounds or (value, value)
    if len(seeds) > 1:
        each = [float(formula(*values)) for values in zip(*([s.per_seed()[seed] for seed in seeds] for s in samples))]
        low, high = replication.widen(value, low, high, replication.seeds_half_width(each))
        return Estimate(
            value,
            low,
            high,
            (low, high),
            words=f"{len(seeds)} seeds give {min(each):.4f} to {max(each):.4f}",
            pvalue=pvalue,
            common=common,
        )
    if within and bounds:
        return Estimate(value, low, high, bounds, words="for this one network", pvalue=pvalue, common=common)
    moves = [s.moves() for s in samples]
    networks = "these two networks" if len(samples) > 1 else "this one network"
    if any(m.deviation is None for m in moves):
        low, high = bounds or (-np.inf, np.inf)
        words = f"conditional on {networks}, for {next(m.words for m in moves if m.deviation is None)}"
        return Estimate(value, low, high, bounds, True, words, pvalue, common)
    half = 2 * float(
        np.linalg.norm(
            [formula(*means[:i], mean + moves[i].deviation, *means[i + 1 :]) - value for i, mean in enumerate(means)]
        )
    )
    low, high = replication.widen(value, low, high, half)
    words = f"conditional on {networks}: another training moves it by up to {half:.4f} ({moves[0].words})"
    return Estimate(value, low, high, bounds, words=words, pvalue=pvalue, common=common)


def interval(samples, formula) -> tuple[float, float] | None:
    """The interval of ``formula(*means)`` that is shown beside a value; None where there is none."""
    return estimate(samples, formula).interval


def compare(a: Sample, b: Sample, *, within: bool = False) -> Estimate:
    """a minus b in mean accuracy, paired by image where both have bits of the same images."""
    return estimate([a, b], lambda x, y: x - y, within=within)


def _over_images(samples, formula) -> tuple[list[float], tuple[float, float] | None, int | None, float | None]:
    """The means, the interval of ``formula(*means)`` over images, else over random splits of them; how many images the
    samples share, where one saw more; the p-value that it is 0. None for what the records do not say.

    Different images of each sample are drawn independently.
    """
    images, rows = _stack(samples), [s.per_image() for s in samples]
    if images is not None:
        found = formula(*statistics.resample_means(images).T)
        common = images.shape[1] if images.shape[1] < max(map(len, rows)) else None
        return (images.mean(1).tolist(), statistics.percentile_interval(found), common, statistics.bootstrap_pvalue(found))
    means = [s.mean() for s in samples]
    if all(row is not None for row in rows):
        found = formula(*(statistics.resample_means(row[None], seed=i)[:, 0] for i, row in enumerate(rows)))
        return means, statistics.percentile_interval(found), None, statistics.bootstrap_pvalue(found)
    splits = [s.per_split() for s in samples]
    if len(shared := sorted(set.intersection(*(set(s) for s in splits)))) > 1:
        values = [formula(*(s[split] for s in splits)) for split in shared]
        return means, statistics.draws_interval(values, samples[0].records[0].test_to_train), None, None
    return means, None, None, None


def paired_tests(a: Sample, b: Sample) -> dict[str, float | list[float]]:
    """p-values by name: the paper's t-test over levels, and McNemar's over images (first seed of each)."""
    found: dict[str, float | list[float]] = {}
    if len(a.levels()) == len(b.levels()) > 1:
        found["paired t-test over levels"] = statistics.paired_t_test(a.levels(), b.levels()).pvalue
    first, second = a.records[0].hits, b.records[0].hits
    if first is not None and second is not None and first.shape == second.shape:
        tests = [statistics.mcnemar(x, y).pvalue for x, y in zip(first, second)]
        found["McNemar over images, per level, Holm"] = statistics.holm(tests).tolist()
    return found


def _stack(samples) -> np.ndarray | None:
    """Per-image correctness [samples, images] of methods on the images that all of them saw; None if unknown which."""
    rows = [s.per_image() for s in samples]
    if any(r is None for r in rows):
        return None
    fewest = min(range(len(rows)), key=lambda i: len(rows[i]))
    places = [
        np.arange(len(r)) if len(r) == len(rows[fewest]) else _places(samples[fewest].records[0], s.records[0])
        for r, s in zip(rows, samples)
    ]
    return None if any(p is None for p in places) else np.stack([r[p] for r, p in zip(rows, places)])


def _places(few, many) -> np.ndarray | None:
    """Where the images of one test set lie in a larger one; None where the records do not tell.

    Test images lie class after class. `test_images` of every class are the first of a shuffle that does not depend on
    how many are taken; without that number all of them are there (`execution.parts.test_images`).
    """
    taken, classes = few.test_images, few.classes
    images = many.hits.shape[1]
    if not taken or not classes or classes != many.classes or images % classes:
        return None
    if many.test_images is None:
        return per_class_sample(torch.arange(classes).repeat_interleave(images // classes), taken, 0).numpy()
    return np.arange(images).reshape(classes, -1)[:, :taken].ravel()
