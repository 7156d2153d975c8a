"""Runs on a cluster: the records of one process, whatever dies, and a sentence where it cannot be."""

import pytest
from cluster_machines import Machines
from test_sweep import check_same, some_runs

pytest.importorskip("distributed", reason="the extra cluster is not installed")

from dclib.execution.runner import Swept, sweep  # noqa: E402
from dclib.results import Store  # noqa: E402


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """The results of one process."""
    store = Store(tmp_path_factory.mktemp("calm") / "results")
    assert sweep(some_runs(), store, progress=False, say=lambda line: None) == Swept(5, 0, False)
    return store


@pytest.fixture
def machines(tmp_path):
    with Machines(tmp_path / "machines") as started:
        started.start_scheduler()
        yield started


def trace_of(store):
    """What a sweep leaves beside records and networks; locks stay as they do after one process."""
    return [path for path in store.folder.rglob("*") if path.is_file() and path.suffix not in (".json", ".lock")
            and path.parent.name != "weights"]


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
