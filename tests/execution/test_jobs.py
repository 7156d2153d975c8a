"""Several jobs at once: a killed process costs its run alone, Ctrl-C leaves checkpoints, bad numbers end in a sentence."""

import dataclasses
import multiprocessing
import os
import signal
import subprocess
import time
from types import SimpleNamespace

import pytest
from support import BASE, RANKING, ROOT, record_of, refused
from sweeps import check_same, command_of, some_runs

from dclib import execution
from dclib.errors import InputError
from dclib.execution import runner, workers
from dclib.execution.deadlines import Deadline
from dclib.execution.forecast import Forecast
from dclib.execution.progress import Silent
from dclib.execution.queueing import Queue
from dclib.execution.runner import Swept, sweep
from dclib.experiments import profile, queue
from dclib.results import Store
from dclib.training import Diverged, OutOfTime


@pytest.fixture(autouse=True)
def without_cluster(monkeypatch):
    """Jobs are processes of our own here, as without the extra; tests/execution/test_cluster.py has the others."""
    monkeypatch.setattr(runner, "_has_cluster", lambda: False)


def killing(monkeypatch, when):
    """Kill a worker with SIGKILL as soon as it says how far it is, whenever `when(run)` is true."""
    real = workers.Pool._hear

    def hear(pool, worker, what, *values):
        if what == "part" and when(worker.run):
            os.kill(worker.process.pid, signal.SIGKILL)
        real(pool, worker, what, *values)

    monkeypatch.setattr(workers.Pool, "_hear", hear)


@pytest.mark.slow
def test_one_of_two_jobs_killed_in_the_middle(calm, store, monkeypatch):
    killed = []

    def when(run):
        if run.id in killed or len(killed) == 3:
            return False
        killed.append(run.id)
        return True

    killing(monkeypatch, when)
    said = []
    assert sweep(some_runs(), store, jobs=2, progress=False, say=said.append) == Swept(5, 0, False)
    assert len(killed) == 3 and len(said) == 1 + 5
    check_same(store, calm)


@pytest.mark.slow
def test_a_run_that_kills_its_worker_three_times_is_given_up(store, monkeypatch):
    monkeypatch.setattr(runner, "free_bytes", lambda device: None)
    runs = [run for run in queue(("table1",), profile("smoke"))]
    other = [run for run in queue(("table1",), profile("smoke"), (1,))]
    killing(monkeypatch, lambda run: run == runs[0])
    said = []
    with refused(str(runs[0]), "3 processes", "-9", "--jobs 1"):
        sweep([*runs, *other], store, jobs=2, progress=False, say=said.append)
    assert {record.id for record in store.readable()} == {run.id for run in other}
    assert sum("3 processes" in line for line in said) == 1


def wait_for_the_end_of(group):
    """Until no process of a group is left; those that go on are killed, and the test fails."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.2)
    os.killpg(group, signal.SIGKILL)
    pytest.fail("processes went on")


@pytest.mark.slow
@pytest.mark.parametrize("ending, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_to_end_reach_all_processes(store, ending, code):
    """Ctrl-C those of a terminal, SIGTERM those of a batch system's job; the same command goes on."""
    command = command_of(store, "table1", "table3", "--jobs", "2", "--nice", "0")
    settings = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert "2 jobs with 1 thread each" in process.stdout.readline()
    assert "accuracy" in process.stdout.readline()
    os.killpg(process.pid, ending)
    out, err = process.communicate(timeout=120)
    assert process.returncode == code and "Traceback" not in err and "the same command goes on" in err
    wait_for_the_end_of(process.pid)
    assert 0 < len(store.records()) < len(queue(("table1", "table3"), profile("smoke")))
    assert not list(store.folder.rglob("*.partial"))


@pytest.mark.slow
def test_workers_end_when_the_command_is_killed(store):
    command = command_of(store, "table3", "--jobs", "2")
    process = subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    process.stdout.readline()
    process.stdout.readline()
    process.kill()
    process.wait()
    wait_for_the_end_of(process.pid)
    process.stdout.close()
    store.records()


@pytest.mark.slow
def test_a_time_budget_ends_all_jobs_with_checkpoints(calm, store):
    said = []
    swept = sweep(some_runs(), store, jobs=2, time_budget=0.0, progress=False, say=said.append)
    assert swept == Swept(0, 5, True)  # no process is even started
    swept = sweep(some_runs(), store, jobs=2, time_budget=600.0, progress=False, say=said.append)
    assert swept == Swept(5, 0, False)
    check_same(store, calm)


