"""Runs keep their ids, records come back as they went in, and nothing partial is ever left behind."""

import dataclasses
import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from support import BASE, DEEP, RANKING, listing, record_of, refused, worker_context

from dclib import results
from dclib.files import write_whole
from dclib.results import Record, Store, pack_bits, unpack_bits

# ---------------------------------------------------------------- records


@pytest.mark.parametrize("shape", [(7, 10_000), (1, 1), (3, 13), (2, 8), (1, 0)])
def test_bits_come_back(shape):
    bits = np.random.RandomState(0).rand(*shape) < 0.3
    packed = json.loads(json.dumps(pack_bits(bits)))
    assert np.array_equal(unpack_bits(packed), bits) and unpack_bits(packed).dtype == bool
    assert len(packed["zlib_base64"]) < bits.size / 5 + 60


def test_a_record_comes_back(store):
    record = record_of()
    path = store.put(record)
    assert path == store.path(BASE) and listing(store.folder) == [f"{BASE.id}.json"]
    found = store.get(BASE)
    assert found == record and found.id == BASE.id and found.seed == 0
    assert found.accuracy == pytest.approx(record.outcome["accuracy"])
    assert found.hits.shape == (3, 100) and found.hits.dtype == bool
    assert found.hits.mean(1).tolist() == record.outcome["accuracy"]


def test_numbers_come_back_exactly():
    outcome = {"accuracy": [0.1, 1 / 3, 1e-17, 0.30000000000000004]}
    again = Record.from_json(Record(BASE.description, outcome, {}, {}).to_json())
    assert again.outcome == outcome


def test_what_was_not_run_is_none(store):
    assert store.get(BASE) is None and store.records() == []
    assert not store.folder.exists()


def test_the_last_writer_wins(store):
    store.put(record_of(seed=1))
    store.put(record_of(seed=2))
    assert store.get(BASE) == record_of(seed=2)


def test_records_are_sorted_by_id(store):
    for run in (DEEP, BASE, RANKING):
        store.put(record_of(run))
    assert [r.id for r in store.records()] == sorted([BASE.id, RANKING.id, DEEP.id])


# ---------------------------------------------------------------- writing

FAILURES = {"replace": (Path, "replace"), "open": (Path, "open"), "fsync": (os, "fsync")}


@pytest.mark.parametrize("case", FAILURES)
@pytest.mark.parametrize("before", [False, True])
def test_a_failed_write_leaves_what_was_there(store, monkeypatch, case, before):
    if before:
        store.put(record_of(seed=1))
    store.folder.mkdir(exist_ok=True)
    files = {p.name: p.read_bytes() for p in store.folder.iterdir()}

    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*FAILURES[case], fail)
        with refused("No space left", "DCLIB_RESULTS"):
            store.put(record_of(seed=2))
        with refused("No space left"):
            store.put_weights(BASE, b"weights")
    found = {p.name: p.read_bytes() for p in store.folder.iterdir() if p.is_file()}
    assert found == files and not list(store.folder.glob("weights/*"))


def test_an_interrupted_write_leaves_nothing(store, monkeypatch):
    store.folder.mkdir()

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.put(record_of())
    assert listing(store.folder) == []


def test_a_disk_that_fills_up_while_writing(store, monkeypatch):
    store.folder.mkdir()
    real = Path.open

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, content):
            self.file.write(content[:50])
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(
        Path, "open", lambda path, mode="r", *a, **k: Full(real(path, mode)) if mode == "wb" else real(path, mode, *a, **k)
    )
    with refused("No space left"):
        store.put(record_of())
    assert listing(store.folder) == []


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file" / "results")
    with refused("DCLIB_RESULTS", "--results"):
        store.put(record_of())
    with refused():
        store.get(BASE)
    assert listing(tmp_path) == ["file"]


def test_a_read_only_folder(tmp_path, read_only):
    store = Store(tmp_path)
    store.put(record_of())
    read_only(tmp_path)
    with refused("DCLIB_RESULTS"):
        store.put(record_of(RANKING))
    assert store.get(BASE) == record_of() and listing(tmp_path) == [f"{BASE.id}.json"]


def test_write_whole_makes_folders(tmp_path):
    write_whole(tmp_path / "a" / "b" / "c.bin", b"123")
    assert (tmp_path / "a" / "b" / "c.bin").read_bytes() == b"123" and len(listing(tmp_path)) == 3


def put_often(folder, number):
    store = Store(folder)
    for i in range(60):
        store.put(record_of(BASE, seed=number))
        store.put(record_of(dataclasses.replace(BASE, seed=100 * number + i)))


def test_several_writers_at_once(store):
    context = worker_context()
    writers = [context.Process(target=put_often, args=(store.folder, number)) for number in range(3)]
    for writer in writers:
        writer.start()
    possible = [record_of(BASE, seed=number) for number in range(3)]
    while any(writer.is_alive() for writer in writers):
        found = store.get(BASE)
        assert found is None or found in possible
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert len(store.records()) == 180 and store.get(BASE) in possible
    assert len(listing(store.folder)) == 180  # BASE is the first of the numbered ones


# ---------------------------------------------------------------- weights


def test_own_weights_come_before_published_ones(store, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "_ROOT", tmp_path)
    own, published = (folder / "weights" / f"{BASE.id}.safetensors" for folder in (store.folder, tmp_path / "data"))
    assert store.weights(BASE) == own
    write_whole(published, b"published")
    assert store.weights(BASE) == published
    assert store.put_weights(BASE, b"own") == own and published.read_bytes() == b"published"
    assert store.weights(BASE) == own


# ---------------------------------------------------------------- folders


def test_results_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("DCLIB_RESULTS", str(tmp_path))
    assert results.results_folder() == tmp_path and Store().folder == tmp_path
    monkeypatch.setenv("DCLIB_RESULTS", "~/records")
    assert results.results_folder() == Path.home() / "records"
    monkeypatch.delenv("DCLIB_RESULTS")
    assert results.results_folder() == Path(results.__file__).parents[1] / "data" / "results"
    monkeypatch.setattr(results, "_ROOT", tmp_path)
    assert results.results_folder() == Path.home() / ".cache" / "dclib" / "results"
