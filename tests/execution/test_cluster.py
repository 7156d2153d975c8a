"""Runs on a cluster: the records of one process, whatever dies, and a sentence where it cannot be."""

import dataclasses
import logging
import socket

import pytest
from cluster_machines import Machines
from support import BASE, RANKING, check_sentence, record_of, refused
from sweeps import check_same, some_runs, with_another_baseline

pytest.importorskip("distributed", reason="the extra cluster is not installed")

from distributed import LocalCluster, get_worker  # noqa: E402

from dclib.errors import InputError  # noqa: E402
from dclib.execution import cluster, runner, schedulers, sitting  # noqa: E402
from dclib.execution.cluster import Cluster  # noqa: E402
from dclib.execution.deadlines import Deadline  # noqa: E402
from dclib.execution.forecast import Forecast  # noqa: E402
from dclib.execution.obtaining import claim  # noqa: E402
from dclib.execution.progress import Silent  # noqa: E402
from dclib.execution.queueing import Queue  # noqa: E402
from dclib.execution.runner import Swept, sweep  # noqa: E402
from dclib.execution.sharing import Terms  # noqa: E402
from dclib.execution.sitting import ALL, Answer, Kept, Order  # noqa: E402
from dclib.experiments import baseline, profile  # noqa: E402
from dclib.results import Store  # noqa: E402


@pytest.fixture
def machines(tmp_path):
    with Machines(tmp_path / "machines") as started:
        started.start_scheduler()
        yield started


def trace_of(store):
    """What a sweep leaves beside records and networks; locks stay as they do after one process."""
    return [
        path
        for path in store.folder.rglob("*")
        if path.is_file() and path.suffix not in (".json", ".lock") and path.parent.name != "weights"
    ]


@pytest.mark.slow
def test_two_machines_make_the_records_of_one_process(machines, calm, store):
    for _ in range(2):
        machines.start_worker()
    said = []
    assert sweep(some_runs(), store, scheduler=machines.address, progress=False, say=said.append) == Swept(5, 0, False)
    check_same(store, calm)
    assert not trace_of(store) and sum("accuracy" in line for line in said) == 5
    trained = {path.name: path.read_bytes() for path in (calm.folder / "weights").iterdir()}
    assert {path.name: path.read_bytes() for path in (store.folder / "weights").iterdir()} == trained
    assert not list(machines.folder.rglob("*.safetensors"))  # nothing stays on a worker


@pytest.mark.slow
def test_jobs_are_a_cluster_of_this_machine(calm, store):
    said = []
    assert sweep(some_runs(), store, jobs=2, progress=False, say=said.append) == Swept(5, 0, False)
    check_same(store, calm)
    assert "2 jobs with 1 thread each" in said[0] and not trace_of(store)


@pytest.mark.slow
def test_a_baseline_that_comes_out_as_another_network_is_refused(calm, store):
    run = with_another_baseline(calm.get(baseline(profile("smoke"))), store)
    before = store.path(run).read_bytes()
    with refused("accuracy 0.000", "--recompute"):
        sweep([run], store, jobs=2, progress=False, say=lambda line: None)
    assert store.path(run).read_bytes() == before and not list(store.folder.glob("*/*.safetensors"))


# ---------------------------------------------------------------- the client, with workers that only pretend

#: {run id: answers of its sittings, one after another}; and what each sitting was given.
SCRIPT: dict[str, list] = {}
GIVEN: list[tuple] = []


def pretended_sitting(order, kept, needs, *answers):
    """In a worker of this process: "made", or the next answer of the script."""
    GIVEN.append((order.run.id, kept, [need.id for need in needs], [answer.what for answer in answers]))
    if any(answer.what != "made" for answer in answers):
        return Answer("wanting")
    script = SCRIPT.get(order.run.id)
    answer = script.pop(0) if script else Answer("made", Kept(record_of(order.run).to_json().encode()))
    if isinstance(answer, Exception):
        raise answer
    return dataclasses.replace(answer, worker=get_worker().address)


