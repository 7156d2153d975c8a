"""The book's front door: one line per table and figure of the paper, its value, ours, and what its claims come to."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dclib import tables
from dclib.evidence import POINT, Sample, interval
from dclib.experiments import profile, rows
from dclib.judgement import SCALES, SIGNS
from dclib.measures import other_classes
from dclib.places import PLACES, places
from dclib.results import Record, Store
from dclib.statistics import Outcome
from dclib.verdicts import Verdict

_UNBROKEN, _HYPHEN = "\N{NO-BREAK SPACE}", "\N{NON-BREAKING HYPHEN}"


@dataclass(frozen=True)
class Line:
    """One table or figure. `method` and the numbers are those of the paper's best recorded row, where rows have one.

    deviation: our mean accuracy minus the paper's, in units of the authors' own spread (1 point); None also where
    `other_classes` says that a stand-in's number cannot be compared. `runs` are the ids of the records, `missing` counts
    the runs that have none.
    """

    name: str
    page: str
    targets: tuple[str, ...]
    scale: str
    method: str
    paper: float | None
    ours: float | None
    other_classes: str
    interval: tuple[float, float] | None
    seeds: int
    verdicts: Counter
    runs: tuple[str, ...]
    missing: int

    @property
    def deviation(self) -> float | None:
        return None if self.ours is None or self.other_classes else (self.ours - self.paper) / POINT


def overview(judged: Sequence[tuple[Verdict, str]], store: Store) -> list[Line]:
    """A line for each of Tables 1 to 15 and Figures 1 to 12; `judged` are all claims as `judgement.judge` gives them."""
    return [_line(name, page, targets, judged, store) for name, (page, targets) in PLACES.items()]


def _line(name: str, page: str, targets: tuple[str, ...], judged: Sequence[tuple[Verdict, str]], store: Store) -> Line:
    scale, wanted = tables.published_scale(targets[0], store) if targets else "", {}
    for target in targets:
        wanted |= {(target, label): runs for label, runs in rows(target, profile(scale)).items()}
    records = {row: [record for run in runs if (record := store.get(run))] for row, runs in wanted.items()}
    found = [record.id for those in records.values() for record in those]
    missing = sum(map(len, wanted.values())) - len(found)
    target, method, printed, ours, bounds, seeds = _best(records)
    other = ""
    if method:
        here, whole = (rows(target, profile(name))[method][0] for name in (scale, "paper"))
        other = other_classes(here, whole)
    counts = Counter(verdict.verdict for verdict, _ in judged if name in places(verdict.place))
    return Line(name, page, targets, scale if found else "", method, printed, ours, other, bounds, seeds, counts,
                tuple(found), missing)


def _best(records: dict[tuple[str, str], list[Record]]) -> tuple:
    """Of the rows that have records the one with the paper's highest mean.

    Its target and label, the paper's mean, our mean with its interval, and how many seeds that is.
    """
    means = {row: tables.printed_average(*row) for row, found in records.items() if found}
    if not any(mean is not None for mean in means.values()):
        return "", "", None, None, None, 0
    best = max(means, key=means.get)
    sample = Sample(records[best])
    return *best, means[best], sample.mean(), interval([sample], lambda mean: mean), len(records[best])


def as_markdown(lines: Sequence[Line]) -> str:
    """The lines as a MyST table, and the records behind each of them."""
    text = ["| | the paper | here | deviation | claims | make it again |", "|---|---|---|---:|---|---|"]
    for line in lines:
        name = line.name.replace(" ", _UNBROKEN)
        text.append(f"| {{doc}}`{name} <{line.page}>` | {_paper(line)} | {_ours(line)} | "
                    f"{'–' if line.deviation is None else f'{line.deviation:+.1f}'} | {_tally(line.verdicts)} | "
                    f"{_command(line)} |")
    return "\n".join(text)


def records_of(lines: Sequence[Line]) -> str:
    """Which records stand behind each table and figure, as a Markdown list."""
    return "\n".join(f"- {line.name}: " + ", ".join(f"`{run}`" for run in line.runs) for line in lines if line.runs)


def _paper(line: Line) -> str:
    return "–" if line.paper is None else f"{line.paper:.4f} ({line.method.replace('-', _HYPHEN)})"


def _ours(line: Line) -> str:
    if not line.targets:
        return "no run needed"
    if not line.runs:
        return "*not run yet*"
    parts = [f"{len(line.runs)} record{'s' * (len(line.runs) > 1)}"]
    if line.ours is not None:
        bounds = " [{:.4f}, {:.4f}]".format(*line.interval) if line.interval else ""
        parts = [f"{line.ours:.4f}{bounds}", f"{line.seeds} seed{'s' * (line.seeds > 1)}"]
    parts.append(f"profile {line.scale}")
    if line.missing:
        parts.append(f"{line.missing} run{'s' * (line.missing > 1)} missing")
    return ", ".join(part.replace(" ", _UNBROKEN) for part in parts)


def _tally(verdicts: Counter) -> str:
    return " ".join(f"{SIGNS[v]}{_UNBROKEN}{verdicts[v]}" for v in Outcome if verdicts[v]) or "–"


def _command(line: Line) -> str:
    return f"`dclib run {' '.join(line.targets)} --profile {line.scale or SCALES[0]}`" if line.targets else "–"
