"""Sweeps that are killed, shared or out of time make the same records as one that is left alone."""

import dataclasses
import os
import random
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from support import refused, worker_context
from sweeps import check_same, some_runs, with_another_baseline

from dclib import execution
from dclib.execution import BusyError, filters_of, network, obtain, obtaining
from dclib.execution.runner import Swept, parse_duration, sweep
from dclib.experiments import baseline, baseline_under, deepcorrect, first_layer, global_deepcorrect, profile, ranking
from dclib.models import count_parameters
from dclib.results import Record, Store

KILLS = 10


def work(folder, kill_at=None):
    """Sweep in a process of its own. A clock counts Python's calls; at `kill_at` the process kills itself.

    The clock makes the moments random but the same on every machine. The calls and the lines said are kept in files.
    """
    torch.set_num_threads(1)
    calls = 0

    def tick(frame, event, argument):
        nonlocal calls
        calls += 1
        if calls == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    runs = some_runs()
    with (Path(folder).parent / f"{os.getpid()}.said").open("w") as said:
        sys.setprofile(tick)
        swept = sweep(runs, Store(folder), progress=False, say=lambda line: print(line, file=said))
        sys.setprofile(None)
    assert swept == Swept(len(runs), 0, False)
    (Path(folder).parent / "calls").write_text(str(calls))


def started(folder, kill_at=None):
    process = worker_context().Process(target=work, args=(folder, kill_at))
    process.start()
    return process


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """The results of a sweep that was left alone, and how many calls it took."""
    folder = tmp_path_factory.mktemp("calm") / "results"
    process = started(folder)
    process.join()
    assert process.exitcode == 0
    return Store(folder), int((folder.parent / "calls").read_text())


@pytest.mark.slow
def test_killed_at_ten_random_moments(calm, store):
    expected, total = calm
    moments = random.Random(0)
    store.folder.mkdir()
    kills = 0
    while kills < KILLS:
        process = started(store.folder, kill_at=int(total * moments.uniform(0.01, 0.14)))
        process.join()
        assert process.exitcode == -signal.SIGKILL
        kills += 1
        store.records()  # whole ones only, at every moment
    assert not {run.id for run in some_runs()} <= {r.id for r in store.records()}  # all kills came before the end
    last = started(store.folder)
    last.join()
    assert last.exitcode == 0
    check_same(store, expected)


@pytest.mark.slow
def test_two_sweeps_share_the_work(calm, store):
    expected, _ = calm
    store.folder.mkdir()
    sweeps = [started(store.folder) for _ in range(2)]
    for process in sweeps:
        process.join()
    assert [process.exitcode for process in sweeps] == [0, 0]
    check_same(store, expected)
    said = [line for path in store.folder.parent.glob("*.said") for line in path.read_text().splitlines()]
    assert len(said) == len(some_runs()) == len({line.rpartition(" ")[2] for line in said})


@pytest.mark.slow
def test_two_jobs_share_the_work(calm, store):
    expected, _ = calm
    assert sweep(some_runs(), store, jobs=2) == Swept(5, 0, False)
    check_same(store, expected)


def test_a_time_budget_stops_and_the_same_call_goes_on(calm, store):
    runs, stops = some_runs()[:3], 0
    while (swept := sweep(runs, store, time_budget=0.0, progress=False, say=lambda _: None)).out_of_time:
        stops += 1
        assert swept.left > 0 and swept.done + swept.left == 3 and len(store.records()) == swept.done
    assert stops > 5 and swept == Swept(3, 0, False)
    assert all(store.get(run).outcome == calm[0].get(run).outcome for run in runs)
    assert not list(store.folder.rglob("*.partial")) and not list((store.folder / "checkpoints").glob("*.safetensors"))


def copied(calm, store):
    """A folder of its own with the calm sweep's records and weights."""
    archive = store.folder.parent / "all.zip"
    calm[0].export(archive)
    store.import_(archive)
    return store


