"""Decoded images are kept, and made again when a file or the cache itself changes."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from image_folders import TRAIN, VAL, files, load_tiny
from support import refused

from dclib.datasets import cache, cache_folder

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture
def decoding(monkeypatch):
    """Counts the images that are decoded."""
    seen = []
    real = cache._decode
    monkeypatch.setattr(cache, "_decode", lambda path, **how: seen.append(path) or real(path, **how))
    return seen


def test_images_are_decoded_once(tiny, decoding):
    first = load_tiny()
    assert len(decoding) == 3 * (TRAIN + VAL)
    again = load_tiny(seed=1)
    assert len(decoding) == 3 * (TRAIN + VAL) and torch.equal(again.test.images, first.test.images)
    assert again.fingerprint == first.fingerprint


def test_any_change_of_a_file_decodes_its_folder_again(tiny, decoding):
    load_tiny()
    decoding.clear()
    path = files(tiny, "val")[4]
    os.utime(path, ns=(0, 1_000_000_007))
    load_tiny()
    assert len(decoding) == 3 * VAL
    path.unlink()
    assert len(load_tiny().test) == 3 * VAL - 1


def damage_header(header, array):
    content = json.loads(header.read_text())
    header.write_text(json.dumps(content | {"fingerprint": "0" * 64}))


BROKEN = {
    "altered header": damage_header,
    "cut header": lambda header, array: header.write_bytes(header.read_bytes()[:40]),
    "no header": lambda header, array: header.unlink(),
    "another header": lambda header, array: header.write_text("[1, 2]"),
    "cut array": lambda header, array: array.write_bytes(array.read_bytes()[:-1]),
    "no array": lambda header, array: array.unlink(),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_cache_is_made_again(tiny, decoding, case):
    expected = load_tiny()
    images = expected.test.images.clone()
    (header,) = cache_folder().glob("imagenet20-val-*.json")
    BROKEN[case](header, header.with_suffix(".npy"))
    decoding.clear()
    found = load_tiny()
    assert len(decoding) == 3 * VAL
    assert torch.equal(found.test.images, images) and found.fingerprint == expected.fingerprint


def test_interrupted_decoding_leaves_nothing_behind(tiny, monkeypatch):
    real = cache._decode

    def interrupted(path, **how):
        if path.name == "n02_3.JPEG":
            raise KeyboardInterrupt
        return real(path, **how)

    monkeypatch.setattr(cache, "_decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_tiny()
    assert [path.suffix for path in cache_folder().iterdir()] == [".lock"]


def test_array_file_is_plain_numpy_and_mapped(tiny):
    data = load_tiny()
    (array,) = cache_folder().glob("imagenet20-val-*.npy")
    assert np.array_equal(np.load(array), data.test.images.numpy())
    maps = Path("/proc/self/maps")
    if maps.exists():
        (line,) = [line for line in maps.read_text().splitlines() if str(array) in line]
        assert line.split()[1] == "r--s"  # read-only and shared: counts against no limit of memory


def test_cache_lies_with_the_data_unless_that_is_read_only(folder, monkeypatch):
    monkeypatch.delenv("DCLIB_CACHE")
    assert cache_folder() == folder / "cache"
    folder.chmod(0o555)
    assert cache_folder() == Path.home() / ".cache" / "dclib" / "cache"
    folder.chmod(0o755)
    monkeypatch.setenv("DCLIB_CACHE", "~/elsewhere")
    assert cache_folder() == Path.home() / "elsewhere"


def test_cache_folder_that_cannot_be_made(tiny, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DCLIB_CACHE", str(tmp_path / "file" / "cache"))
    with refused("DCLIB_CACHE", "GB"):
        load_tiny()
