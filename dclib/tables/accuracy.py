"""Records beside the paper's numbers, as DataFrames and as styled tables. Nothing is computed here but means."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from dclib import paper
from dclib.distortions import LEVELS
from dclib.errors import InputError
from dclib.experiments import Profile, in_paper, in_words, profile, rows, stand_in, target_of
from dclib.experiments.imagenet import SUBSTITUTES
from dclib.experiments.profiles import PREFERRED
from dclib.results import Record, Store

NOT_RUN = "not run yet"
#: The profile of the networks that the authors published.
AUTHORS = "authors"
#: Tables with one accuracy per level.
TABLES = tuple(target.name for target in in_paper() if target.levels)


@dataclass(frozen=True)
class Row:
    """One method in one table: the paper's accuracies [7] and ours [seeds, 7], with the records behind them."""

    method: str
    paper_accuracy: np.ndarray
    paper_average: float
    paper_parameters: int | None
    records: tuple[Record, ...]

    @property
    def own_name(self) -> str:
        """The name of what was run here: the paper's method, or what stands in for it."""
        return f"{SUBSTITUTES[self.method]}, for {self.method}" if self.method in SUBSTITUTES else self.method

    @property
    def parameters_trained(self) -> int | None:
        """None for a restoration: it trains nothing, the network behind it is the baseline's."""
        first = self.records[0]
        return None if first.description.get("restoration") else first.outcome["parameters_trained"]

    @property
    def images(self) -> int:
        """How many test images the records saw, at least."""
        return min(0 if record.hits is None else record.hits.shape[1] for record in self.records)

    @property
    def accuracy(self) -> np.ndarray:
        return np.array([r.accuracy for r in self.records]).reshape(len(self.records), -1)


def collect(target: str, profile_name: str, store: Store, seeds: tuple[int, ...] | None = None) -> list[Row]:
    """The rows of one of `TABLES`: paper and records side by side. Of Tables 1 and 2 the CIFAR-100 rows."""
    of = target_of(target)
    if not of.levels:
        raise InputError(f"table: expected one of {', '.join(TABLES)}, got {target!r}.")
    described = rows(target, profile(profile_name), seeds)
    if not described:
        raise InputError(
            f"{target}: expected a profile with ImageNet or a stand-in for it, got {profile_name!r}; use one "
            f"of {', '.join(PREFERRED)}."
        )
    collected = []
    for method, runs in described.items():
        found = tuple(record for run in runs if (record := store.get(run)))
        row = printed_row(target, method)
        collected.append(Row(method, np.array(row["accuracy"]), row["average"], _parameters(row), found))
    return collected


def of_authors(target: str, profile_name: str, store: Store) -> dict[str, Row]:
    """{method: row} of the networks that the authors published, as far as they were tested; none beside themselves."""
    p = profile(AUTHORS)
    if profile_name == AUTHORS or target not in p.targets:
        return {}
    return {row.method: row for row in collect(target, AUTHORS, store) if row.records}


def printed_row(target: str, label: str) -> Mapping | None:
    """The paper's row for the row `label` of `experiments.rows`; None where it prints none.

    Raises:
        InputError: the paper's numbers are missing or damaged.
    """
    try:
        return target_of(target).printed(label)
    except (OSError, ValueError) as error:  # its sentence says what is missing
        raise InputError(str(error)) from error


def printed_average(target: str, label: str) -> float | None:
    """The paper's mean over all levels in the row `label` of `experiments.rows`; None where it prints none."""
    row = printed_row(target, label)
    return row["average"] if row else None


def beside(target: str, profile_name: str, store: Store, seeds: tuple[int, ...] | None = None) -> pd.DataFrame:
    """Two lines per method, the paper's numbers and ours; what has no record says so.

    With several seeds ours is mean ± standard deviation. Between them stands the authors' own network, where it was tested.
    """
    p = profile(profile_name)
    gathered, published = collect(target, profile_name, store, seeds), of_authors(target, profile_name, store)
    of = target_of(target)
    heads = level_heads(of.distortion, LEVELS[of.levels][of.distortion])
    lines, index = [], []
    for row in gathered:
        index.append((row.method, "paper"))
        lines.append([f"{a:.4f}" for a in (*row.paper_accuracy, row.paper_average)] + [_count(row.paper_parameters)])
        if row.method in published:
            index.append((row.method, _label(target, profile(AUTHORS))))
            lines.append(_cells(published[row.method]))
        index.append((row.own_name, _label(target, p)))
        lines.append(_cells(row) if row.records else [NOT_RUN] + ["–"] * len(heads))
    return pd.DataFrame(
        lines, index=pd.MultiIndex.from_tuples(index, names=["method", "source"]), columns=[*heads, "parameters"]
    )


def _cells(row: Row) -> list[str]:
    values = np.column_stack([row.accuracy, row.accuracy.mean(1)])
    return [_mean(values[:, i]) for i in range(values.shape[1])] + [_count(row.parameters_trained)]


