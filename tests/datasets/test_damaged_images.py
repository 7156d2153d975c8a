"""Damaged image files: they are left out, the data set stays the one it is, and every kind of record names them."""

import hashlib

import numpy as np
import pytest
import torch
from image_folders import cut, encoded, files, picture, write, write_imagenet
from support import check_sentence, refused

from dclib import datasets, transfer
from dclib.datasets import folders
from dclib.errors import InputError
from dclib.execution import inputs, obtain
from dclib.experiments import Run, Selection
from dclib.training import Schedule

TRAIN, VAL = 5, 4
#: One of the second class's images for training, one of the third class's for testing.
DAMAGED = ("train/n02/n02_1.JPEG", "val/n03/n03_2.JPEG")
BLURRED = {"distortion": "blur", "sigmas": (1.0, 2.0)}


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """A data folder with images in ImageNet's layout, read as nothing before it was."""
    monkeypatch.setenv("DCLIB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("DCLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(folders.VALIDATION, "imagenet20", 1)
    write_imagenet(tmp_path / "data" / "imagenet20", TRAIN, VAL)
    inputs._load.cache_clear()
    yield tmp_path / "data"
    inputs._load.cache_clear()


def publish(monkeypatch, name, fingerprint, names):
    """Let the published selection called `name` be this one."""
    digest = hashlib.sha256("".join(f"{name}\n" for name in names).encode()).hexdigest()
    monkeypatch.setitem(folders.SELECTION_FINGERPRINTS, name, fingerprint)
    monkeypatch.setitem(folders.SELECTION_FILES, name, digest)


def publish_imagenet20(monkeypatch, folder):
    """The fingerprint of the intact images, which are now the published ones."""
    root = folder / "imagenet20"
    names = [str(path.relative_to(root)) for part in ("train", "val") for path in files(root, part)]
    fingerprint = datasets.load("imagenet20").fingerprint
    publish(monkeypatch, "imagenet20", fingerprint, names)
    return fingerprint


def runs(fingerprint):
    """A run of every kind that reads a `Dataset`, tiny."""
    common = {"dataset": "imagenet20", "fingerprint": fingerprint, "classes": 3, "width": 2, "seed": 0}
    base = Run("train", "Baseline", **common, schedule=Schedule(2, 4, 0.01, (), 1, augmentation="none"))
    among = {**common, **BLURRED, "layers": ("conv1",), "ranking_images": 2, "ranking_split": "train", "base": base}
    rank = Run("rank", "Algorithm 1", **among)
    return {
        "train": base,
        "rank": rank,
        "evaluate": Run("evaluate", "Baseline", **common, **BLURRED, base=base),
        "swap": Run(
            "swap",
            "Figures 4 and 5",
            **among,
            fractions=(0.5,),
            selection=Selection("ranked", "local", "priority", ()),
            ranking=rank,
        ),
        "embed": Run("embed", "Baseline", **common, **BLURRED, base=base, features="bn8", shown=(0, 2)),
    }


def test_every_kind_of_run_leaves_damaged_images_out_and_names_them(folder, store, monkeypatch):
    described = runs(publish_imagenet20(monkeypatch, folder))
    for name in DAMAGED:
        cut(folder / "imagenet20" / name)
    records = {kind: obtain(run, store) for kind, run in described.items()}
    assert {kind: record.outcome.get("skipped_images") for kind, record in records.items()} == dict.fromkeys(
        described, list(DAMAGED)
    )
    for kind, levels in (("train", 1), ("evaluate", 3)):
        assert records[kind].hits.shape == (levels, 3 * VAL - 1)
        assert records[kind].outcome["images_per_class"] == [VAL, VAL, VAL - 1]
    assert records["rank"].outcome["images"] == 6 and records["embed"].outcome["labels"] == [0] * VAL + [2] * (VAL - 1)
    assert store.get(described["rank"]).outcome == records["rank"].outcome


def test_records_of_intact_images_name_none(folder, store):
    record = obtain(runs(datasets.load("imagenet20").fingerprint)["train"], store)
    assert not {"skipped_images", "images_per_class"} & set(record.outcome)


def test_a_transfer_names_them_too(folder, store, monkeypatch):
    root, count = folder / "caltech101" / "101_ObjectCategories", 5
    monkeypatch.setattr(transfer.draw_split, "__defaults__", (2, 1))
    for i in range(2 * count):
        write(root / "ab"[i // count] / f"{i}.jpg", encoded(picture(i)))
    fingerprint = datasets.caltech101().fingerprint
    publish(monkeypatch, "caltech101", fingerprint, [f"/{'ab'[i // count]}/{i}.jpg" for i in range(2 * count)])
    cut(root / "b" / "6.jpg")
    base = runs(datasets.load("imagenet20").fingerprint)["train"]
    run = Run("transfer", "Baseline", "caltech101", fingerprint, 2, 0, 0, base=base, features="bn8", trained_on="clean")
    assert obtain(run, store).outcome["skipped_images"] == ["b/6.jpg"]
    assert store.get(run).outcome["images"] == 2 * count - 1


def test_other_files_than_the_published_ones_are_refused_by_name(folder, store, monkeypatch):
    described = runs(publish_imagenet20(monkeypatch, folder))
    for name in DAMAGED:
        cut(folder / "imagenet20" / name)
    (folder / "imagenet20" / "val" / "n01" / "n01_0.JPEG").unlink()
    with refused("fingerprint", *DAMAGED):
        obtain(described["train"], store)
    assert not list(store.folder.glob("*.json"))


def test_other_pixels_without_damage_are_refused(folder, store, monkeypatch):
    described = runs(publish_imagenet20(monkeypatch, folder))
    (folder / "imagenet20" / "val" / "n01" / "n01_0.JPEG").write_bytes(encoded(picture(999)))
    with pytest.raises(InputError) as caught:
        obtain(described["train"], store)
    check_sentence(str(caught.value), "fingerprint")
    assert "amaged" not in str(caught.value)


def test_a_whole_data_set_is_known_by_its_files_damaged_or_not(folder, monkeypatch):
    (folder / "imagenet").symlink_to(folder / "imagenet20")
    monkeypatch.setitem(folders.VALIDATION, "imagenet", 1)
    monkeypatch.setattr(folders, "IMAGENET_COUNTS", {"classes": 3, "train": 3 * TRAIN, "val": 3 * VAL})
    for i in range(3):
        write(folder / "caltech101" / "101_ObjectCategories" / "ab"[i // 2] / f"{i}.jpg", encoded(picture(i)))
    monkeypatch.setitem(folders.COLLECTION_COUNTS, "caltech101", (3, 2))
    cut(folder / "caltech101" / "101_ObjectCategories" / "a" / "1.jpg")
    cut(folder / "imagenet" / DAMAGED[0])
    whole, collection = datasets.load("imagenet"), datasets.caltech101()
    assert (whole.fingerprint, whole.skipped) == (datasets.IMAGENET_FINGERPRINT, DAMAGED[:1])
    assert (collection.fingerprint, collection.skipped) == (datasets.whole_fingerprint("caltech101"), ("a/1.jpg",))
    assert collection.images.labels.tolist() == [0, 1]


def test_of_an_unpublished_selection_the_fingerprint_is_over_what_is_left(folder):
    before = datasets.load("imagenet20")
    cut(folder / "imagenet20" / DAMAGED[1])
    after = datasets.load("imagenet20")
    assert after.skipped == DAMAGED[1:] and after.fingerprint != before.fingerprint
    rest = np.delete(np.arange(3 * VAL), 2 * VAL + 2)
    assert torch.equal(after.test.images, before.test.images[rest])