def test_a_second_sweep_makes_nothing(calm, store, monkeypatch):
    copied(calm, store)
    monkeypatch.setattr(execution.makers, "train", None)
    said = []
    before = {p: p.stat().st_mtime_ns for p in store.folder.rglob("*")}
    assert sweep(some_runs(), store, progress=False, say=said.append) == Swept(5, 0, False)
    assert said == [] and {p: p.stat().st_mtime_ns for p in store.folder.rglob("*")} == before


def test_recompute_makes_a_run_again_with_the_same_outcome(calm, store):
    copied(calm, store)
    run = next(r for r in some_runs() if r.method == "Finetune-1")
    said = []
    sweep([run], store, recompute=True, progress=False, say=said.append)
    assert len(said) == 1 and run.id in said[0] and "Finetune-1 blur" in said[0]
    check_same(store, calm[0])


def test_a_baseline_without_its_network_is_made_again(calm, store):
    copied(calm, store)
    base = baseline(profile("smoke"))
    store.weights(base).unlink()
    sweep([base], store, progress=False, say=lambda _: None)
    assert store.weights(base).exists()
    check_same(store, calm[0])


def test_a_baseline_that_comes_out_as_another_network_is_refused(calm, store):
    run = with_another_baseline(calm[0].get(baseline(profile("smoke"))), store)
    before = store.path(run).read_bytes()
    with refused("accuracy 0.000", "--recompute"):
        obtain(run, store)
    assert store.path(run).read_bytes() == before and not list(store.folder.glob("*/*.safetensors"))
    obtain(run, store, recompute=True)
    obtain(baseline_under(profile("smoke"), "blur"), store)


def test_a_run_that_another_process_makes_is_left_to_it(calm, store):
    copied(calm, store)
    run = next(r for r in some_runs() if r.method == "Deepcorr-1")
    store.path(run).unlink()
    lock = FileLock(store.checkpoint(run).with_suffix(".lock"))
    store.checkpoint(run).parent.mkdir()
    with lock:
        with pytest.raises(BusyError, match="another process"):
            obtain(run, store)
        assert sweep([run], store, time_budget=0.0, progress=False) == Swept(0, 1, True)
    assert obtain(run, store).id == run.id


def test_what_another_process_made_meanwhile_is_not_made_again(calm, store, monkeypatch):
    copied(calm, store)
    run = next(r for r in some_runs() if r.method == "Deepcorr-1")
    record = store.get(run)
    store.path(run).unlink()
    real = obtaining.claim

    def late(claimed, where):  # the other process ends just before the lock is taken
        if claimed == run:
            store.put(record)
        return real(claimed, where)

    monkeypatch.setattr(obtaining, "claim", late)
    monkeypatch.setattr(execution.makers, "train", None)
    assert obtain(run, store) == record


def test_the_lock_is_given_back(calm, store, monkeypatch):
    copied(calm, store)
    run = next(r for r in some_runs() if r.method == "Finetune-1")

    def fail(*_, **__):
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(execution.makers, "train", fail)
        with pytest.raises(RuntimeError) as caught:
            obtain(run, store, recompute=True)
    with FileLock(store.checkpoint(run).with_suffix(".lock"), timeout=0):
        pass
    assert caught.value.args == ("a bug",)


# ---------------------------------------------------------------- single runs


def test_the_record_says_what_was_done_and_where(calm):
    store = calm[0]
    for run in some_runs():
        record = store.get(run)
        assert record.description == run.description
        assert record.cost["seconds"] >= 0 and record.cost["peak_bytes"] > 10**6
        assert record.environment.keys() == {
            *("device", "instructions", "threads", "torch", "python", "dclib", "commit", "date")
        }
        if run.kind in ("train", "evaluate"):
            levels = 7 if run.distortion else 1
            assert record.hits.shape == (levels, 19 * 8)
            assert record.outcome["accuracy"] == record.accuracy.tolist()
            assert record.outcome["correct_count"] == record.hits.sum(1).tolist()
    assert len(store.get(baseline(profile("smoke"))).outcome["curve"]) == 2


