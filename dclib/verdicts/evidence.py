"""What a claim's test needs of the records, found in a `Source`, and what was used of it.

dclib.verdicts.comparison computes with what is found, dclib.verdicts.finding has the rules.
"""

from collections.abc import Mapping

import numpy as np

from dclib import paper
from dclib.experiments import StandIn
from dclib.verdicts.comparison import RunToRun, Sample, authors_spread
from dclib.verdicts.source import Measure, Source, Swaps


class NotRun(Exception):
    """Something that a claim needs has not been run."""


class Evidence:
    """Finds what a test needs in a source, and remembers what was used."""

    def __init__(self, test: dict, source: Source) -> None:
        self.test, self._source = test, source
        self.runs: list[str] = []
        self.stand_ins: list[StandIn] = []
        self.other_sizes: list[str] = []
        self.short_trainings: list[str] = []
        self.other_methods: list[str] = []
        self.trainings: list = []
        self.seeds: list[int] = []
        self.published = False

    @property
    def sizes(self) -> bool:
        """Whether sizes may be compared with the paper's: not those of narrower networks or of fewer classes."""
        return not self.other_sizes

    def sample(self, operand, level: int | None = None) -> Sample:
        table, method = operand_key(self.test, operand)
        records = sorted(self._source.records(table, method), key=lambda r: r.seed)
        if not records:
            raise NotRun(f"Table {table}, {method}")
        for record in records:
            _check_record(record)
        for record in records:
            self._used([record.id], record, len({r.seed for r in records}))
        return Sample(records, level, lambda level: self.run_to_run(table, level))

    def run_to_run(self, table: int, level: int | None) -> RunToRun:
        """What rows with three seeds say of the spread from one training to the next, else what the authors' numbers do."""
        found = self._source.run_to_run(table, level)
        if not found:
            return authors_spread(level)
        deviation, rows = found
        return RunToRun(deviation, f"{deviation:.4f} in {rows} row{'s' * (rows > 1)} with three seeds")

    def parameters(self, operand) -> int:
        """How many parameters a method trains in profile paper: counted, not measured."""
        count = self._source.parameters(*operand_key(self.test, operand))
        if count is None:
            raise NotRun(f"the parameter count of {operand}")
        return int(count)

    def swaps(self, dataset: str, distortion: str) -> Swaps:
        """Figures 4 and 5: accuracy [fractions, levels] per layer; perhaps with bits."""
        found = self._source.swaps(dataset, distortion)
        if not found:
            raise NotRun(f"the swaps of Figures 4 and 5 for {dataset}, {distortion}")
        fractions = len(paper.swap_data()["fractions"])
        for layer, rows in found.items():
            if np.ndim(rows) != 2 or len(rows) != fractions:
                raise ValueError(
                    f"Expected swap accuracies [{fractions} fractions, levels] for {layer}, got shape "
                    f"{list(np.shape(rows))}; swap the fractions of Figures 4 and 5."
                )
        self._used(found.runs, found, max(1, len(found.runs)))
        return found

    def measure(self, test: Mapping) -> Measure:
        found = self._source.measure(test)
        if found is None:
            raise NotRun(f"the {self.test['what']}")
        self.published = found.published
        self._used(found.runs, found, min(1, len(found.runs)) if found.seeds is None else found.seeds)
        return found

    def _used(self, runs, found, seeds) -> None:
        """Remember what stands behind `found`, which has what `Sourced` has."""
        self.runs += [str(r) for r in runs]
        self.stand_ins += found.stand_in
        self.other_sizes += filter(None, [found.other_classes, found.other_width])
        self.short_trainings += filter(None, [found.short_training])
        self.other_methods += filter(None, [found.other_method])
        self.trainings += found.trainings
        self.seeds.append(seeds)


def operand_key(test: dict, operand) -> tuple[int, str]:
    """(table, method) of an operand: a method of the test's own table, or a mapping that names both."""
    return (test["table"], operand) if isinstance(operand, str) else (operand["table"], operand["method"])


def _check_record(record) -> None:
    accuracy, hits = np.asarray(record.accuracy), record.hits
    if accuracy.ndim != 1 or not np.all((accuracy >= 0) & (accuracy <= 1)):
        raise ValueError(
            f"Expected accuracies [levels] in 0..1 in record {record.id}, got {accuracy.tolist()}; make it again."
        )
    if hits is None:
        return
    shaped = hits.dtype == bool and hits.ndim == 2 and len(hits) == len(accuracy)
    if not shaped or np.abs(hits.mean(1) - accuracy).max() > 1e-4:
        raise ValueError(
            f"Expected bool bits [levels, images] that average to the accuracies in record {record.id}, "
            f"got {hits.dtype} {list(hits.shape)}; make it again."
        )
