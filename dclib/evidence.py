"""What the records say about one, two or more methods: means, intervals, comparisons.

Everything a verdict rests on is computed here, from records handed in by the caller; dclib.claims knows
which quantity each claim is about and dclib.verdicts the rule.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch

from dclib import paper, statistics
from dclib.datasets import per_class_sample

POINT = 0.01  # the authors' own spread between two evaluations of one network, in accuracy


class NotRun(Exception):
    """Something that a claim needs has not been run."""


@dataclass(frozen=True)
class Sample:
    """The records of one method, one per seed, at one level (None: the mean over all levels)."""

    records: list
    level: int | None = None

    def at(self, level: int | None) -> "Sample":
        return Sample(self.records, level)

    def per_seed(self) -> np.ndarray:
        return np.array([np.mean(r.accuracy if self.level is None else r.accuracy[self.level]) for r in self.records])

    def mean(self) -> float:
        return float(self.per_seed().mean())

    def levels(self) -> np.ndarray:
        return np.mean([r.accuracy for r in self.records], axis=0)

    def per_draw(self) -> dict[tuple[int, int], float]:
        """Mean accuracy per random split of the images, over the seeds that had it; empty where a record has no splits."""
        if any(getattr(r, "draws", None) is None for r in self.records):
            return {}
        found = defaultdict(list)
        for r in self.records:
            for number, levels in enumerate(r.draws):
                found[r.seed, number].append(np.mean(levels if self.level is None else levels[self.level]))
        return {draw: float(np.mean(values)) for draw, values in found.items()}

    def per_image(self) -> np.ndarray | None:
        """Mean correctness [images] over levels and seeds; None where a record has no bits."""
        if any(r.correct is None for r in self.records):
            return None
        bits = [r.correct if self.level is None else r.correct[self.level : self.level + 1] for r in self.records]
        if len({b.shape[1] for b in bits}) > 1:
            return None
        return sum(b.sum(0) for b in bits) / sum(len(b) for b in bits)


@dataclass(frozen=True)
class Comparison:
    """a minus b; low and high decide, interval is None where they are only the authors' spread.

    common: how many images both saw, where one of them saw more.
    """

    difference: float
    low: float
    high: float
    interval: tuple[float, float] | None
    pvalue: float | None
    common: int | None = None

    def shown(self, adjusted: float | None = None) -> int:
        """1 if a is better beyond doubt, -1 if b is, else 0; adjusted: the p-value after Holm."""
        if adjusted is not None and adjusted >= statistics.SIGNIFICANCE:
            return 0
        return int(self.low > 0) - int(self.high < 0)


class Evidence:
    """Finds what a test needs through the caller's functions, and remembers what was used."""

    def __init__(self, test: dict, lookup, lookup_swaps=None, lookup_measure=None, lookup_parameters=None):
        self.test, self._lookup, self._swaps, self._measure = test, lookup, lookup_swaps, lookup_measure
        self._parameters = lookup_parameters
        self.runs: list[str] = []
        self.stand_ins: list[str] = []
        self.other_classes: list[str] = []
        self.other_methods: list[str] = []
        self.seeds: list[int] = []

    def sample(self, operand, level: int | None = None) -> Sample:
        table, method = operand_key(self.test, operand)
        records = sorted(self._lookup(table, method), key=lambda r: r.seed)
        if not records:
            raise NotRun(f"Table {table}, {method}")
        for record in records:
            _check_record(record)
        for record in records:
            self._used([record.id], record, len(records))
        return Sample(records, level)

    def parameters(self, operand) -> int:
        """How many parameters a method trains at the paper's scale: counted, not measured."""
        count = self._parameters(*operand_key(self.test, operand)) if self._parameters else None
        if count is None:
            raise NotRun(f"the parameter count of {operand}")
        return int(count)

    def swaps(self, dataset: str, distortion: str) -> tuple[dict[str, np.ndarray], float]:
        """Figures 4 and 5: accuracy averaged over levels [fractions] per layer, in order of depth; and by how much the
        difference of two of them may be off."""
        found = self._swaps(dataset, distortion) if self._swaps else None
        if not found:
            raise NotRun(f"the swaps of Figures 4 and 5 for {dataset}, {distortion}")
        fractions = len(paper.swap_data()["fractions"])
        for layer, rows in found.items():
            if np.ndim(rows) != 2 or len(rows) != fractions:
                raise ValueError(
                    f"Expected swap accuracies [{fractions} fractions, levels] for {layer}, got shape "
                    f"{list(np.shape(rows))}; swap the fractions of Figures 4 and 5."
                )
        self._used(getattr(found, "runs", ()), found, 1)
        curves = {layer: np.mean(found[layer], axis=1) for layer in sorted(found)}
        values, images = np.concatenate(list(curves.values())), getattr(found, "images", None)
        sampling = statistics.difference_error(values, values, images).max() if images else 0.0
        return curves, max(POINT, float(sampling))

    def measure(self, name: str) -> Mapping:
        found = self._measure(name) if self._measure else None
        if not found:
            raise NotRun(f"the measurement {name}")
        self._used(found.get("runs", ()), SimpleNamespace(**found), found.get("seeds", 1))
        return found

    def _used(self, runs, source, seeds) -> None:
        self.runs += [str(r) for r in runs]
        self.stand_ins += filter(None, [getattr(source, "stand_in", "")])
        self.other_classes += filter(None, [getattr(source, "other_classes", "")])
        self.other_methods += filter(None, [getattr(source, "other_method", "")])
        self.seeds.append(seeds)