def pretended_giving(kept):
    """What the folder has, after the next answer of the script of nobody's run."""
    script = SCRIPT.get("given")
    return script.pop(0) if script else Answer("made", kept)


@pytest.fixture(scope="module")
def threads():
    """A cluster in this process, with two workers."""
    schedulers.quiet()
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=False,
        memory_limit=0,
        dashboard_address="127.0.0.1:0",
        worker_dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    ) as started:
        yield started


@pytest.fixture
def pretend(threads, store, monkeypatch):
    SCRIPT.clear(), GIVEN.clear()
    for name, value in (("sit", pretended_sitting), ("_OFTEN", 0.05), ("_PATIENCE", 0.1)):
        monkeypatch.setattr(cluster, name, value)

    def pool(runs, script, deadline=None, bytes_of=lambda run: 0.0, terms=None):
        SCRIPT.update(script)
        line, said = Queue(runs, lambda run: store.get(run) is not None), []
        made = Cluster(
            line,
            threads,
            terms or Terms(store.folder, "cpu"),
            deadline or Deadline(),
            Silent(line, Forecast([])),
            said.append,
            bytes_of,
        )
        return made, line, said

    return pool


def runs_of(*seeds):
    return [dataclasses.replace(BASE, seed=seed) for seed in seeds]


def test_what_a_run_is_made_from_comes_with_it(pretend, store):
    pool, line, said = pretend([BASE, RANKING], {})
    pool.work()
    assert line.done == 2 and len(said) == 2 and not pool.problems
    assert store.get(RANKING).id == RANKING.id
    run, _, needs, answers = GIVEN[-1]
    assert (run, needs, answers) == (RANKING.id, [BASE.id], ["made"])


def test_what_the_folder_has_is_sent(pretend, store):
    store.put(record_of(BASE))
    store.put_weights(BASE, b"weights")
    pool, line, _ = pretend([RANKING], {})
    pool.work()
    assert line.done == 1 and [given[0] for given in GIVEN] == [RANKING.id]


def test_an_answer_that_was_lost_and_came_back_unfinished_is_given_from_the_folder(pretend, store, monkeypatch):
    """A worker dies with the answer of a run that is made; another sits again, and its sitting ends before the run."""
    monkeypatch.setattr(cluster, "given", pretended_giving)
    store.put(record_of(BASE))
    store.put_weights(BASE, b"weights")
    pool, line, _ = pretend([RANKING], {"given": [Answer("stopped")]}, Deadline(60))
    pool.work()
    assert line.done == 1 and [given[3] for given in GIVEN] == [["stopped"], ["made"]]


def test_each_sitting_goes_on_from_the_checkpoint_that_came_home(pretend, store):
    kept = [Kept(checkpoint=b"one"), Kept(checkpoint=b"two", weights=b"trained")]
    pool, line, said = pretend([BASE], {BASE.id: [Answer("stopped", each) for each in kept]})
    store.checkpoint(BASE).parent.mkdir(parents=True)
    store.checkpoint(BASE).write_bytes(b"none")
    pool.work()
    assert [given[1].checkpoint for given in GIVEN] == [b"none", b"one", b"two"] and GIVEN[-1][1].weights == b"trained"
    assert line.done == 1 and len(said) == 1 and not store.checkpoint(BASE).exists()


def test_what_is_stopped_past_the_deadline_waits_in_the_folder(pretend, store):
    deadline = Deadline()
    pool, line, _ = pretend([BASE], {BASE.id: [Answer("stopped", Kept(checkpoint=b"one"))] * 9}, deadline)
    real = pool._act_on

    def act(*values):
        deadline.bring_forward()
        real(*values)

    pool._act_on = act
    pool.work()
    assert line.left == 1 and not line.taken and store.checkpoint(BASE).read_bytes() == b"one"
    assert len(GIVEN) == 1
    with claim(BASE, store):  # its lock is free
        pass


