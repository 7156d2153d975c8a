"""One accuracy in one record changes exactly the tables, figures, sentences and verdicts that use it.

All records are made up. What is expected is read off the experiments' rows and the claims' own words, not off the code
that makes the outputs.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from dclib import figures, paper, tables
from dclib.distortions import LEVELS
from dclib.experiments import FRACTIONS, TARGETS, Run, profile, rows
from dclib.results import Record, Store, pack_bits
from dclib.verdicts import judgement

SCALE, IMAGES, LEVEL = "small", 1000, 4  # the level at which one accuracy is changed
OPERANDS = ("method", "baseline", "a", "b", "better", "worse", "fewer", "than", "pairs")
#: Kinds of claim that count parameters, which takes no record.
COUNTS = ("count", "fewer_parameters")


def all_runs() -> dict[str, Run]:
    shown = [run for target in TARGETS for runs in rows(target, profile(SCALE)).values() for run in runs]
    return {run.id: run for shown_run in shown for run in (shown_run, *shown_run.needs)}


def made_up(run: Run) -> Record:
    """A record of any kind of run; trained networks are alike, so that comparisons are close, and beyond their baseline."""
    rng = np.random.default_rng(int(run.id, 16) % 2**32)
    cost, environment = {"seconds": 1.0, "peak_bytes": 1}, {"device": "none", "commit": "abc"}
    if run.kind == "swap":
        accuracy = {layer: np.sort(rng.uniform(0.3, 0.6, (5, 6)), axis=0).tolist() for layer in run.layers}
        return Record(
            run.description,
            {"accuracy": accuracy, "distorted_accuracy": [0.25] * 6, "clean_accuracy": 0.7},
            cost,
            environment,
        )
    if run.kind == "embed":
        return Record(run.description, {"separation": rng.uniform(0.3, 0.6, 7).tolist(), "images": 100}, cost, environment)
    hardness = np.random.default_rng(1).random(IMAGES)
    best = 0.7 if run.method == "Baseline" else 0.9
    correct = hardness + rng.normal(0, 0.2, (7, IMAGES)) < best - 0.07 * np.arange(7)[:, None]
    outcome = {
        "correct": pack_bits(correct),
        "accuracy": correct.mean(1).tolist(),
        "filters": {},
        "curve": [{"iteration": i, "loss": 1.0, "validation": [0.5] * 7} for i in range(1, 9)],
        "parameters_trained": 1000 + int(run.id, 16) % 1000,
    }
    return Record(run.description, outcome, cost, environment)


def with_one_accuracy_changed(record: Record) -> Record:
    """20 more images right at one level; for swaps, one accuracy higher by 0.05."""
    outcome = dict(record.outcome)
    if "correct" in outcome:
        correct = record.hits.copy()
        correct[LEVEL, np.flatnonzero(~correct[LEVEL])[:20]] = True
        outcome |= {"correct": pack_bits(correct), "accuracy": correct.mean(1).tolist()}
    else:
        accuracy = {layer: np.array(values) for layer, values in outcome["accuracy"].items()}
        accuracy["conv1"][2, LEVEL] += 0.05
        outcome["accuracy"] = {layer: values.tolist() for layer, values in accuracy.items()}
    return replace(record, outcome=outcome)


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> tuple[Store, tuple[dict, dict, dict]]:
    """A store with every record, and all outputs made from it."""
    store = Store(tmp_path_factory.mktemp("records"))
    for run in all_runs().values():
        if run.kind != "rank":
            store.put(made_up(run))
    return store, outputs(store)


def outputs(store: Store) -> tuple[dict, dict, dict]:
    return cells_of_tables(store), verdicts(store), drawn_lines(store)


def changed_keys(before: dict, after: dict) -> set:
    assert before.keys() == after.keys()
    return {key for key in before if before[key] != after[key]}


def cells_of_tables(store: Store) -> dict:
    """{(target, method, column): what the table shows}."""
    shown = {}
    for target in tables.TABLES:
        frame = tables.beside(target, SCALE, store)
        shown |= {(target, *index, column): value for index, line in frame.iterrows() for column, value in line.items()}
        shown[target, "source line"] = tables.source_line(target, SCALE, store)
    return shown


def verdicts(store: Store) -> dict:
    return {claim["id"]: repr(judgement.judge(claim, store)) for claim in paper.claims()}


def drawn_lines(store: Store) -> dict:
    """{figure: the values of all its lines}."""
    made = {}
    for kind, sigmas in LEVELS["cifar100"].items():
        curves, table = judgement.swap_curves(SCALE, kind, store), f"table{3 if kind == 'blur' else 4}"
        made["figure4", kind] = figures.swap_fractions(curves["conv1"], FRACTIONS, kind, sigmas, "here")
        made["figure5", kind] = figures.swap_layers({layer: a[2] for layer, a in curves.items()}, 0.5, kind, sigmas, "here")
        rows_of = {row.method: row.accuracy.mean(0) for row in tables.collect(table, SCALE, store)}
        made["accuracy", kind] = figures.accuracy_over_levels(rows_of, kind, sigmas, "here")
    return {key: [line.get_ydata().tolist() for line in figure.axes[0].lines] for key, figure in made.items()}


def operands(test: dict) -> Iterator[tuple[int, str]]:
    """Every (table, method) in a claim's test, as its JSON has them."""

    def flat(part):
        if isinstance(part, list):
            for inner in part:
                yield from flat(inner)
        else:
            yield (part["table"], part["method"]) if isinstance(part, dict) else (test["table"], part)

    for name in OPERANDS:
        if name in test:
            yield from flat(test[name])