def test_networks_come_back_with_their_accuracy(calm):
    store = calm[0]
    for run in (baseline(profile("smoke")), next(r for r in some_runs() if r.method == "Deepcorr-1")):
        model = network(run, store)
        assert not model.training
        assert count_parameters(model) == store.get(run).outcome["parameters_trained"]
        test = execution.data_for(run).test
        with torch.inference_mode():
            clean = (model(test.images.float()).argmax(1) == test.labels).numpy()
        assert np.mean(clean != store.get(run).hits[0]) < 0.02


def test_a_network_that_is_not_there_or_damaged(calm, store):
    copied(calm, store)
    run = baseline(profile("smoke"))
    path = store.weights(run)
    for content in (b"", path.read_bytes()[:-9], None):
        path.write_bytes(content) if content is not None else path.unlink()
        with refused("safetensors", "dclib run"):
            network(run, store)


def test_other_data_than_described(calm, store):
    run = dataclasses.replace(baseline(profile("smoke")), fingerprint="0" * 64)
    with refused("fingerprint", "000000000000"):
        obtain(run, store)
    assert not list(store.folder.glob("*.json"))


def test_filters_of_every_selection(store):
    p = profile("smoke")
    scores = {
        layer: np.linspace(0.9, 0.1, p.width if i < 3 else 2 * p.width) for i, layer in enumerate(ranking(p, "blur").layers)
    }
    scores["conv2"] = scores["conv2"] * 0  # the least susceptible of all
    outcome = {
        "swap_accuracy": {layer: values[:, None].repeat(6, 1).tolist() for layer, values in scores.items()},
        "distorted_accuracy": [0.0] * 6,
    }
    store.put(Record(ranking(p, "blur").description, outcome, {}, {}))
    assert filters_of(deepcorrect(p, 2, "blur"), store) == {"conv1": [0, 1, 2, 3], "conv2": [0, 1, 2, 3]}
    assert filters_of(first_layer(p, "least", 24, "blur"), store) == {"conv1": [7, 6]}
    together = filters_of(global_deepcorrect(p, "blur"), store)
    assert sum(len(f) for f in together.values()) == 36 and "conv2" not in together
    assert all(isinstance(i, int) for f in together.values() for i in f)
    drawn = [filters_of(first_layer(p, "random", 48, "blur", draw=d), store)["conv1"] for d in (0, 0, 1, 2)]
    assert drawn[0] == drawn[1] and len({tuple(d) for d in drawn}) == 3
    assert all(len(set(d)) == 4 and set(d) <= set(range(8)) for d in drawn)
    with refused("ranking", "dclib run"):
        filters_of(deepcorrect(p, 1, "awgn"), store)


def test_a_training_that_diverges_does_not_stop_the_others(store):
    runs = [run for run in some_runs() if run.method != "Deepcorr-1"]
    bad = dataclasses.replace(runs[0], schedule=dataclasses.replace(runs[0].schedule, learning_rate=1e38))
    needs_it = dataclasses.replace(next(run for run in runs if run.method == "Algorithm 1"), base=bad)
    said = []
    with refused("1 that did not", "lower learning rates"):
        sweep([needs_it, bad, *runs], store, progress=False, say=said.append)
    assert {r.id for r in store.records()} == {run.id for run in runs}
    assert sum("finite loss" in line for line in said) == 1


def test_a_full_disk_ends_the_sweep_in_one_sentence(store, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with refused("No space left", "DCLIB_RESULTS"):
        sweep(some_runs()[:1], store, progress=False)
    assert not list(store.folder.glob("*.json")) and not list(store.folder.rglob("*.partial"))


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta", "cuda" if not torch.cuda.is_available() else "cuda:98"])
def test_missing_devices(store, device):
    with refused("device", repr(device)):
        sweep([], store, device=device)
    assert not store.folder.exists()


def test_jobs_and_recompute(store):
    with refused("jobs"):
        sweep(some_runs(), store, jobs=2, recompute=True)


@pytest.mark.parametrize("text, seconds", [("90", 90), ("90s", 90), ("9m", 540), ("1.5h", 5400), (" 0s ", 0)])
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "9 m", "-5m", "1d", "m", "1e3", "nan", "1.5.2h", "9min"])
def test_bad_durations(text):
    with refused("time budget", repr(text)):
        parse_duration(text)