def test_a_refused_run_does_not_stop_the_others(pretend):
    runs = runs_of(1, 2, 3, 4)
    pool, line, said = pretend(
        runs,
        {runs[0].id: [Answer("refused", sentence="A sentence.")], runs[2].id: [Answer("diverged", sentence="Another.")]},
    )
    pool.work()
    assert line.done == 2 and sorted(pool.problems) == ["A sentence.", "Another."] and pool.diverged == 1
    assert said.count("A sentence.") == 1


def test_what_needs_a_run_that_diverged_is_given_up_with_it(pretend):
    pool, line, _ = pretend([BASE, RANKING], {BASE.id: [Answer("diverged", sentence="It did.")]})
    pool.work()
    assert line.failed.keys() == {BASE.id, RANKING.id} and pool.problems == ["It did."]


def test_three_refusals_in_a_row_stop_the_sweep(pretend):
    runs = runs_of(*range(9))
    pool, line, _ = pretend(runs, {run.id: [Answer("refused", sentence="No space left.")] for run in runs})
    with pytest.raises(InputError, match="No space left"):
        pool.work()
    assert len(line.failed) == 3


def test_a_worker_without_the_data_is_left_out(pretend):
    runs = runs_of(1, 2, 3)
    unable = Answer("unable", sentence="cifar100: expected it, got none.", subject=BASE.fingerprint)
    pool, line, said = pretend(runs, {runs[0].id: [unable]})
    pool.work()
    assert line.done == 3 and sum("is left out" in line for line in said) == 1


def test_no_worker_has_the_data(pretend):
    unable = Answer("unable", sentence="cifar100: expected it, got none.", subject=BASE.fingerprint)
    pool, line, _ = pretend([BASE], {BASE.id: [unable, unable]})
    pool.work()
    assert line.failed.keys() == {BASE.id} and pool.problems == ["cifar100: expected it, got none."]


def test_no_worker_has_the_versions(pretend):
    unable = Answer("unable", sentence="worker: expected torch 3, got torch 2.", subject=ALL)
    pool, _, _ = pretend([BASE], {BASE.id: [unable, unable]})
    with pytest.raises(InputError, match="expected torch 3"):
        pool.work()


def test_workers_that_are_too_small(pretend, threads):
    pool, line, _ = pretend([BASE], {}, bytes_of=lambda run: 2e9)
    pool._look_around = lambda: setattr(pool, "workers", {"tcp://small:1": {"memory_limit": int(1e9)}})
    pool.work()
    assert len(pool.problems) == 1 and "2.0 GB" in pool.problems[0] and not GIVEN


def test_resources_are_asked_for_where_workers_declare_them(pretend):
    pool, _, _ = pretend([BASE], {}, bytes_of=lambda run: 2e9, terms=Terms("nowhere", "cuda"))
    assert pool._resources(BASE) is None
    pool.workers = {"a": {"resources": {"GPU": 1.0}}, "b": {"resources": {"MEMORY": 8e9}}}
    assert pool._resources(BASE) == {"GPU": 1.0, "MEMORY": 2e9}


def test_what_others_make_is_waited_for(pretend, store):
    runs = runs_of(1, 2)
    pool, line, said = pretend(runs, {})
    with claim(runs[0], store):
        real = pool._act_on

        def act(*values):  # the other run is made: now the first one appears
            real(*values)
            store.put(record_of(runs[0]))

        pool._act_on = act
        pool.work()
    assert line.done == 2 and [given[0] for given in GIVEN] == [runs[1].id] and len(said) == 1


def test_a_bug_is_no_answer(pretend):
    pool, _, _ = pretend([BASE], {BASE.id: [ZeroDivisionError()]})
    with pytest.raises(ZeroDivisionError):
        pool.work()


def test_a_deadline_that_passed_starts_nothing(store):
    assert sweep([BASE], store, jobs=2, time_budget=0.0, progress=False) == Swept(0, 1, True)
    assert not list(store.folder.rglob("*.json"))


