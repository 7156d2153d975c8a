"""Each of the paper's tables beside our records as one DataFrame, and as text, Markdown or CSV."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from dclib import paper
from dclib.distortions import DISTORTIONS
from dclib.errors import InputError
from dclib.experiments import SHARES, profile, rows, stand_in, target_of, unit_operations
from dclib.experiments.networks import unit_parameters
from dclib.experiments.profiles import PREFERRED
from dclib.results import Record, Store
from dclib.statistics import paired_t_test
from dclib.tables import joint, neighbours
from dclib.tables.accuracy import NOT_RUN, beside, level_heads

_NONE = "–"


def frame(target: str, profile_name: str, store: Store) -> pd.DataFrame:
    """One of Tables 1 to 15, or a study of our own: two lines per row, the paper's numbers and ours.

    What has no record says so; a row that only one of the two has is one line. Accuracies are in 0..1; with several seeds
    ours is mean ± standard deviation. Index (row, source).

    Raises:
        InputError: no table; a profile without this half of the paper; the paper's numbers are missing or damaged.
    """
    of = target_of(target)
    if of.levels:
        return beside(target, profile_name, store)
    if of.figure is not None:
        raise InputError(f"table: expected a table, got {target!r}, which is drawn.")
    try:
        return _SPECIAL.get(target, _averages)(target, profile_name, store)
    except (OSError, ValueError) as error:  # the sentence says what is missing
        raise InputError(str(error)) from error


def _here(target: str, profile_name: str) -> str:
    return f"here, {profile_name}" if stand_in(target, profile(profile_name)) else "here"


def _recorded(target: str, profile_name: str, store: Store) -> dict[str, list[Record]]:
    """{label: records} of all rows."""
    described = rows(target, profile(profile_name))
    if not described:
        raise InputError(
            f"{target}: expected a profile with these runs, got {profile_name!r}; use one of {', '.join(PREFERRED)}."
        )
    return {label: [record for run in runs if (record := store.get(run))] for label, runs in described.items()}


def _framed(lines: list[tuple], columns: list[str]) -> pd.DataFrame:
    """(row, source, cells) as a frame; too few cells are filled up."""
    index = pd.MultiIndex.from_tuples([line[:2] for line in lines], names=["row", "source"])
    return pd.DataFrame(
        [[*line[2], *[_NONE] * (len(columns) - len(line[2]))] for line in lines], index=index, columns=columns
    )


def _averages(target: str, profile_name: str, store: Store) -> pd.DataFrame:
    """Tables 5, 9, 13, 14 and 15, and our own studies: the mean over levels, and how many filters of each layer."""
    of, found = target_of(target), _recorded(target, profile_name, store)
    if not of.labels and (heads := _common_heads(target, profile_name)):
        here = _here(target, profile_name)
        return _framed([(label, here, _per_level(records)) for label, records in found.items()], heads)
    printed = {" ".join(row[name] for name in of.labels): row for row in paper.table(of.table)["rows"]} if of.labels else {}
    layers = [f"conv{i + 1}" for i in range(len(next(iter(printed.values())).get("corrected", ())))] if printed else []
    lines = []
    for label in dict.fromkeys([*printed, *found]):
        if row := printed.get(label):
            lines.append((label, "paper", [f"{row['average']:.4f}", *map(str, row.get("corrected", ()))]))
        if label in found:
            lines.append((label, _here(target, profile_name), _average(found[label], layers)))
    return _framed(lines, ["average", *layers])


def _common_heads(target: str, profile_name: str) -> list[str]:
    """The columns of a study of our own whose rows are all tested at the same levels of one distortion; else empty."""
    runs = [run for row in rows(target, profile(profile_name)).values() for run in row]
    levels = {(run.distortion, run.sigmas) for run in runs}
    if len(levels) > 1 or any(run.kind not in ("train", "evaluate") or run.conditions for run in runs):
        return []
    ((distortion, sigmas),) = levels
    return level_heads(distortion, sigmas) if distortion else []


def _per_level(records: list[Record]) -> list[str]:
    """Accuracy per level and its mean, each the mean over seeds."""
    if not records:
        return [NOT_RUN]
    accuracy = np.mean([record.accuracy for record in records], axis=0)
    return [f"{value:.4f}" for value in (*accuracy, accuracy.mean())]


def _average(records: list[Record], layers: list[str]) -> list[str]:
    """Mean over levels and seeds, and the filters of the first seed in each layer."""
    if not records:
        return [NOT_RUN]
    means = np.array([record.accuracy.mean() for record in records])
    spread = f" ± {means.std(ddof=1):.4f}" if len(means) > 1 else ""
    filters = records[0].outcome.get("filters", {})
    return [f"{means.mean():.4f}{spread}", *(str(len(filters.get(layer, ()))) for layer in layers)]


def _tests(target: str, profile_name: str, store: Store) -> pd.DataFrame:
    """Table 6: p of the paired t-test between ranked and random filters, levels of both distortions as pairs."""
    found, lines = _recorded(target, profile_name, store), []
    for row, share in zip(paper.table(target_of(target).table)["rows"], SHARES, strict=True):
        lines.append((row["method"], "paper", [f"{row['pvalue']:g}"]))
        sides = [[found[f"{order}_{share} {distortion}"] for distortion in DISTORTIONS] for order in ("ranked", "random")]
        own = NOT_RUN
        if all(records for side in sides for records in side):
            levels = [np.concatenate([np.mean([r.accuracy for r in records], axis=0) for records in side]) for side in sides]
            own = f"{paired_t_test(*levels).pvalue:.2g}"
        lines.append((row["method"], _here(target, profile_name), [own]))
    return _framed(lines, ["p"])


def _units(target: str, profile_name: str, store: Store) -> pd.DataFrame:
    """Table 10: trained parameters and multiply-adds of each unit; ours are counted from the networks, without a run."""
    lines, printed = [], paper.table(target_of(target).table)["rows"]
    layers = [unit["layer"] for unit in printed[0]["units"]]
    for row in printed:
        units = {unit["layer"]: unit for unit in row["units"]}
        counted = [unit_parameters(row["method"], layer) for layer in layers]
        lines.append(
            (
                row["method"],
                "paper",
                [
                    row["parameters_printed"],
                    *(units[layer][f"{what}_printed"] for layer in layers for what in ("parameters", "flops")),
                ],
            )
        )
        lines.append(
            (
                row["method"],
                "here",
                [
                    f"{sum(counted):,}",
                    *(
                        cell
                        for count, layer in zip(counted, layers)
                        for cell in (f"{count:,}", f"{unit_operations(row['method'], layer):,}")
                    ),
                ],
            )
        )
    return _framed(lines, ["parameters", *(f"{layer} {what}" for layer in layers for what in ("parameters", "operations"))])


def _orders(target: str, profile_name: str, store: Store) -> pd.DataFrame:
    """Our study of joint swaps; the paper has none."""
    _recorded(target, profile_name, store)  # its sentence where the profile has no such runs
    found = joint.frame(profile_name, store)
    found.index = pd.MultiIndex.from_tuples(
        [(row, _here(target, profile_name)) for row in found.index], names=["row", "source"]
    )
    return found


def _conditions(target: str, profile_name: str, store: Store) -> pd.DataFrame:
    """The gate, or deconvolution: one line for each condition."""
    ((label, records),) = _recorded(target, profile_name, store).items()
    here, columns = _here(target, profile_name), neighbours.CONDITION_COLUMNS[target]
    if not records:
        return _framed([(label, here, [NOT_RUN])], list(columns))
    found = neighbours.by_condition(target, records[0])
    return _framed([(name, here, [f"{value:.4f}" for value in values]) for name, values in found.items()], list(columns))


#: Tables whose rows are no accuracies.
_SPECIAL: dict[str, Callable[[str, str, Store], pd.DataFrame]] = {
    "table6": _tests,
    "table10": _units,
    joint.TARGET: _orders,
    "gate": _conditions,
    "blur_deconvolution": _conditions,
}


def _markdown(table: pd.DataFrame) -> str:
    heads = [*table.index.names, *table.columns]
    rules = ["---"] * table.index.nlevels + ["---:"] * len(table.columns)
    lines = [heads, rules, *([*index, *cells] for index, cells in zip(table.index, table.to_numpy().tolist()))]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


#: Ways to write a frame down, by their names on the command line.
FORMATS: dict[str, Callable[[pd.DataFrame], str]] = {
    "text": lambda table: table.to_string(),
    "markdown": _markdown,
    "csv": lambda table: table.to_csv(lineterminator="\n").rstrip("\n"),
}
