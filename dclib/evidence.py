"""What the records say about one, two or more methods: means, intervals, comparisons.

Everything a verdict rests on is computed here, from records handed in by the caller; dclib.claims knows
which quantity each claim is about and dclib.verdicts the rule.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dclib import paper, statistics

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
    """a minus b; low and high decide, interval is None where they are only the authors' spread."""

    difference: float
    low: float
    high: float
    interval: tuple[float, float] | None
    pvalue: float | None

    def shown(self, adjusted: float | None = None) -> int:
        """1 if a is better beyond doubt, -1 if b is, else 0; adjusted: the p-value after Holm."""
        if adjusted is not None and adjusted >= statistics.SIGNIFICANCE:
            return 0
        return int(self.low > 0) - int(self.high < 0)


class Evidence:
    """Finds what a test needs through the caller's functions, and remembers what was used."""

    def __init__(self, test: dict, lookup, lookup_swaps=None, lookup_measure=None):
        self.test, self._lookup, self._swaps, self._measure = test, lookup, lookup_swaps, lookup_measure
        self.runs: list[str] = []
        self.stand_ins: list[str] = []
        self.seeds: list[int] = []

    def sample(self, operand, level: int | None = None) -> Sample:
        table, method = operand_key(self.test, operand)
        records = sorted(self._lookup(table, method), key=lambda r: r.seed)
        if not records:
            raise NotRun(f"Table {table}, {method}")
        for record in records:
            _check_record(record)
        self._used([r.id for r in records], [getattr(r, "stand_in", "") for r in records], len(records))
        return Sample(records, level)

    def parameters(self, operand) -> int:
        count = getattr(self.sample(operand).records[0], "parameters", None)
        if count is None:
            raise NotRun(f"the parameter count of {operand}")
        return int(count)

    def swaps(self, dataset: str, distortion: str) -> dict[str, np.ndarray]:
        """Figures 4 and 5: accuracy averaged over levels [fractions] per layer, in order of depth."""
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
        self._used(getattr(found, "runs", ()), [getattr(found, "stand_in", "")], 1)
        return {layer: np.mean(found[layer], axis=1) for layer in sorted(found)}

    def measure(self, name: str) -> Mapping:
        found = self._measure(name) if self._measure else None
        if not found:
            raise NotRun(f"the measurement {name}")
        self._used(found.get("runs", ()), [found.get("stand_in", "")], found.get("seeds", 1))
        return found

    def _used(self, runs, stand_ins, seeds) -> None:
        self.runs += [str(r) for r in runs]
        self.stand_ins += filter(None, stand_ins)
        self.seeds.append(seeds)


def operand_key(test: dict, operand) -> tuple[int, str]:
    """(table, method) of an operand: a method of the test's own table, or a mapping that names both."""
    return (test["table"], operand) if isinstance(operand, str) else (operand["table"], operand["method"])


def interval(samples, formula) -> tuple[float, float] | None:
    """Interval of ``formula(*means)``: over images, else over seeds, else None."""
    images = _stack(samples)
    if images is not None:
        return statistics.percentile_interval(formula(*statistics.resample_means(images).T))
    seeds = [formula(*values) for values in zip(*(s.per_seed() for s in samples))]
    found = statistics.seed_interval(seeds)
    return None if found.low is None else (found.low, found.high)


def compare(a: Sample, b: Sample) -> Comparison:
    """a minus b in mean accuracy, paired by image where both have bits of the same images."""
    difference = a.mean() - b.mean()
    images = _stack([a, b])
    if images is not None:
        draws = statistics.resample_means((images[0] - images[1])[None])[:, 0]
        bounds = statistics.percentile_interval(draws)
        return Comparison(difference, *bounds, bounds, statistics.bootstrap_pvalue(draws))
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
    """Per-image correctness [samples, images] of methods tested on the same images; None otherwise."""
    rows = [s.per_image() for s in samples]
    if any(r is None for r in rows) or len({len(r) for r in rows}) > 1:
        return None
    return np.stack(rows)


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