def operand_key(test: dict, operand) -> tuple[int, str]:
    """(table, method) of an operand: a method of the test's own table, or a mapping that names both."""
    return (test["table"], operand) if isinstance(operand, str) else (operand["table"], operand["method"])


def interval(samples, formula) -> tuple[float, float] | None:
    """Interval of ``formula(*means)``: over images, else over random splits, else over seeds, else None.

    Different images of each sample are drawn independently.
    """
    images, rows = _stack(samples), [s.per_image() for s in samples]
    if images is not None:
        return statistics.percentile_interval(formula(*statistics.resample_means(images).T))
    if all(row is not None for row in rows):
        draws = [statistics.resample_means(row[None], seed=i)[:, 0] for i, row in enumerate(rows)]
        return statistics.percentile_interval(formula(*draws))
    splits = [s.per_draw() for s in samples]
    if len(shared := sorted(set.intersection(*(set(s) for s in splits)))) > 1:
        values = [formula(*(s[draw] for s in splits)) for draw in shared]
        return statistics.draws_interval(values, samples[0].records[0].test_to_train)
    seeds = [formula(*values) for values in zip(*(s.per_seed() for s in samples))]
    found = statistics.seed_interval(seeds)
    return None if found.low is None else (found.low, found.high)


def compare(a: Sample, b: Sample) -> Comparison:
    """a minus b in mean accuracy, paired by image where both have bits of the same images."""
    images, rows = _stack([a, b]), (a.per_image(), b.per_image())
    if images is not None:
        values = images[0] - images[1]
        draws = statistics.resample_means(values[None])[:, 0]
        bounds = statistics.percentile_interval(draws)
        common = len(values) if len(values) < max(map(len, rows)) else None
        return Comparison(float(values.mean()), *bounds, bounds, statistics.bootstrap_pvalue(draws), common)
    difference = a.mean() - b.mean()
    bounds = interval([a, b], lambda x, y: x - y)
    low, high = bounds or (difference - POINT, difference + POINT)
    return Comparison(difference, low, high, bounds, None)


def compare_all(pairs) -> tuple[list[Comparison], list[int], dict[str, list[float]]]:
    """Comparisons, what each shows after Holm's correction (1, 0, -1), and the corrected p-values by name."""
    parts = [compare(a, b) for a, b in pairs]
    if any(c.pvalue is None for c in parts):
        return parts, [c.shown() for c in parts], {}
    adjusted = statistics.holm([c.pvalue for c in parts]).tolist()
    return parts, [c.shown(p) for c, p in zip(parts, adjusted)], {"bootstrap over images, Holm": adjusted}


def paired_tests(a: Sample, b: Sample) -> dict[str, float | list[float]]:
    """p-values by name: the paper's t-test over levels, and McNemar's over images (first seed of each)."""
    found: dict[str, float | list[float]] = {}
    if len(a.levels()) == len(b.levels()) > 1:
        found["paired t-test over levels"] = statistics.paired_t_test(a.levels(), b.levels()).pvalue
    first, second = a.records[0].correct, b.records[0].correct
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
    places = [np.arange(len(r)) if len(r) == len(rows[fewest]) else _places(samples[fewest].records[0], s.records[0])
              for r, s in zip(rows, samples)]
    return None if any(p is None for p in places) else np.stack([r[p] for r, p in zip(rows, places)])


def _places(few, many) -> np.ndarray | None:
    """Where the images of one test set lie in a larger one; None where the records do not tell.

    Test images lie class after class. `test_images` of every class are the first of a shuffle that does not depend on
    how many are taken; without that number all of them are there (`execution.parts.test_images`).
    """
    taken, classes = (getattr(few, name, None) for name in ("test_images", "classes"))
    images = many.correct.shape[1]
    if not taken or not classes or classes != getattr(many, "classes", None) or images % classes:
        return None
    if getattr(many, "test_images", None) is None:
        return per_class_sample(torch.arange(classes).repeat_interleave(images // classes), taken, 0).numpy()
    return np.arange(images).reshape(classes, -1)[:, :taken].ravel()


def _check_record(record) -> None:
    accuracy, correct = np.asarray(record.accuracy), record.correct
    if accuracy.ndim != 1 or not np.all((accuracy >= 0) & (accuracy <= 1)):
        raise ValueError(
            f"Expected accuracies [levels] in 0..1 in record {record.id}, got {accuracy.tolist()}; make it again."
        )
    if correct is None:
        return
    shaped = correct.dtype == bool and correct.ndim == 2 and len(correct) == len(accuracy)
    if not shaped or np.abs(correct.mean(1) - accuracy).max() > 1e-4:
        raise ValueError(
            f"Expected bool bits [levels, images] that average to the accuracies in record {record.id}, "
            f"got {correct.dtype} {list(correct.shape)}; make it again."
        )
