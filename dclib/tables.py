"""Records beside the paper's numbers, as DataFrames. Nothing is computed here but means over seeds."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dclib import paper
from dclib.distortions import LEVELS
from dclib.errors import InputError
from dclib.experiments import Profile, profile, rows
from dclib.results import Record, Store

NOT_RUN = "not run yet"
TABLES = {"table1": 1, "table2": 2, "table3": 3, "table4": 4}


@dataclass(frozen=True)
class Row:
    """One method in one table: the paper's accuracies [7] and ours [seeds, 7], with the records behind them."""

    method: str
    paper_accuracy: np.ndarray
    paper_average: float
    paper_parameters: int | None
    records: tuple[Record, ...]

    @property
    def accuracy(self) -> np.ndarray:
        return np.array([r.accuracy for r in self.records]).reshape(len(self.records), -1)


def collect(target: str, profile_name: str, store: Store, seeds: tuple[int, ...] | None = None) -> list[Row]:
    """The rows of Table 1, 2, 3 or 4 (CIFAR-100): paper and records side by side."""
    if target not in TABLES:
        raise InputError(f"table: expected one of {', '.join(TABLES)}, got {target!r}.")
    printed = {row["method"]: row for row in paper.table(TABLES[target])["rows"]
               if row.get("dataset", "cifar100") == "cifar100"}
    collected = []
    for method, runs in rows(target, profile(profile_name), seeds).items():
        found = tuple(record for run in runs if (record := store.get(run)))
        row = printed[method]
        collected.append(Row(method, np.array(row["accuracy"]), row["average"], row.get("parameters"), found))
    return collected


def beside(target: str, profile_name: str, store: Store, seeds: tuple[int, ...] | None = None) -> pd.DataFrame:
    """Two lines per method, the paper's numbers and ours; what has no record says so.

    With several seeds ours is mean ± standard deviation.
    """
    p = profile(profile_name)
    symbol, distortion = ("σ_b", "blur") if target in ("table1", "table3") else ("σ_n", "awgn")
    sigmas = LEVELS["cifar100"][distortion]
    heads = ["clean", *(f"{symbol} = {s:g}" for s in sigmas), "average"]
    lines, index = [], []
    for row in collect(target, profile_name, store, seeds):
        index.append((row.method, "paper"))
        lines.append([f"{a:.4f}" for a in (*row.paper_accuracy, row.paper_average)] + [_count(row.paper_parameters)])
        index.append((row.method, _label(p)))
        if row.records:
            cells = np.column_stack([row.accuracy, row.accuracy.mean(1)])
            trained = row.records[0].outcome["parameters_trained"]
            lines.append([_mean(cells[:, i]) for i in range(cells.shape[1])] + [_count(trained)])
        else:
            lines.append([NOT_RUN] + ["–"] * len(heads))
    return pd.DataFrame(lines, index=pd.MultiIndex.from_tuples(index, names=["method", "source"]),
                        columns=[*heads, "parameters"])


def source_line(target: str, profile_name: str, store: Store) -> str:
    """Where a table's numbers come from: profile, stand-in, data, seeds, commits, hardware, command."""
    p = profile(profile_name)
    records = [record for row in collect(target, profile_name, store) for record in row.records]
    command = f"dclib run {target} --profile {profile_name}"
    if not records:
        return f"Profile {profile_name}: {NOT_RUN}; make it with `{command}`."
    environments = [record.environment for record in records]
    seeds = sorted({record.seed for record in records})
    scale = f" ({p.stand_in})" if p.stand_in else ""
    return (f"Profile {profile_name}{scale}; data {p.dataset} {records[0].description['fingerprint'][:8]}; "
            f"{len(records)} records, seeds {', '.join(map(str, seeds))}; "
            f"commit {', '.join(sorted({e['commit'] for e in environments}))}; "
            f"{', '.join(sorted({e['device'] for e in environments}))}; made with `{command}`.")


def _label(p: Profile) -> str:
    return f"here, {p.name}" if p.stand_in else "here"


def _mean(values: np.ndarray) -> str:
    return f"{values.mean():.4f}" + (f" ± {values.std(ddof=1):.4f}" if len(values) > 1 else "")


def _count(parameters: int | None) -> str:
    return "–" if parameters is None else f"{parameters:,}"
