"""Runs keep their ids, records come back as they went in, and nothing partial is ever left behind."""

import base64
import dataclasses
import errno
import hashlib
import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from support import BASE, DEEP, RANKING, SCHEDULE, check_sentence, listing, record_of, refused, worker_context

from dclib import results
from dclib.correction import UnitDesign
from dclib.errors import InputError
from dclib.execution.missing import unasked
from dclib.experiments import Run, Selection
from dclib.files import write_whole
from dclib.results import Record, Store, pack_bits, unpack_bits

# ---------------------------------------------------------------- runs


def test_ids_do_not_change():
    assert (BASE.id, RANKING.id, DEEP.id) == ("fa3412f73b97b417", "d2574ca745679bde", "0afbbc3ccae6b46a")


def test_every_published_record_is_of_a_run_that_is_asked_for():
    published = Store(Path(__file__).parent.parent / "data" / "results").records()
    assert published and unasked(published) == []


def test_the_id_is_a_hash_of_the_description():
    text = json.dumps(DEEP.description, sort_keys=True, separators=(",", ":"))
    assert DEEP.id == hashlib.sha256(text.encode()).hexdigest()[:16]
    assert json.loads(json.dumps(DEEP.description)) == DEEP.description


def test_a_description_leaves_out_defaults():
    assert BASE.description == {
        "kind": "train",
        "method": "Baseline",
        "dataset": "photographs",
        "fingerprint": "f" * 64,
        "classes": 19,
        "width": 8,
        "seed": 0,
        "schedule": {"iterations": 40, "batch_size": 8, "learning_rate": 0.1, "drops": [20, 30], "evaluate_every": 10},
    }
    assert DEEP.description["design"] == {"width": 16, "input_batchnorm": True}
    assert DEEP.description["schedule"]["l1"] == 1e-5
    assert DEEP.description["selection"] == {
        "order": "ranked",
        "scope": "local",
        "score": "priority",
        "counts": [["conv1", 4]],
    }
    assert (DEEP.description["base"], DEEP.description["ranking"]) == (BASE.id, RANKING.id)


CHANGES = {
    "method": "other",
    "seed": 1,
    "width": 9,
    "classes": 20,
    "fingerprint": "0" * 64,
    "distortion": "awgn",
    "sigmas": (0.5, 1.5),
    "layers": ("conv2",),
    "also_train": ("conv9",),
    "precision": "bfloat16",
    "validation_images": 5,
    "batchnorm_momentum": 0.1,
    "photographs": (1, 2, 3),
    "design": UnitDesign(),
    "base": dataclasses.replace(BASE, seed=1),
    "ranking": dataclasses.replace(RANKING, seed=1),
    "schedule": SCHEDULE,
    "selection": Selection("least", "local", "priority", (("conv1", 4),)),
}


@pytest.mark.parametrize("field", CHANGES)
def test_every_change_of_the_description_changes_the_id(field):
    assert dataclasses.replace(DEEP, **{field: CHANGES[field]}).id != DEEP.id


def test_equal_runs_have_equal_ids_whatever_made_them():
    again = Run(**{f.name: getattr(DEEP, f.name) for f in dataclasses.fields(DEEP)})
    assert again.id == DEEP.id
    assert dataclasses.replace(DEEP, sigmas=[0.5, 1.0]).id == DEEP.id  # lists as JSON has them


def test_needs_and_name():
    assert BASE.needs == () and RANKING.needs == (BASE,) and DEEP.needs == (BASE, RANKING)
    assert str(DEEP) == "Deepcorr-1 blur (photographs, width 8, seed 0)"


@pytest.mark.parametrize(
    "change",
    [{"iterations": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"evaluate_every": 0}, {"augmentation": "cutmix"}],
)
def test_bad_schedules(change):
    with refused():
        dataclasses.replace(SCHEDULE, **change)


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


WHOLE = record_of().to_json()


def body(**changes):
    return json.dumps(json.loads(WHOLE) | changes)


