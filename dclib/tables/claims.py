"""The verdicts on the paper's claims as DataFrames and as styled tables: each beside its number, with what is behind it."""

from collections.abc import Iterable, Sequence

import pandas as pd
from pandas.io.formats.style import Styler

from dclib import paper
from dclib.experiments import StandIn, in_paper, in_words, places
from dclib.results import Store
from dclib.tables.accuracy import dress
from dclib.verdicts.finding import WAITING, Outcome
from dclib.verdicts.judgement import PREFERRED, best_evidence
from dclib.verdicts.rule import Verdict

SIGNS = {
    Outcome.HOLDS: "✓",
    Outcome.DIRECTION: "≈",
    Outcome.CONTRADICTED: "✗",
    Outcome.INCONCLUSIVE: "○",
    Outcome.OPEN: "?",
    Outcome.NOT_RUN: "…",
}


def verdict_frame(sections: Sequence[str], store: Store) -> pd.DataFrame:
    """One line per claim of these sections: what it says, the verdict, the paper's number, ours, and what is behind it.

    The deviation is ours minus the paper's, in units of the authors' own spread carried through the claim's formula.
    """
    return _frame(_judged(sections, store))


def _judged(sections: Sequence[str], store: Store) -> list[tuple[Verdict, str]]:
    return [best_evidence(claim, store) for claim in paper.claims() if claim["section"] in sections]


def _frame(judged: list[tuple[Verdict, str]]) -> pd.DataFrame:
    lines = []
    for verdict, name in judged:
        number = "–" if verdict.paper is None else _number(verdict.paper)
        deviation = "–" if verdict.deviation is None else f"{verdict.deviation:+.1f}"
        lines.append(
            [
                f"{verdict.text} ({verdict.place})",
                verdict.verdict,
                number,
                _ours(verdict, name),
                deviation,
                _why(verdict),
                _behind(verdict, name),
            ]
        )
    return pd.DataFrame(lines, columns=["claim", "verdict", "paper", "here", "deviation", "why", "runs"])


def styled_verdicts(sections: Sequence[str], store: Store) -> tuple[Styler | None, Styler | None]:
    """`verdict_frame` for a page: the claims that are judged, and the others; None for an empty table.

    A sign stands before each verdict, so that none depends on colour. Rows name a stand-in by its first words, the
    caption in full.
    """
    evidence = _judged(sections, store)
    frame = _frame(evidence)
    waiting = frame["verdict"].isin(WAITING)
    counts = frame["verdict"].value_counts()
    tally, open_tally = (", ".join(f"{counts[v]} × {v}" for v in kinds if v in counts) for kinds in (Outcome, WAITING))
    frame["verdict"] = [signed(v) for v in frame["verdict"]]
    name = "_".join(s.replace(".", "") for s in sections)
    named = [_stand_ins(pair for pair, later in zip(evidence, waiting) if later == wanted) for wanted in (False, True)]
    judged = _styled(frame[~waiting], f"Claims of Section {' and '.join(sections)}: {tally}.{named[0]}", f"judged_{name}")
    later = _styled(frame[waiting].drop(columns="deviation"), f"{open_tally}.{named[1]}", f"waiting_{name}")
    return (None if waiting.all() else judged), (later if waiting.any() else None)


def _ours(verdict: Verdict, profile_name: str) -> str:
    """Our value with its interval, the seeds behind it and the profile that they were made in."""
    if verdict.ours is None:
        return "–"
    bounds = f" [{verdict.interval[0]:.3f}, {verdict.interval[1]:.3f}]" if verdict.interval else ""
    seeds = f", {verdict.seeds} seed{'s' * (verdict.seeds > 1)}" if verdict.seeds else ""
    return f"{_number(verdict.ours)}{bounds}{seeds}{f', {profile_name}' if profile_name else ''}"


def _why(verdict: Verdict) -> str:
    """The explanation, with the first words of what the records stand in for and where the paper differs from itself."""
    short = "; ".join(dict.fromkeys(part.short for part in verdict.stand_ins))
    parts = [
        verdict.explanation,
        f"Stand-in: {short}." if short else "",
        f"In the paper itself: {verdict.disagreement}" if verdict.disagreement else "",
    ]
    return " ".join(filter(None, parts))


def _stand_ins(judged: Iterable[tuple[Verdict, str]]) -> str:
    """What the records behind these verdicts stand in for, each part of it once, for a caption."""
    parts: dict[str, list[StandIn]] = {}
    for verdict, name in judged:
        parts.setdefault(name, []).extend(verdict.stand_ins)
    return "".join(f" Stand-in {name}: {in_words(those)}." for name, those in parts.items() if those)


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"


def _behind(verdict: Verdict, profile_name: str) -> str:
    """The records behind a verdict and the command that makes them, folded; as HTML."""
    named = places(verdict.place)
    shown = sorted((target for target in in_paper() if target.title in named), key=lambda target: target.title)
    targets = [target.runs_of for target in shown if target.runs_of]
    command = f"dclib run {' '.join(dict.fromkeys(targets))} --profile {profile_name or PREFERRED[0]}" if targets else ""
    shown = [f"<code>{line}</code>" for line in (command, *verdict.runs) if line]
    if not verdict.runs:
        return "".join(shown) or "–"
    plural = f"{len(verdict.runs)} record{'s' * (len(verdict.runs) > 1)}"
    return f"<details><summary>{plural}</summary>{'<br>'.join(shown)}</details>"


def signed(outcome: Outcome) -> str:
    """A verdict with a sign before it, so that none depends on colour."""
    return f"{SIGNS[outcome]} {outcome}"


def _styled(frame: pd.DataFrame, caption: str, name: str) -> Styler:
    style = dress(frame.style.hide(axis="index"), caption, name)
    wide = [frame.columns.get_loc(column) for column in ("claim", "why")]
    bounded = [frame.columns.get_loc(column) for column in ("here", "runs") if column in frame]
    return style.set_table_styles(
        [
            {"selector": "td, th", "props": "text-align: left; vertical-align: top"},
            *({"selector": f"td.col{i}", "props": "min-width: 13rem; white-space: normal"} for i in wide),
            *({"selector": f"td.col{i}", "props": "min-width: 7rem; white-space: normal"} for i in bounded),
        ],
        overwrite=False,
    )