def styled(target: str, profile_name: str, store: Store, seeds: tuple[int, ...] | None = None) -> Styler:
    """`beside` for a page, as in the paper: per column the best value bold and the second best underlined.

    The paper's lines and ours are marked apart from each other. The caption names the table and the stand-in.
    """
    frame, p = beside(target, profile_name, store, seeds), profile(profile_name)
    gathered, published = collect(target, profile_name, store, seeds), of_authors(target, profile_name, store)
    recorded = [row for row in gathered if row.records]
    marks = pd.DataFrame("", index=frame.index, columns=frame.columns)
    printed = {row.method: [*row.paper_accuracy, row.paper_average] for row in gathered}
    most = max((row.images for row in recorded), default=0)
    # Fewer images make another number: such a row is shown, but not ranked among the others.
    ours = {row.own_name: _means(row) for row in recorded if row.images == most}
    theirs = {method: _means(row) for method, row in published.items()}
    for source, values in (("paper", printed), (_label(target, profile(AUTHORS)), theirs), (_label(target, p), ours)):
        for method, styles in _best_two(values).items():
            marks.loc[(method, source), frame.columns[:-1]] = styles
    missing = {row.own_name for row in gathered if not row.records}
    lines = [
        (method, NOT_RUN if source == _label(target, p) and method in missing else source) for method, source in frame.index
    ]
    frame.index = marks.index = pd.MultiIndex.from_tuples(lines)
    frame = frame.replace(NOT_RUN, "–")
    caption = f"{target_of(target).title}. {paper.table(target_of(target).table)['title']}."
    for shown, own in ((published, profile(AUTHORS)), (recorded, p)):
        if shown and (cut := stand_in(target, own)):
            caption += f" Here, {own.name}: {in_words(cut)}."
    if all(row.paper_parameters is None for row in gathered):  # Tables 1 and 2
        frame, marks = frame.drop(columns="parameters"), marks.drop(columns="parameters")
    return dress(_marked(frame, marks), caption, f"{target}_{profile_name}")


def _means(row: Row) -> list[float]:
    return [*row.accuracy.mean(0), row.accuracy.mean()]


def of_records(records: dict[str, Record], caption: str) -> Styler:
    """Accuracies per level of records by name, all under one distortion; best bold, second best underlined."""
    first = next(iter(records.values())).description
    values = {name: [*record.accuracy, record.accuracy.mean()] for name, record in records.items()}
    heads = [*level_heads(first["distortion"], first["sigmas"]), "parameters"]
    cells = {
        name: [f"{v:.4f}" for v in line] + [_count(records[name].outcome.get("parameters_trained"))]
        for name, line in values.items()
    }
    frame = pd.DataFrame.from_dict(cells, orient="index", columns=heads)
    marks = pd.DataFrame("", index=frame.index, columns=frame.columns)
    for name, styles in _best_two(values).items():
        marks.loc[name, heads[:-1]] = styles
    ids = "".join(record.id for record in records.values())
    return dress(_marked(frame, marks), caption, hashlib.sha256(ids.encode()).hexdigest()[:8])


def _marked(frame: pd.DataFrame, marks: pd.DataFrame) -> Styler:
    """`frame` with the styles of `marks`; each sigma stands on its own line, so that columns stay narrow."""
    style = frame.style.apply(lambda _: marks, axis=None).hide(axis="index", names=True)
    short = {"average": "mean", "parameters": "trained"}
    return style.format_index(
        lambda head: short.get(head, re.sub(r"_(\w) = ", r"<sub>\1</sub><br>", head)), axis="columns"
    ).format_index(lambda name: name.replace(", for ", ",<br>for "), axis="index")


def _best_two(values: dict[str, list[float]]) -> dict[str, list[str]]:
    """A style per method and column: the best value of a column bold, the second best underlined; ties share."""
    if len(values) < 2:
        return {}
    table = pd.DataFrame(values).T.round(4)
    ranks = table.rank(method="dense", ascending=False)
    styles = {1: "font-weight: bold", 2: "text-decoration: underline"}
    return {method: [styles.get(rank, "") for rank in ranks.loc[method]] for method in table.index}


def dress(style: Styler, caption: str, name: str) -> Styler:
    """The look that all tables of the book share: narrow, numbers on one line. Equal contents give equal HTML."""
    cells = "padding: 0.2rem; white-space: nowrap"
    return (
        style.set_caption(caption)
        .set_uuid(name)
        .set_table_attributes('class="dataframe dclib-table"')
        .set_table_styles(
            [
                {"selector": "", "props": "font-size: 0.77rem"},
                {"selector": "td, th", "props": cells},
                {"selector": "th.level1", "props": "font-weight: normal"},
            ]
        )
    )


def level_heads(distortion: str, sigmas: Sequence[float]) -> list[str]:
    """Columns of a table of accuracies: clean, every level, their mean."""
    symbol = "σ_b" if distortion == "blur" else "σ_n"
    return ["clean", *(f"{symbol} = {s:g}" for s in sigmas), "average"]


def _label(target: str, p: Profile) -> str:
    return f"here, {p.name}" if stand_in(target, p) else "here"


def _parameters(row: dict) -> int | None:
    """Trained parameters as the paper prints them; the tables of the ImageNet half give millions."""
    millions = row.get("parameters_millions")
    return row.get("parameters") if millions is None else round(millions * 1e6)


def _mean(values: np.ndarray) -> str:
    return f"{values.mean():.4f}" + (f" ± {values.std(ddof=1):.4f}" if len(values) > 1 else "")


def _count(parameters: int | None) -> str:
    return "–" if parameters is None else f"{parameters:,}"
