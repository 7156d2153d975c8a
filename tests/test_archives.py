"""Archives carry records and weights whole, bring in nothing when damaged, and never write outside the folder."""

import dataclasses
import errno
import json
import shutil
import zipfile
from pathlib import Path

import pytest
from support import BASE, DEEP, RANKING, check_sentence, listing, record_of, refused

from dclib.errors import InputError
from dclib.files import write_whole
from dclib.results import Record, Store

WHOLE = record_of().to_json()


@pytest.fixture
def filled(tmp_path):
    store = Store(tmp_path / "there")
    for run in (BASE, RANKING, DEEP):
        store.put(record_of(run))
    store.put_weights(BASE, bytes(range(256)) * 40)
    return store


def test_archives_carry_records_and_weights(filled, store, tmp_path):
    archive = tmp_path / "all.zip"
    assert filled.export(archive) == 3
    assert store.import_(archive) == 3
    assert store.records() == filled.records()
    assert store.weights(BASE).read_bytes() == filled.weights(BASE).read_bytes()
    assert listing(store.folder) == listing(filled.folder)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["all.zip", "results", "there"]


def test_archives_without_weights(filled, store, tmp_path):
    filled.export(tmp_path / "all.zip", weights="none")
    store.import_(tmp_path / "all.zip")
    assert len(store.records()) == 3 and not store.weights(BASE).exists()


def test_archives_carry_what_other_runs_start_from(filled, store, tmp_path):
    later = next(
        Record.from_json(p.read_text())
        for p in filled.folder.glob("*.json")
        if "base" in json.loads(p.read_text())["description"]
    )
    for folder, name in (("weights", later.id), ("checkpoints", "0123456789abcdef")):
        write_whole(filled.folder / folder / f"{name}.safetensors", b"bytes")
    filled.export(tmp_path / "some.zip")
    store.import_(tmp_path / "some.zip")
    files = {str(p.relative_to(store.folder)) for p in store.folder.rglob("*.safetensors")}
    assert files == {f"weights/{BASE.id}.safetensors", "checkpoints/0123456789abcdef.safetensors"}
    filled.export(tmp_path / "all.zip", weights="all")
    store.import_(tmp_path / "all.zip")
    assert (store.folder / "weights" / f"{later.id}.safetensors").read_bytes() == b"bytes"


def test_import_adds_to_what_is_there(filled, store, tmp_path):
    other = dataclasses.replace(BASE, seed=7)
    store.put(record_of(other))
    filled.export(tmp_path / "all.zip")
    store.import_(tmp_path / "all.zip")
    store.import_(tmp_path / "all.zip")
    assert len(store.records()) == 4 and store.get(other) == record_of(other)


def test_damaged_archives_bring_in_nothing(filled, store, tmp_path):
    archive = tmp_path / "all.zip"
    filled.export(archive)
    whole = archive.read_bytes()
    expected = filled.records()
    damaged = [whole[:length] for length in range(0, len(whole), len(whole) // 23)]
    step = len(whole) // 200
    damaged += [whole[:i] + bytes([whole[i] ^ 0x55]) + whole[i + 1 :] for i in range(0, len(whole), step)]
    for content in [b"", b"PK", b"hello", *damaged]:
        archive.write_bytes(content)
        try:
            store.import_(archive)
        except InputError as error:
            check_sentence(str(error), "all.zip")
            assert listing(store.folder.parent) == listing(tmp_path) and not store.folder.exists()
        else:  # a byte that says nothing about the contents, or a file that lost its ending
            assert all(record in expected for record in store.records())
            clear(store.folder)


def clear(folder):
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    folder.rmdir()


def test_archives_with_a_bad_record_bring_in_nothing(filled, store, tmp_path):
    archive = tmp_path / "all.zip"
    filled.export(archive)
    for name, content in (("zzz.json", WHOLE[:-30]), ("zzz.json", "[]"), ("zzz.json", b"\xff")):
        with zipfile.ZipFile(archive, "a") as file:
            file.writestr(name, content)
        with refused("all.zip"):
            store.import_(archive)
        assert not store.folder.exists()
        filled.export(archive)


@pytest.mark.parametrize("prefix", ["../", "../../", "/", "weights/../../", "C:\\", "..\\..\\"])
def test_names_in_archives_cannot_leave_the_folder(tmp_path, prefix):
    store, archive = Store(tmp_path / "a" / "b" / "results"), tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(f"{prefix}{BASE.id}.json", WHOLE)
        file.writestr(f"{prefix}evil.safetensors", b"evil")
        file.writestr(f"{prefix}script.py", b"evil")
    store.import_(archive)
    outside = [p for p in tmp_path.rglob("*") if p.is_file() and store.folder not in p.parents and p != archive]
    assert outside == [] and store.get(BASE) == record_of()
    assert not Path("/evil.safetensors").exists() and not list(store.folder.rglob("*.py"))


def test_missing_archives(store, tmp_path):
    with refused("gone.zip"):
        store.import_(tmp_path / "gone.zip")
    with refused(str(tmp_path)):
        store.import_(tmp_path)


def test_exports_where_nothing_can_be_written(filled, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.zip").mkdir()
    before = listing(tmp_path)
    for archive in (tmp_path / "missing" / "all.zip", tmp_path / "file" / "all.zip", tmp_path / "folder.zip"):
        with refused("export"):
            filled.export(archive)
    assert listing(tmp_path) == before


def test_an_export_to_a_full_disk_keeps_the_old_archive(filled, tmp_path, monkeypatch):
    archive = tmp_path / "all.zip"
    filled.export(archive)
    whole = archive.read_bytes()

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "write", fail)
    with refused("No space left"):
        filled.export(archive)
    assert archive.read_bytes() == whole and sorted(p.name for p in tmp_path.iterdir()) == ["all.zip", "there"]


BOMBS = {
    "a record of nothing": ("bomb.json", b" " * 2**26, zipfile.ZIP_DEFLATED),
    "weights of nothing": (f"weights/{BASE.id}.safetensors", bytes(2**26), zipfile.ZIP_DEFLATED),
    "packed in another way": (f"weights/{BASE.id}.safetensors", b"0" * 100, zipfile.ZIP_BZIP2),
}


@pytest.mark.parametrize("case", BOMBS)
def test_archives_that_blow_up_bring_in_nothing(filled, store, tmp_path, case, monkeypatch):
    archive = tmp_path / "all.zip"
    filled.export(archive, weights="none")
    name, content, how = BOMBS[case]
    with zipfile.ZipFile(archive, "a", how) as file:
        file.writestr(name, content)
    monkeypatch.setattr(zipfile.ZipFile, "read", None)  # nothing is unpacked
    with refused("all.zip", "too large"):
        store.import_(archive)
    assert not store.folder.exists()


def test_archives_larger_than_the_disk_bring_in_nothing(filled, store, tmp_path, monkeypatch):
    filled.export(tmp_path / "all.zip", weights="all")
    monkeypatch.setattr("dclib.results.shutil.disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**3))
    with refused("all.zip", "disk"):
        store.import_(tmp_path / "all.zip")
    assert not store.folder.exists()