DAMAGED = {
    "empty": "",
    "half": WHOLE[: len(WHOLE) // 2],
    "without its last brace": WHOLE.rstrip()[:-1],
    "two records": WHOLE + WHOLE,
    "a digit": WHOLE.replace("1.5", "2.5", 1),
    "accuracy": body(outcome=record_of(seed=3).outcome),
    "description": body(description=RANKING.description),
    "id": body(id="0" * 16),
    "checksum": body(checksum="0" * 64),
    "checksum of another kind": body(checksum=5),
    "schema": body(schema=99),
    "no schema": json.dumps({k: v for k, v in json.loads(WHOLE).items() if k != "schema"}),
    "a key more": body(note="better"),
    "a key less": json.dumps({k: v for k, v in json.loads(WHOLE).items() if k != "cost"}),
    "list": "[1, 2]",
    "list of records": f"[{WHOLE}]",
    "number": "3.5",
    "word": '"record"',
    "null": "null",
    "deep": "[" * 100_000,
    "a number of thousands of digits": "9" * 6000,
    "no seed": Record({}, {}, {}, {}).to_json(),
    "outcome of another kind": Record(BASE.description, [], {}, {}).to_json(),
    "not JSON": "accuracy: 0.9",
    "not text": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_records(store, case):
    store.put(record_of(RANKING))
    content = DAMAGED[case]
    store.path(BASE).write_bytes(content if isinstance(content, bytes) else content.encode())
    for read in (lambda: store.get(BASE), store.records, lambda: store.export(store.folder / "all.zip")):
        with refused(f"{BASE.id}.json"):
            read()
    assert listing(store.folder) == sorted([f"{BASE.id}.json", f"{RANKING.id}.json"])


def test_every_truncation_is_seen():
    for length in range(0, len(WHOLE) - 1, 7):
        with pytest.raises(InputError):
            Record.from_json(WHOLE[:length])


def test_every_changed_character_is_seen():
    for position in range(0, len(WHOLE) - 1, 11):
        changed = WHOLE[:position] + chr(ord(WHOLE[position]) ^ 1) + WHOLE[position + 1 :]
        try:
            record = Record.from_json(changed)
        except InputError as error:
            check_sentence(str(error))
        else:  # white space may change
            assert record == record_of()


def test_a_record_under_another_name(store):
    store.put(record_of(RANKING))
    store.path(RANKING).rename(store.path(BASE))
    with refused(f"{BASE.id}.json", RANKING.id):
        store.get(BASE)


def test_a_record_that_cannot_be_read(store):
    store.path(BASE).mkdir(parents=True)
    with refused(f"{BASE.id}.json"):
        store.get(BASE)


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


# ---------------------------------------------------------------- forged values, with a checksum that fits

PACKED = pack_bits(np.ones((3, 100), dtype=bool))
FORGED = {
    "a shape that is none": {"shape": "3", "zlib_base64": ""},
    "negative": PACKED | {"shape": [-3, 100]},
    "huge": PACKED | {"shape": [10**12, 10**12]},
    "too many": PACKED | {"shape": [3, 101 * 8]},
    "too few": PACKED | {"shape": [3, 4]},
    "one axis": pack_bits(np.ones(8, dtype=bool)),
    "no images": pack_bits(np.ones((3, 0), dtype=bool)),
    "no base64": PACKED | {"zlib_base64": 5},
    "no zlib": PACKED | {"zlib_base64": "AAAA"},
    "no dictionary": 7,
    "none": None,
    "more than it says": PACKED | {"zlib_base64": base64.b64encode(zlib.compress(bytes(2**27))).decode()},
}


@pytest.mark.parametrize("case", FORGED)
def test_forged_bits_are_refused(case):
    record = Record.from_json(Record(BASE.description, {"correct": FORGED[case]}, {}, {}).to_json())
    with refused("record", "run it again"):
        record.accuracy


@pytest.mark.parametrize("accuracy", [None, 0.5, [2.0], [-0.1], ["0.5"], [float("nan")], [[0.5]], {"conv1": [0.5]}, [True]])
def test_forged_accuracies_are_refused(accuracy):
    record = Record.from_json(Record(BASE.description, {"accuracy": accuracy}, {}, {}).to_json())
    with refused("accuracy", "0..1"):
        record.accuracy


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
