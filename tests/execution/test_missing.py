"""What the book still lacks, and records that no run asks for."""

import dataclasses

import pytest
from support import BASE, record_of

from dclib import cli
from dclib.execution.forecast import Forecast
from dclib.execution.missing import about_unasked, missing, unasked
from dclib.experiments import TARGETS, baseline, deepcorrect, finetune, imagenet, profile, queue
from dclib.results import Record

SMALL = profile("small")


def put(store, run, seconds=100.0):
    record = Record(run.description, {}, {"seconds": seconds}, {"device": "one"})
    store.put(record)
    return record


def test_each_missing_run_counts_once_in_the_order_of_value(store):
    found = missing("small", store, Forecast([]))
    assert [m.target for m in found] == [t for t in TARGETS if t in {m.target for m in found}]
    ids = [run.id for m in found for run in m.runs]
    assert len(ids) == len(set(ids)) and set(ids) == {run.id for run in queue(TARGETS, SMALL)}
    assert found[0].name == "Table 1" and found[0].command == "dclib run table1 --profile small"
    assert found[0].expected == "unknown" and found[0].unknown == 6  # three seeds
    assert {m.name for m in found} >= {"Table 5", "audit", "Figure 2 and Figure 10"}


def test_what_is_recorded_is_not_missing(store):
    for run in queue(("table1",), SMALL):
        put(store, run)
    assert missing("small", store, Forecast([]))[0].target == "table2"
    assert all(
        run.kind != "train" or run.base
        for m in missing("small", store, Forecast([]))
        for run in m.runs
        if m.target in ("table2", "table3")
    )


def test_time_comes_from_like_runs(store):
    records = [put(store, baseline(SMALL), 700.0), put(store, finetune(SMALL, 1, "blur"), 300.0)]
    found = {m.target: m for m in missing("small", store, Forecast(records))}
    assert found["table1"].unknown == 3  # the evaluations
    assert found["table3"].seconds == pytest.approx(11 * 300) and found["table3"].unknown == 21
    assert found["table3"].expected == "about 55 min and 21 runs of unknown length"
    records.append(put(store, deepcorrect(SMALL, 1, "blur"), 60.0))
    found = {m.target: m for m in missing("small", store, Forecast(records))}
    assert found["table3"].seconds == pytest.approx(11 * 300 + 17 * 60) and found["table3"].unknown == 3
    assert found["table3"].expected == "about 1 h 12 min and 3 runs of unknown length"


def test_the_command_line_lists_it(store, capsys):
    put(store, baseline(SMALL))
    assert cli.main(["list", "--missing", "--profile", "small", "--results", str(store.folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Table 1: 5 runs, ") and lines[0].endswith(": dclib run table1 --profile small")
    assert lines[-1].startswith("All together: ")
    for run in queue(TARGETS, profile("smoke")):
        put(store, run)
    assert cli.main(["list", "--missing", "--profile", "smoke", "--results", str(store.folder)]) == 0
    assert capsys.readouterr().out == "Nothing is missing in profile smoke.\n"


# ---------------------------------------------------------------- records that nobody asks for


@pytest.mark.parametrize(
    "run",
    [
        baseline(SMALL),
        baseline(SMALL, 17),
        deepcorrect(profile("paper"), 6, "awgn", 2),
        imagenet.ranking(profile("imagenet20").imagenet, "blur", 1),
        baseline(profile("smoke")),
    ],
    ids=str,
)
def test_runs_of_profiles_with_any_seed_are_asked_for(run):
    assert unasked([record_of(run)]) == []


def test_other_runs_are_not(store):
    old = dataclasses.replace(baseline(SMALL), schedule=dataclasses.replace(SMALL.baseline, learning_rate=0.05))
    records = [record_of(old), record_of(BASE), record_of(baseline(SMALL))]
    assert unasked(records) == records[:2]


def test_they_are_said_in_one_sentence_and_stay(store, capsys):
    assert about_unasked(store) == ""
    store.put(record_of(BASE))
    store.put(record_of(baseline(SMALL)))
    content = store.path(BASE).read_bytes()
    assert cli.main(["list", "--profile", "small", "--results", str(store.folder)]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("1 record is of runs that this version does not make (Baseline)") and "export" in said
    store.put(record_of(dataclasses.replace(BASE, seed=1, method="Another")))
    assert about_unasked(store).startswith("2 records are of runs that this version does not make (")
    assert store.path(BASE).read_bytes() == content


def test_a_damaged_record_of_no_run_is_no_matter(store):
    store.put(record_of(BASE))
    (store.folder / "notes.json").write_text("{")
    assert about_unasked(store).startswith("1 record is")
