"""Image folders of the tests: an empty one, and ImageNet's layout with three classes in it."""

import pytest
from image_folders import TRAIN, VAL, write_imagenet


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """An empty data folder, with a cache of its own beside it."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("DCLIB_DATA", str(folder))
    monkeypatch.setenv("DCLIB_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def tiny(folder):
    """ImageNet's layout, with `TRAIN` and `VAL` images of each of three classes."""
    return write_imagenet(folder / "imagenet20", TRAIN, VAL)