# ---------------------------------------------------------------- the pool, with processes that only pretend


class Pretending:
    """A worker that answers at once, as a script {run id: answers, one after another} has it; "dies" closes its end."""

    def __init__(self, script, ready=True):
        self.script, self.starts_well = script, ready

    def __call__(self, terms):
        ours, theirs = multiprocessing.Pipe()
        worker = SimpleNamespace(
            connection=ours, run=None, ready=False, stop=lambda: None, leave=lambda: ours.close() or -signal.SIGKILL
        )

        def give(run):
            worker.run = run
            if not theirs.closed:
                answer = self.script[run.id].pop(0)
                theirs.close() if answer == "dies" else theirs.send(answer)

        worker.give = give
        theirs.send(("ready",)) if self.starts_well else theirs.close()
        return worker


@pytest.fixture
def pretend(store, monkeypatch):
    monkeypatch.setattr(workers, "_OFTEN", 0.01)
    monkeypatch.setattr(workers, "_PATIENCE", 0.0)

    def pool(runs, script, jobs=2, deadline=None, **options):
        there = set()
        line = Queue(runs, lambda run: run.id in there)
        made = Store(store.folder)
        for run in runs:
            made.put(record_of(run))
        monkeypatch.setattr(workers, "_Worker", Pretending(script, **options))
        said = []
        pool = workers.Pool(
            line, jobs, workers.Terms(store.folder, "cpu"), deadline or Deadline(), Silent(line, Forecast([])), said.append
        )
        return pool, line, said

    return pool


def runs_of(*seeds):
    return [dataclasses.replace(BASE, seed=seed) for seed in seeds]


def test_deaths_now_and_then_cost_nothing(pretend):
    runs = runs_of(1, 2, 3)
    pool, line, said = pretend(
        runs, {runs[0].id: ["dies", "dies", ("made",)], runs[1].id: ["dies", ("made",)], runs[2].id: [("made",)]}, jobs=1
    )
    pool.work()
    assert line.done == 3 and len(said) == 3 and not pool.problems


def test_the_third_death_gives_up_a_run_and_what_needs_it(pretend):
    runs = [BASE, RANKING, *runs_of(7)]
    pool, line, said = pretend(runs, {BASE.id: ["dies"] * 3, runs[2].id: [("made",)]})
    pool.work()
    assert line.done == 1 and line.failed.keys() == {BASE.id, RANKING.id}
    assert len(pool.problems) == 1 and "memory" in pool.problems[0]


def test_processes_that_do_not_start(pretend):
    runs = runs_of(1)
    pool, _, _ = pretend(runs, {runs[0].id: []}, ready=False)
    with refused("jobs", "--jobs 1"):
        pool.work()


def test_a_refused_run_does_not_stop_the_others(pretend):
    runs = runs_of(1, 2, 3, 4)
    pool, line, said = pretend(
        runs,
        {
            runs[0].id: [("refused", "A sentence.")],
            runs[1].id: [("made",)],
            runs[2].id: [("diverged", "Another.")],
            runs[3].id: [("made",)],
        },
        jobs=1,
    )
    pool.work()
    assert line.done == 2 and pool.problems == ["A sentence.", "Another."] and pool.diverged == 1
    assert said.count("A sentence.") == 1


def test_three_refusals_in_a_row_stop_the_sweep(pretend):
    runs = runs_of(*range(9))
    pool, line, _ = pretend(runs, {run.id: [("refused", "No space left.")] for run in runs}, jobs=1)
    with pytest.raises(InputError, match="No space left"):
        pool.work()
    assert len(line.failed) == 3


def test_what_others_make_is_waited_for(pretend):
    runs = runs_of(1, 2)
    pool, line, _ = pretend(runs, {runs[0].id: [("busy",), ("busy",), ("made",)], runs[1].id: [("made",)]}, jobs=1)
    pool.work()
    assert line.done == 2


def test_stopped_runs_stay_in_the_queue(pretend):
    runs = runs_of(1, 2)
    deadline = Deadline()
    pool, line, _ = pretend(runs, {runs[0].id: [("stopped",)], runs[1].id: [("made",)]}, jobs=1, deadline=deadline)
    real = pool._hear

    def hear(worker, what, *values):
        real(worker, what, *values)
        if what == "stopped":
            deadline.bring_forward()

    pool._hear = hear
    pool.work()
    assert line.left == 2 and not line.taken


