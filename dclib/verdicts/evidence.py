"""What a claim's test needs of the records, found through the caller's functions, and what was used of it.

dclib.verdicts.comparison computes with what is found, dclib.verdicts.finding has the rules.
"""

from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np

from dclib import paper
from dclib.verdicts.comparison import RunToRun, Sample, authors_spread


class NotRun(Exception):
    """Something that a claim needs has not been run."""


class Evidence:
    """Finds what a test needs through the caller's functions, and remembers what was used."""

    def __init__(self, test: dict, lookup, lookup_swaps=None, lookup_measure=None, lookup_parameters=None,
                 lookup_run_to_run=None):
        self.test, self._lookup, self._swaps, self._measure = test, lookup, lookup_swaps, lookup_measure
        self._parameters, self._run_to_run = lookup_parameters, lookup_run_to_run
        self.runs: list[str] = []
        self.stand_ins: list[str] = []
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
        records = sorted(self._lookup(table, method), key=lambda r: r.seed)
        if not records:
            raise NotRun(f"Table {table}, {method}")
        for record in records:
            _check_record(record)
        for record in records:
            self._used([record.id], record, len({r.seed for r in records}))
        return Sample(records, level, lambda level: self.run_to_run(table, level))

    def run_to_run(self, table: int, level: int | None) -> RunToRun:
        """What rows with three seeds say of the spread from one training to the next, else what the authors' numbers do."""
        found = self._run_to_run(table, level) if self._run_to_run else None
        if not found:
            return authors_spread(level)
        deviation, rows = found
        return RunToRun(deviation, f"{deviation:.4f} in {rows} row{'s' * (rows > 1)} with three seeds")

    def parameters(self, operand) -> int:
        """How many parameters a method trains at the paper's scale: counted, not measured."""
        count = self._parameters(*operand_key(self.test, operand)) if self._parameters else None
        if count is None:
            raise NotRun(f"the parameter count of {operand}")
        return int(count)

    def swaps(self, dataset: str, distortion: str) -> Mapping:
        """Figures 4 and 5: accuracy [fractions, levels] per layer; perhaps with bits, as `judgement.Swaps` has them."""
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
        self._used(getattr(found, "runs", ()), found, max(1, len(getattr(found, "runs", ()))))
        return found

    def measure(self, name: str) -> Mapping:
        found = self._measure(name) if self._measure else None
        if not found:
            raise NotRun(f"the {self.test['what']}")
        self.published = bool(found.get("published"))
        runs = found.get("runs", ())
        self._used(runs, SimpleNamespace(**found), found.get("seeds", min(1, len(runs))))
        return found

    def _used(self, runs, source, seeds) -> None:
        self.runs += [str(r) for r in runs]
        self.stand_ins += filter(None, [getattr(source, "stand_in", "")])
        for name in ("other_classes", "other_width"):
            self.other_sizes += filter(None, [getattr(source, name, "")])
        self.short_trainings += filter(None, [getattr(source, "short_training", "")])
        self.other_methods += filter(None, [getattr(source, "other_method", "")])
        self.trainings += [t for t in (getattr(source, "training", None), *getattr(source, "trainings", ())) if t]
        self.seeds.append(seeds)


def operand_key(test: dict, operand) -> tuple[int, str]:
    """(table, method) of an operand: a method of the test's own table, or a mapping that names both."""
    return (test["table"], operand) if isinstance(operand, str) else (operand["table"], operand["method"])


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
