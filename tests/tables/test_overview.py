"""The front door: every table and figure has its line, with the paper's value, ours, and the claims about it."""

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import yaml
from made_up_records import put, put_baseline, run_of
from reference_notebooks import ROOT

from dclib import experiments, paper, tables
from dclib.cli import _parser
from dclib.experiments import TARGETS
from dclib.tables import overview
from dclib.verdicts import judgement
from dclib.verdicts.finding import Outcome
from dclib.verdicts.rule import Basis


def judged(store, *words):
    return [judgement.judge(claim, store) for claim in paper.claims() if any(w in claim["place"] for w in words)]


def test_all_tables_and_figures_are_there_with_a_page():
    titles = [target.title for target in experiments.in_paper()]
    assert titles == [f"Table {n}" for n in range(1, 16)] + [f"Figure {n}" for n in range(1, 13)]
    toc = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    pages = {chapter["file"] for part in yaml.safe_load(toc)["parts"] for chapter in part["chapters"]}
    for target in experiments.in_paper():
        assert f"executed/{target.page}" in pages and target.runs_of in ("", *TARGETS)


@pytest.mark.parametrize(
    "words, named",
    [
        ("Section 5.2.3; Tables 10 to 12", {"Table 10", "Table 11", "Table 12"}),
        ("Section 5.3; Tables 13 and 15", {"Table 13", "Table 15"}),
        ("Section 4.1; Figure 4", {"Figure 4"}),
        ("Section 3.1", set()),
        ("Section 5.2.1; Table 1", {"Table 1"}),
    ],
)
def test_places(words, named):
    assert experiments.places(words) == named


def test_every_claim_with_a_place_is_counted_there(store):
    lines = overview.overview(judged(store, ""), store)
    counted = sum((line.verdicts for line in lines), Counter())
    assert counted.total() == sum(len(experiments.places(claim["place"])) for claim in paper.claims())


def test_without_records_nothing_is_claimed(store):
    for line in overview.overview([], store):
        assert line.ours is None and line.deviation is None and not line.runs
    shown = overview.as_markdown(overview.overview([], store))
    assert shown.count("*not run yet*") == sum(bool(target.runs_of) for target in experiments.in_paper())


def test_line_has_the_papers_value_ours_and_the_deviation(store):
    put(store, run_of("Finetune-1", name="paper"), share=0.4)
    record = put(store, run_of("Deepcorr-1", name="paper"), share=0.5)
    line = overview.overview(judged(store, "Table 3"), store)[2]
    assert (line.name, line.method, line.profile, line.seeds) == ("Table 3", "Deepcorr-1", "paper", 1)
    assert line.paper == paper.row(3, "Deepcorr-1")["average"]
    assert line.ours == pytest.approx(np.mean(record.accuracy)) and line.interval[0] < line.ours < line.interval[1]
    assert line.deviation == pytest.approx(100 * (line.ours - line.paper))
    assert set(line.runs) == {run_of("Finetune-1", name="paper").id, record.id} and line.missing == 31
    assert line.verdicts[Outcome.HOLDS] > 0  # counts of parameters
    assert f"`{record.id}`" in overview.records_of([line])


def test_no_deviation_where_the_classes_are_others(store):
    record = put(store, run_of("Finetune-8", "table7"), share=0.5)
    line = overview.overview([], store)[6]
    assert (line.name, line.method) == ("Table 7", "Finetune-8") and line.ours == pytest.approx(np.mean(record.accuracy))
    assert line.other_size == "20 classes instead of 1000" and line.deviation is None


def test_no_deviation_where_the_network_is_narrower(store):
    put(store, run_of("Deepcorr-1"), share=0.5)
    line = overview.overview([], store)[2]
    assert "channels instead of 96" in line.other_size and line.ours is not None and line.deviation is None


def test_headline_keeps_sums_apart_from_measurements(store):
    """Without any record sums, counts and published swaps are judged, and nothing else is claimed."""
    everything = judged(store, "")
    counts = overview.by_basis(everything)
    assert sum(c.total() for c in counts.values()) == len(everything) == len(paper.claims())
    assert set(counts[Basis.MEASURED]) == {Outcome.NOT_RUN} and Outcome.NOT_RUN not in counts[Basis.COUNTS]
    assert counts[Basis.PUBLISHED] == {Outcome.HOLDS: 2, Outcome.OPEN: 1}
    words = overview.headline(everything)
    sums = counts[Basis.ARITHMETIC].total() + counts[Basis.COUNTS].total()
    assert f"{sums} are sums and counts of parameters" in words and "3 are judged by the filter swaps" in words
    assert words.endswith(f"take networks that are trained and tested: {counts[Basis.MEASURED].total()} are not run yet.")
    assert overview.false_ticks(everything) == "No measured claim has been put to a test yet."
    table = overview.tally(everything).splitlines()
    assert (
        len(table) == 2 + len(Outcome)
        and table[2].startswith("| ✓ holds | ")
        and table[-1].endswith(f"| {counts[Basis.MEASURED].total()} |")
    )


def test_false_ticks_are_counted_over_what_was_tested(store):
    everything = judged(store, "")
    tested = [(replace(v, verdict=Outcome.INCONCLUSIVE), "small") for v, _ in everything if v.basis is Basis.MEASURED][:80]
    assert "80 measured claims" in overview.false_ticks(tested) and "tick 2.0 of them" in overview.false_ticks(tested)


def test_commands_are_understood(store):
    shown = overview.as_markdown(overview.overview([], store))
    commands = re.findall(r"`dclib ([^`]+)`", shown)
    assert commands and all(set(_parser().parse_args(c.split()).targets) <= set(TARGETS) for c in commands)


def test_claim_rows_say_how_far_ours_is_and_what_is_behind_it(store):
    """ "Deepcorr-1 improves on Finetune-1 by so much": one point of accuracy, carried through a/b - 1, is one unit.

    A narrower network has no deviation: its sizes are not the paper's.
    """
    put_baseline(store, name="paper", share=0.3)
    records = [
        put(store, run_of("Finetune-1", name="paper"), share=0.4),
        put(store, run_of("Deepcorr-1", name="paper"), share=0.5),
    ]
    worse, better = (float(np.mean(record.accuracy)) for record in records)
    claims = [
        c
        for c in paper.claims()
        if c["test"]["kind"] == "relative_improvement"
        and {c["test"]["a"], c["test"]["b"]} == {"Deepcorr-1", "Finetune-1"}
        and c["test"]["table"] == 3
    ]
    frame = tables.verdict_frame({c["section"] for c in claims}, store)
    for claim in claims:
        row = frame[frame["claim"].str.startswith(claim["claim"])].iloc[0]
        ours = better / worse - 1
        assert row["deviation"] == f"{(ours - claim['paper']) / (0.01 / worse):+.1f}"
        assert row["here"].startswith(f"{ours:.4g} [") and row["here"].endswith("1 seed, paper")
        assert all(record.id in row["runs"] for record in records) and "dclib run table3 --profile paper" in row["runs"]
    assert claims
    waiting = frame[frame["verdict"] == Outcome.NOT_RUN]
    assert (waiting["here"] == "–").all() and waiting["runs"].str.contains("dclib run").any()