# ---------------------------------------------------------------- a sitting


def order_of(run=BASE, **changes):
    return dataclasses.replace(Order(run, "session", "cpu", 1, 60.0, sitting.code_versions()), **changes)


def test_other_versions_are_one_sentence():
    code = sitting.code_versions()
    assert set(code) == {"dclib", "sources", "torch", "Python"} and "+" not in code["torch"]
    subject, sentence = sitting._unable(order_of(code=code | {"torch": "1.0", "sources": "abc"}), "cpu", 1)
    assert subject == ALL
    check_sentence(sentence, "torch 1.0", "sources abc", code["torch"], code["sources"])


def test_a_worker_of_several_threads_is_one_sentence():
    subject, sentence = sitting._unable(order_of(), "cpu", 8)
    assert subject == ALL
    check_sentence(sentence, "8 threads", "--nthreads 1")


def test_a_worker_without_the_device_or_the_data_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("DCLIB_DATA", str(tmp_path))
    subject, sentence = sitting._unable(order_of(), "cuda:77", 1)
    assert subject == ALL
    check_sentence(sentence, "cuda:77")
    lacking = dataclasses.replace(some_runs()[0], dataset="imagenet20", photographs=(), fingerprint="0" * 64)
    subject, sentence = sitting._unable(order_of(lacking), "cpu", 1)
    assert subject == "0" * 64
    check_sentence(sentence, "imagenet20")
    other = dataclasses.replace(some_runs()[0], fingerprint="0" * 64)
    check_sentence(sitting._unable(order_of(other), "cpu", 1)[1], "fingerprint", "other data")
    assert sitting._unable(order_of(some_runs()[0]), "cpu", 1) is None


def test_the_word_to_stop_ends_a_session_alone():
    with sitting._until_stopped(order_of(session="a")) as one, sitting._until_stopped(order_of(session="b")) as other:
        assert not one.passed and not other.passed
        sitting.stop("a")
        assert one.passed and not other.passed
    with sitting._until_stopped(order_of(session="a")) as late:
        assert late.passed


def test_what_is_kept_is_checked_and_comes_whole(store, tmp_path):
    store.put(record_of(BASE))
    store.put_weights(BASE, b"weights")
    other = Store(tmp_path / "other")
    Kept.made(BASE, store).put(BASE, other)
    assert other.get(BASE) == store.get(BASE) and other.own_weights(BASE).read_bytes() == b"weights"
    with refused("record of"):
        Kept(b"{}", b"weights").put(BASE, Store(tmp_path / "third"))
    assert not (tmp_path / "third").exists()


# ---------------------------------------------------------------- what the command is told


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:1", "nonsense", "http://127.0.0.1:1", "tcp://no.such.host.invalid:8786"]
)
def test_no_scheduler_there(store, monkeypatch, address):
    monkeypatch.setattr(cluster, "_AT_FIRST", 1.0)
    with refused("scheduler", address, "tcp://host:8786"):
        sweep([BASE], store, scheduler=address, progress=False)
    assert not store.folder.exists()


def test_a_server_that_is_no_scheduler(store, monkeypatch):
    monkeypatch.setattr(cluster, "_AT_FIRST", 2.0)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with refused("scheduler", "within 2 s"):
            sweep([BASE], store, scheduler=f"tcp://127.0.0.1:{server.getsockname()[1]}", progress=False)


@pytest.mark.parametrize("options", [{"jobs": 2}, {"recompute": True}])
def test_a_scheduler_goes_without(store, options):
    with refused("scheduler", "leave one of them out", next(iter(options))):
        sweep([BASE], store, scheduler="tcp://127.0.0.1:1", **options)


def test_without_the_extra_a_scheduler_is_one_sentence(store, monkeypatch):
    monkeypatch.setattr(runner, "_has_cluster", lambda: False)
    with refused("dask.distributed", "pip install", "dclib[cluster]"):
        sweep([BASE], store, scheduler="tcp://127.0.0.1:1")
