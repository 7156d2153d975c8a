"""The book's front door: one line per table and figure of the paper, its value, ours, and what its claims come to."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dclib.experiments import Target, in_paper, places, profile, rows
from dclib.experiments.networks import other_classes, other_width
from dclib.results import Record, Store
from dclib.tables.accuracy import printed_average
from dclib.tables.claims import SIGNS, signed
from dclib.tables.sources import published_profile
from dclib.verdicts.comparison import POINT, Sample, interval
from dclib.verdicts.finding import Outcome
from dclib.verdicts.judgement import PREFERRED
from dclib.verdicts.replication import expected_false_ticks
from dclib.verdicts.rule import Basis, Verdict

_UNBROKEN, _HYPHEN = "\N{NO-BREAK SPACE}", "\N{NON-BREAKING HYPHEN}"


@dataclass(frozen=True)
class Line:
    """One table or figure. `method` and the numbers are those of the paper's best recorded row, where rows have one.

    deviation: our mean accuracy minus the paper's, in units of the authors' own spread (1 point); None also where
    `other_size` says that a stand-in's number cannot be compared. `runs` are the ids of the records, `missing` counts
    the runs that have none.
    """

    name: str
    page: str
    targets: tuple[str, ...]
    profile: str
    method: str
    paper: float | None
    ours: float | None
    other_size: str
    interval: tuple[float, float] | None
    seeds: int
    verdicts: Counter
    runs: tuple[str, ...]
    missing: int

    @property
    def deviation(self) -> float | None:
        return None if self.ours is None or self.other_size else (self.ours - self.paper) / POINT


def overview(judged: Sequence[tuple[Verdict, str]], store: Store) -> list[Line]:
    """A line for each of Tables 1 to 15 and Figures 1 to 12; `judged` are all claims as `judgement.judge` gives them."""
    return [_line(target, judged, store) for target in in_paper()]


#: Outcomes of claims that were put to a test.
TESTED = (Outcome.HOLDS, Outcome.DIRECTION, Outcome.CONTRADICTED, Outcome.INCONCLUSIVE)
_WORDS = {
    Outcome.HOLDS: "hold",
    Outcome.DIRECTION: "hold in direction",
    Outcome.CONTRADICTED: "are contradicted",
    Outcome.INCONCLUSIVE: "are inconclusive",
    Outcome.OPEN: "cannot be judged by what was run",
    Outcome.NOT_RUN: "are not run yet",
}


def by_basis(judged: Sequence[tuple[Verdict, str]]) -> dict[Basis, Counter]:
    """How many claims came to what, apart by what the verdicts rest on."""
    return {basis: Counter(verdict.verdict for verdict, _ in judged if verdict.basis is basis) for basis in Basis}


def headline(judged: Sequence[tuple[Verdict, str]]) -> str:
    """All claims in a paragraph: what adds up on paper apart from what was measured."""
    counts = by_basis(judged)
    checked = counts[Basis.ARITHMETIC] + counts[Basis.COUNTS]
    parts = [
        f"Of the paper's {len(judged)} claims, as of this build, {checked.total()} are sums and counts of parameters, "
        f"which need no run: {_told(checked)}."
    ]
    if counts[Basis.PUBLISHED]:
        parts.append(
            f"{counts[Basis.PUBLISHED].total()} are judged by the filter swaps that the authors published: "
            f"{_told(counts[Basis.PUBLISHED])}."
        )
    parts.append(
        f"{counts[Basis.MEASURED].total()} take networks that are trained and tested: {_told(counts[Basis.MEASURED])}."
    )
    return " ".join(parts)


def _told(counts: Counter) -> str:
    return ", ".join(f"{counts[outcome]} {words}" for outcome, words in _WORDS.items() if counts[outcome]) or "none yet"


def tally(judged: Sequence[tuple[Verdict, str]]) -> str:
    """A Markdown table: a row per verdict, a column per kind of evidence."""
    counts = by_basis(judged)
    lines = [f"| verdict | {' | '.join(basis.value for basis in Basis)} |", "|---|" + "---:|" * len(Basis)]
    lines += [
        f"| {signed(outcome)} | {' | '.join(str(counts[basis][outcome] or '–') for basis in Basis)} |" for outcome in Outcome
    ]
    return "\n".join(lines)


def false_ticks(judged: Sequence[tuple[Verdict, str]]) -> str:
    """How many ticks of measured claims chance alone would give: what one page with many claims has to say."""
    counts = by_basis(judged)[Basis.MEASURED]
    tested = sum(counts[outcome] for outcome in TESTED)
    if not tested:
        return "No measured claim has been put to a test yet."
    return (
        f"{tested} measured claims have been put to a test. If no effect were there at all, chance alone would tick "
        f"{expected_false_ticks(tested):.1f} of them, each with 2.5 %; {counts[Outcome.HOLDS]} hold and "
        f"{counts[Outcome.DIRECTION]} hold in direction."
    )


def _line(shown: Target, judged: Sequence[tuple[Verdict, str]], store: Store) -> Line:
    targets = (shown.runs_of,) if shown.runs_of else ()
    name, wanted = published_profile(targets[0], store) if targets else "", {}
    for target in targets:
        wanted |= {(target, label): runs for label, runs in rows(target, profile(name)).items()}
    records = {row: [record for run in runs if (record := store.get(run))] for row, runs in wanted.items()}
    found = [record.id for those in records.values() for record in those]
    missing = sum(map(len, wanted.values())) - len(found)
    target, method, printed, ours, bounds, seeds = _best(records)
    other = ""
    if method:
        here, whole = (rows(target, profile(each))[method][0] for each in (name, "paper"))
        other = " and ".join(filter(None, (other_classes(here, whole), other_width(here, whole))))
    counts = Counter(verdict.verdict for verdict, _ in judged if shown.title in places(verdict.place))
    return Line(
        shown.title,
        shown.page,
        targets,
        name if found else "",
        method,
        printed,
        ours,
        other,
        bounds,
        seeds,
        counts,
        tuple(found),
        missing,
    )


def _best(records: dict[tuple[str, str], list[Record]]) -> tuple:
    """Of the rows that have records the one with the paper's highest mean.

    Its target and label, the paper's mean, our mean with its interval, and how many seeds that is.
    """
    means = {row: printed_average(*row) for row, found in records.items() if found}
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
        text.append(
            f"| {{doc}}`{name} <{line.page}>` | {_paper(line)} | {_ours(line)} | "
            f"{'–' if line.deviation is None else f'{line.deviation:+.1f}'} | {_tally(line.verdicts)} | "
            f"{_command(line)} |"
        )
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
    parts.append(f"profile {line.profile}")
    if line.missing:
        parts.append(f"{line.missing} run{'s' * (line.missing > 1)} missing")
    return ", ".join(part.replace(" ", _UNBROKEN) for part in parts)


def _tally(verdicts: Counter) -> str:
    return " ".join(f"{SIGNS[v]}{_UNBROKEN}{verdicts[v]}" for v in Outcome if verdicts[v]) or "–"


def _command(line: Line) -> str:
    return f"`dclib run {' '.join(line.targets)} --profile {line.profile or PREFERRED[0]}`" if line.targets else "–"
