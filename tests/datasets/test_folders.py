"""Image folders: order, squashing, splits, damaged files, and the cache of decoded images."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from image_folders import SYNSETS, TRAIN, encoded, files, load_tiny, picture, squashed, write
from PIL import Image
from support import ROOT, refused

from dclib import datasets
from dclib.datasets import Split, Subset, folders

pytestmark = pytest.mark.usefixtures("folder")


# ---------------------------------------------------------------- content


def test_images_are_squashed_in_canonical_order(tiny):
    data = load_tiny()
    expected = torch.stack([squashed(path) for path in files(tiny, "val")])
    assert torch.equal(data.test.images, expected) and data.test.images.dtype == torch.uint8
    assert data.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.scale == "imagenet" and data.classes == SYNSETS and data.skipped == ()


def test_validation_images_come_from_the_training_folder_by_seed(tiny):
    everything = [squashed(path) for path in files(tiny, "train")]

    def places(split):
        found = [
            next(i for i, image in enumerate(everything) if torch.equal(image, split.images[j])) for j in range(len(split))
        ]
        assert [i // TRAIN for i in found] == split.labels.tolist()
        return found

    splits = [load_tiny(seed) for seed in (3, 3, 4)]
    held_out, kept = places(splits[0].validation), places(splits[0].train)
    assert sorted(held_out + kept) == list(range(3 * TRAIN)) and kept == sorted(kept)
    assert splits[0].validation.labels.bincount().tolist() == [2, 2, 2]
    assert places(splits[1].validation) == held_out != places(splits[2].validation)
    assert splits[0].fingerprint == splits[2].fingerprint


def test_fingerprint_covers_pixels_and_labels(tiny):
    before = load_tiny().fingerprint
    path = files(tiny, "val")[0]
    content = path.read_bytes()
    path.write_bytes(encoded(picture(999)))
    changed = load_tiny().fingerprint
    path.write_bytes(content)
    path.rename(tiny / "val" / "n02" / "a.JPEG")
    moved = load_tiny().fingerprint
    assert len({before, changed, moved}) == 3


def test_names_of_the_synsets(tiny):
    (tiny / "imagenet_synsets.txt").write_text("n01_tench\nn03_great_white_shark\nn99_other\n")
    assert load_tiny().classes == ("tench", "n02", "great_white_shark")


def test_labels_among_all_1000_classes(tiny, monkeypatch):
    monkeypatch.setitem(folders.VALIDATION, "imagenet20", 2)
    listed = [f"x{number}_none" for number in range(1000)]
    listed[7], listed[1], listed[999] = "n01_tench", "n02_shark", "n03_paper"
    (tiny / "imagenet_synsets.txt").write_text("\n".join(listed))
    data = datasets.imagenet_of_1000("imagenet20")
    assert data.test.labels.tolist() == [7, 7, 1, 1, 999, 999] and len(data.classes) == 1000
    assert data.classes[7] == "cock" and data.classes[999] == "toilet tissue"
    assert data.test.images.shape[1:] == (3, 224, 224)
    with Image.open(files(tiny, "val")[0]) as image:
        expected = np.asarray(image.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))
    assert torch.equal(data.test.images[0], torch.from_numpy(expected.transpose(2, 0, 1).copy()))
    assert set(data.train.labels.tolist()) == set(data.validation.labels.tolist()) == {1, 7, 999}


@pytest.mark.parametrize("lines, found", [("", "0 lines and 3"), ("n01_tench\n", "1 lines and 2")])
def test_a_list_of_other_synsets_is_refused(tiny, monkeypatch, lines, found):
    monkeypatch.setitem(folders.VALIDATION, "imagenet20", 2)
    (tiny / "imagenet_synsets.txt").write_text(lines)
    with refused("1,000 synsets", found):
        datasets.imagenet_of_1000("imagenet20")


@pytest.mark.parametrize("mode, kind", [("L", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "PNG"), ("P", "PNG"), ("1", "PNG")])
def test_every_kind_of_image_becomes_rgb(tiny, mode, kind):
    path = files(tiny, "val")[0]
    path.write_bytes(encoded(picture(5, mode=mode), kind))
    assert torch.equal(load_tiny().test.images[0], squashed(path))


def test_load_by_name(tiny, monkeypatch):
    monkeypatch.setitem(folders.VALIDATION, "imagenet20", 3)
    data = datasets.load("imagenet20", seed=1)
    assert torch.equal(data.validation.images, load_tiny(seed=1, validation=3).validation.images)
    (tiny.parent / "imagenet").symlink_to(tiny)
    monkeypatch.setitem(folders.VALIDATION, "imagenet", 1)
    assert datasets.load("imagenet").fingerprint == data.fingerprint  # the same pixels under another name
    assert datasets.fingerprint_of("imagenet") == datasets.IMAGENET_FINGERPRINT != data.fingerprint  # only the whole set
    assert set(folders.VALIDATION) == {"imagenet20", "imagenet"}


def test_caltech101_without_its_background_and_with_gaps_in_its_numbers(folder):
    root = folder / "caltech101" / "101_ObjectCategories"
    for i, name in enumerate(["ant/image_0002", "ant/image_0007", "BACKGROUND_Google/image_0001", "Faces/image_0003"]):
        write(root / f"{name}.jpg", encoded(picture(i)))
    found = datasets.caltech101()
    assert found.classes == ("Faces", "ant") and found.images.labels.tolist() == [0, 1, 1]
    assert torch.equal(found.images.images[2], squashed(root / "ant" / "image_0007.jpg"))
    assert found.name == "caltech101" and found.scale == "imagenet" and len(found.fingerprint) == 64


def test_sun397_has_the_classes_of_its_list(folder):
    root = folder / "SUN397"
    for i, name in enumerate(["a/abbey/sun_b", "a/apse/indoor/sun_a", "y/yard/sun_c", "a/abbey/sun_a"]):
        write(root / f"{name}.jpg", encoded(picture(i)))
    (root / "ClassName.txt").write_text("/a/abbey\n/a/apse/indoor\n")
    found = datasets.sun397()
    assert found.classes == ("a/abbey", "a/apse/indoor") and found.images.labels.tolist() == [0, 0, 1]
    assert torch.equal(found.images.images[0], squashed(root / "a/abbey/sun_a.jpg"))


# ---------------------------------------------------------------- damaged files


@pytest.mark.parametrize(
    "damage",
    [lambda c: c[: len(c) // 2], lambda c: b"", lambda c: b"<html></html>", lambda c: c[:300] + bytes(len(c))],
    ids=["cut", "empty", "text", "zeros"],
)
def test_damaged_image_is_named_and_skipped(tiny, caplog, damage):
    broken = files(tiny, "val")[2]
    expected = [squashed(path) for path in files(tiny, "val") if path != broken]
    broken.write_bytes(damage(broken.read_bytes()))
    with caplog.at_level(logging.WARNING):
        data = load_tiny()
    assert [str(broken) in record.getMessage() for record in caplog.records] == [True]
    assert data.skipped == ("val/n02/n02_0.JPEG",) and data.test.labels.tolist() == [0, 0, 1, 2, 2]
    assert torch.equal(data.test.images, torch.stack(expected))
    assert load_tiny().skipped == data.skipped  # from the cache


def test_damaged_training_images_move_no_label(tiny):
    broken = [files(tiny, "train")[i] for i in (0, 7)]
    for path in broken:
        path.write_bytes(b"")
    data = load_tiny()
    assert len(data.skipped) == 2 and len(data.train) + len(data.validation) == 13
    originals = [(squashed(path), SYNSETS.index(path.parent.name)) for path in files(tiny, "train") if path not in broken]
    for split in (data.train, data.validation):
        for i, label in enumerate(split.labels.tolist()):
            assert any(torch.equal(split.images[i], image) and label == own for image, own in originals)


# ---------------------------------------------------------------- bad folders


def test_empty_class(tiny):
    for path in (tiny / "train" / "n02").iterdir():
        path.unlink()
    with refused("n02", "train", "image files"):
        load_tiny()


def test_class_with_nothing_but_damaged_images(tiny):
    for path in (tiny / "val" / "n03").iterdir():
        path.write_bytes(b"no image")
    with refused("n03", "val", "intact"):
        load_tiny()


@pytest.mark.parametrize(
    "read, word",
    [
        (lambda: datasets.load("imagenet"), "imagenet/train"),
        (lambda: datasets.load("imagenet20"), "imagenet20/train"),
        (datasets.caltech101, "caltech101/101_ObjectCategories"),
        (datasets.sun397, "SUN397/ClassName.txt"),
    ],
)
def test_missing_folder(folder, read, word):
    with refused(word, "DCLIB_DATA", str(folder)):
        read()
    assert list(folder.iterdir()) == []


def test_classes_that_differ_between_train_and_val(tiny):
    (tiny / "val" / "n02").rename(tiny / "val" / "n07")
    with refused("n02, n07"):
        load_tiny()


@pytest.mark.parametrize("validation", [TRAIN, TRAIN + 1, 0, -1])
def test_validation_that_leaves_nothing(tiny, validation):
    with refused(str(validation)):
        load_tiny(validation=validation)


def test_sun397_without_any_class(folder):
    write(folder / "SUN397" / "ClassName.txt", b"")
    with refused("at least one class"):
        datasets.sun397()


# ---------------------------------------------------------------- rows of a large tensor


def test_rows_stand_for_an_indexed_tensor():
    images = torch.arange(40, dtype=torch.uint8).view(10, 1, 2, 2)
    index = torch.tensor([7, 1, 4])
    rows, expected = Subset(images, index), images[index]
    assert (len(rows), rows.shape, rows.dtype, rows.device, rows.ndim) == (3, expected.shape, torch.uint8, images.device, 4)
    for chosen in (1, slice(0, 2), torch.tensor([2, 0]), [2, 2]):
        assert torch.equal(rows[chosen], expected[chosen])
    assert rows.to("cpu") is rows
    assert torch.equal(rows.to("cpu", torch.float32), expected.float())
    assert rows.to("meta").shape == expected.shape
    split = Split(rows, torch.tensor([0, 1, 0]))
    assert torch.equal(split.take(torch.tensor([2])).images, expected[2:]) and split.to("cpu").images is rows


# ---------------------------------------------------------------- the real thing

REAL = Path(os.environ.get("DCLIB_DATA", ROOT.parent / "shared" / "data"))


def part_of(folder, place, names):
    """Links to some of the real classes, for the whole would take a minute to decode."""
    if not (REAL / place).is_dir():
        pytest.skip(f"{place} is not on this machine; set DCLIB_DATA to a folder that has it")
    for name in names:
        (folder / place / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / place / name).symlink_to(REAL / place / name)


def test_fingerprint_of_the_stand_in_is_known_without_its_images():
    assert datasets.fingerprint_of("imagenet20") == datasets.IMAGENET20_FINGERPRINT


@pytest.mark.slow
def test_real_imagenet_images(folder):
    part_of(
        folder,
        "imagenet20",
        ["train/n01440764", "train/n03888257", "val/n01440764", "val/n03888257", "imagenet_synsets.txt"],
    )
    data = datasets.load("imagenet20")
    assert data.classes == ("tench", "parachute") and data.skipped == ()
    assert [len(split) for split in (data.train, data.validation, data.test)] == [450, 50, 100]
    assert 60 < data.test.images.float().mean() < 180 and data.test.images.float().std() > 30


@pytest.mark.slow
def test_real_caltech101_and_sun397(folder):
    part_of(folder, "caltech101/101_ObjectCategories", ["cup", "anchor"])
    part_of(folder, "SUN397", ["a/aquarium", "o/ocean"])
    write(folder / "SUN397" / "ClassName.txt", b"/a/aquarium\n/o/ocean\n")
    objects, scenes = datasets.caltech101(), datasets.sun397()
    assert objects.classes == ("anchor", "cup") and objects.images.labels.bincount().tolist() == [40, 40]
    assert scenes.classes == ("a/aquarium", "o/ocean") and scenes.images.labels.bincount().tolist() == [45, 45]
