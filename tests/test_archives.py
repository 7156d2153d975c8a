"""Archives carry records and weights whole, bring in nothing when damaged, and never write outside the folder."""

import dataclasses
import errno
import io
import json
import shutil
import struct
import zipfile
from pathlib import Path

import pytest
from support import BASE, DEEP, RANKING, check_sentence, listing, record_of, refused

from dclib.errors import InputError
from dclib.files import write_whole
from dclib.results import CONTENTS, Record, Store

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
        else:  # a byte that says nothing about the contents
            assert store.records() == expected
            clear(store.folder)


def end_of(archive):
    """Where the last record of a zip file begins, which counts and finds the members."""
    return archive.rfind(b"PK\x05\x06")


def without_count(whole):
    """The archive as one without members."""
    end = end_of(whole)
    return whole[: end + 8] + bytes(8) + whole[end + 16 :]


def without_last(whole):
    """The archive as if one member fewer had been packed: its directory ends before the last."""
    end, last = end_of(whole), whole.rfind(b"PK\x01\x02")
    count, size = struct.unpack_from("<HxxI", whole, end + 8)
    start = end - size
    return (
        whole[:last]
        + whole[end : end + 8]
        + struct.pack("<HHII", *(count - 1,) * 2, last - start, start)
        + whole[end + 20 :]
    )


def without_first(whole):
    """The archive packed anew without its first member."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as file, zipfile.ZipFile(changed, "w") as fewer:
        for name in file.namelist()[1:]:
            fewer.writestr(name, file.read(name))
    return changed.getvalue()


@pytest.mark.parametrize("damage", [without_count, without_last, without_first])
def test_archives_that_lost_members_bring_in_nothing(filled, store, tmp_path, damage):
    """A zip file of which members are gone is a whole zip file all the same."""
    archive = tmp_path / "all.zip"
    filled.export(archive)
    archive.write_bytes(damage(archive.read_bytes()))
    with zipfile.ZipFile(archive) as file:
        assert file.testzip() is None and len(file.namelist()) < 5
    with refused("all.zip", "export it again"):
        store.import_(archive)
    assert not store.folder.exists()


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
        file.writestr(CONTENTS, "{}")
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