def uses(claim: dict, changed: Run) -> bool:
    """Whether a claim's words speak of an accuracy of `changed` at the level that changes."""
    test = claim["test"]
    if test["kind"] in COUNTS:
        return False
    if changed.kind == "swap":
        # The accuracy at the fraction 0.5 changes; a recovered share is read off 10 %, its own fraction and the best.
        place = (test.get("dataset"), test.get("distortion"), test.get("fraction"))
        return place == ("cifar100", changed.distortion, 0.5)
    levels = {test.get("level"), test.get("over")} - {"average", "each level", None}
    if levels and LEVEL not in levels:
        return False
    return any(
        changed in rows(f"table{table}", profile(SCALE)).get(method, ())
        for table, method in operands(test)
        if f"table{table}" in TARGETS
    )


def rests_on_the_spread(claim: dict, changed: Run) -> bool:
    """Whether a claim compares single trainings, and `changed` has a share in how far one training moves from the next."""
    here = {table: rows(f"table{table}", profile(SCALE)) for table in range(1, 7)}
    moves = any(
        changed in runs and len(runs) >= 3
        for table in here.values()
        for label, runs in table.items()
        if not label.startswith("random_")
    )
    compared = [here[table].get(method, ()) for table, method in operands(claim["test"]) if table in here]
    return moves and claim["test"]["kind"] == "order" and bool(compared) and all(len(runs) == 1 for runs in compared)


CHANGED = {
    "a corrected network": ("table3", "Deepcorr-1"),
    "the baseline": ("table4", "Baseline"),
    "one draw of random filters": ("table6", "random_48 blur"),
    "a global ranking": ("table5", "global awgn"),
    "the swaps": ("figure4", "blur"),
}


@pytest.mark.slow
@pytest.mark.parametrize("target, label", CHANGED.values(), ids=CHANGED)
def test_one_accuracy_changes_what_uses_it_and_nothing_else(filled, target, label, tmp_path):
    whole, before = filled
    changed = rows(target, profile(SCALE))[label][0]
    store = Store(tmp_path)
    for path in whole.folder.glob("*.json"):
        if path.stem != changed.id:
            (tmp_path / path.name).symlink_to(path)
    store.put(with_one_accuracy_changed(whole.get(changed)))
    cells, judged, drawn = map(changed_keys, before, outputs(store))

    in_tables = [
        (table, method) for table in tables.TABLES for method, runs in rows(table, profile(SCALE)).items() if changed in runs
    ]
    columns = {table: tables.beside(table, SCALE, whole).columns for table, _ in in_tables}
    assert cells == {(table, method, "here, small", columns[table][i]) for table, method in in_tables for i in (LEVEL, 7)}
    assert judged == {claim["id"] for claim in paper.claims() if uses(claim, changed) or rests_on_the_spread(claim, changed)}
    if changed.kind == "swap":
        assert drawn == {("figure4", changed.distortion), ("figure5", changed.distortion)}
    else:
        kinds = {"table3": "blur", "table4": "awgn"}
        assert drawn == {("accuracy", kinds[table]) for table, _ in in_tables if table in kinds}