@pytest.fixture
def interruptible():
    """A process that was started in the background may have been told to ignore interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_while_a_process_starts_is_not_lost(monkeypatch, interruptible):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with pytest.raises(KeyboardInterrupt):
        with workers.inherited(3):
            signal.raise_signal(signal.SIGINT)  # to this thread: another one, which does not block it, may be slow to answer
            assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "3"
    assert os.environ["OMP_NUM_THREADS"] == "7" and not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {
        signal.SIGINT,
        signal.SIGTERM,
    }


# ---------------------------------------------------------------- what a worker answers


@pytest.mark.parametrize(
    "error, answer",
    [
        (execution.BusyError("x"), ("busy",)),
        (OutOfTime(), ("stopped",)),
        (Diverged("x"), ("diverged", "x")),
        (InputError("x"), ("refused", "x")),
        (None, ("made",)),
    ],
)
def test_answers(store, monkeypatch, error, answer):
    def obtain(*_, **__):
        if error:
            raise error

    monkeypatch.setattr(workers, "obtain", obtain)
    assert workers._answer(BASE, store, "cpu", Deadline(), None) == answer


def test_a_bug_is_no_answer(store, monkeypatch):
    monkeypatch.setattr(workers, "obtain", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        workers._answer(BASE, store, "cpu", Deadline(), None)


# ---------------------------------------------------------------- numbers of jobs


@pytest.mark.parametrize(
    "options, words",
    [
        ({"jobs": 0}, "got 0"),
        ({"jobs": -3}, "got -3"),
        ({"threads": 0}, "got 0"),
        ({"jobs": 2, "threads": -1}, "got -1"),
        ({"nice": 20}, "got 20"),
        ({"nice": -5}, "got -5"),
    ],
)
def test_bad_numbers(store, options, words):
    with refused(next(reversed(options)), words):
        sweep(some_runs(), store, **options)
    assert not store.folder.exists()


def test_more_jobs_than_memory(store, monkeypatch):
    monkeypatch.setattr(runner, "free_bytes", lambda device: int(5e9))
    monkeypatch.setattr(Forecast, "bytes", lambda self, run: 2e9)
    with refused("jobs: expected at most 2", "2.0 GB", "5.0 GB", "got 3"):
        sweep(some_runs(), store, jobs=3)
    monkeypatch.setattr(Forecast, "bytes", lambda self, run: 9e9)
    with refused("jobs: expected at most 1", "got 2"):
        sweep(some_runs(), store, jobs=2)
    assert not store.folder.exists()


def test_the_memory_of_the_largest_run_is_said(store, monkeypatch):
    monkeypatch.setattr(runner, "free_bytes", lambda device: int(5e9))
    monkeypatch.setattr(Forecast, "bytes", lambda self, run: 2e9 if run.kind == "train" else 1e9)
    monkeypatch.setattr(runner.Pool, "work", lambda self: None)
    said = []
    sweep(some_runs(), store, jobs=2, threads=3, progress=False, say=said.append)
    assert said == ["2 jobs with 3 threads each, nice 10; a job may need 2.0 GB of 5.0 GB that are free."]


# ---------------------------------------------------------------- deadlines


def test_a_deadline_is_compared_like_a_number():
    now = time.monotonic()
    assert not now > Deadline() and not now > Deadline(60) and time.monotonic() > Deadline(-1)
    assert Deadline(5).ends and not Deadline().ends
    deadline = Deadline(60)
    deadline.bring_forward()
    assert now > deadline and deadline.passed


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_first_signal_waits_for_the_checkpoint_and_a_second_does_not(capsys, first, second):
    deadline = Deadline()
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with deadline.brought_forward_by_signals():
        signal.raise_signal(first)
        assert deadline.passed and deadline.ended_by == first and "once more" in capsys.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(second)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_has_its_checkpoint(store, monkeypatch, ending):
    def interrupted(run, store, deadline, **_):
        signal.raise_signal(ending)
        assert time.monotonic() > deadline
        raise OutOfTime

    monkeypatch.setattr(runner, "obtain", interrupted)
    with pytest.raises(KeyboardInterrupt) as stopped:
        sweep(some_runs(), store, progress=False, gentle=True)
    assert stopped.value.args == (ending,)
