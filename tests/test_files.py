"""Files written whole or not at all: by several at once, interrupted, on a full disk, into a folder that is none."""

import os
import threading

import pytest
from support import listing, refused, small_net

from dclib.correction import UnitDesign, correct, load, save
from dclib.files import whole, write_whole


def test_an_interrupted_block_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "a.bin"
    write_whole(path, b"old")
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error), whole(path) as temporary:
            temporary.write_bytes(b"half")
            raise error
        assert path.read_bytes() == b"old" and listing(tmp_path) == ["a.bin"]


def test_a_file_is_on_the_disk_before_it_gets_its_name_and_its_name_before_what_follows(tmp_path, monkeypatch):
    order = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: (order.append("fsync"), sync(number))[1])
    monkeypatch.setattr("pathlib.Path.replace", lambda self, target: (order.append("replace"), replace(self, target))[1])
    write_whole(tmp_path / "a.bin", b"123")
    assert order == ["fsync", "replace", "fsync"] and (tmp_path / "a.bin").read_bytes() == b"123"


def test_many_may_save_to_one_path_at_once(tmp_path):
    network, path, errors = correct(small_net(), {"conv1": [0]}, UnitDesign(2)), tmp_path / "n.safetensors", []

    def save_often():
        for _ in range(20):
            try:
                save(network, path)
            except Exception as error:  # whatever it is, the test shows it
                errors.append(error)

    threads = [threading.Thread(target=save_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and listing(tmp_path) == ["n.safetensors"]
    assert load(small_net(), path).correction == network.correction


@pytest.mark.parametrize("where", ["file/a.bin", "file/b/a.bin"])
def test_a_folder_that_is_a_file(tmp_path, where):
    (tmp_path / "file").touch()
    with refused("room", "DCLIB_RESULTS"):
        write_whole(tmp_path / where, b"123")
    with refused("room", "name another"):
        write_whole(tmp_path / where, b"123", "name another")
    assert listing(tmp_path) == ["file"]
