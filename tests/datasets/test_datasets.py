"""The embedded photographs, the order of images, samples and splits."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from support import refused

from dclib import datasets
from dclib.datasets import canonical_order, embedded, per_class_sample

COUNTS = (7, 3, 4)


# ---------------------------------------------------------------- photographs


@pytest.fixture(scope="module")
def photographs():
    return datasets.photographs(*COUNTS)


def test_photographs_have_the_counts_asked_for(photographs):
    assert len(photographs.classes) == 19 == len(set(photographs.classes))
    for split, count in zip((photographs.train, photographs.validation, photographs.test), COUNTS):
        assert split.images.shape == (19 * count, 3, 32, 32) and split.images.dtype == torch.uint8
        assert split.labels.dtype == torch.int64 and split.labels.bincount().tolist() == [count] * 19


def test_photographs_are_the_same_every_time(photographs):
    again = datasets.photographs.__wrapped__(*COUNTS)
    assert again is not photographs and again.fingerprint == photographs.fingerprint
    for name in ("train", "validation", "test"):
        assert torch.equal(getattr(again, name).images, getattr(photographs, name).images)
    assert datasets.photographs.__wrapped__(*COUNTS, seed=1).fingerprint != photographs.fingerprint


def test_fingerprint_of_photographs_covers_every_pixel_and_label(photographs):
    digest = hashlib.sha256()
    for split in (photographs.train, photographs.validation, photographs.test):
        digest.update(split.images.permute(0, 2, 3, 1).contiguous().numpy().tobytes())
        digest.update(split.labels.numpy().tobytes())
    assert digest.hexdigest() == photographs.fingerprint


def test_first_photographs_only(photographs):
    some = datasets.photographs(*COUNTS, 0, 5)
    assert some.classes == photographs.classes[:5] and some.fingerprint != photographs.fingerprint
    for name in ("train", "validation", "test"):
        split, whole = getattr(some, name), getattr(photographs, name)
        assert torch.equal(split.images, whole.images[whole.labels < 5]) and split.labels.max() == 4
    for count in (1, 20):
        with refused("classes", str(count)):
            datasets.photographs(*COUNTS, 0, count)


def test_patches_of_one_tile_say_so(photographs):
    """No tile serves two splits or two classes, and a part of the images keeps its tiles."""
    seen = {}
    for name in ("train", "validation", "test"):
        split = getattr(photographs, name)
        for number, label in zip(split.tiles.tolist(), split.labels.tolist()):
            assert seen.setdefault(number, (name, label)) == (name, label)
        part = split.take(torch.arange(0, len(split), 3))
        assert torch.equal(part.tiles, split.tiles[::3]) and torch.equal(part.to("cpu").tiles, part.tiles)
    assert (
        datasets.photographs(*COUNTS, 0, 5).test.tiles.tolist()
        == photographs.test.tiles[photographs.test.labels < 5].tolist()
    )


def test_patches_lie_inside_tiles_that_belong_to_one_split(monkeypatch):
    # Tile i of 63 has columns of 252 and of 252 (i + 1) / 64, so that any tint leaves the ratio i + 1 to 64.
    tiles = np.full((7, 48, 9, 48), 252.0)
    tiles[:, :, :, 1::2] *= (np.arange(63).reshape(7, 1, 9, 1) + 1) / 64
    monkeypatch.setattr(embedded, "_grey_photograph", lambda name: tiles.reshape(7 * 48, 9 * 48))
    data = datasets.photographs.__wrapped__(60, 40, 40)
    for label in range(19):
        seen = []
        for split in (data.train, data.validation, data.test):
            images = split.images[split.labels == label].double()
            columns = images.mean(2)  # [N, 3, 32]; all rows of a tile are equal
            even, odd = columns[..., 0::2], columns[..., 1::2]
            bright = torch.maximum(even.amax(-1), odd.amax(-1))
            dark = torch.minimum(even.amin(-1), odd.amin(-1))
            assert torch.allclose(torch.maximum(even, odd), bright[..., None].expand_as(even))
            assert torch.allclose(torch.minimum(even, odd), dark[..., None].expand_as(even))
            number = (dark / bright * 64).round().long() - 1
            assert (number == number[:, :1]).all()
            seen.append(set(number[:, 0].tolist()))
            pairs = set(zip(number[:, 0].tolist(), split.tiles[split.labels == label].tolist()))
            assert len(pairs) == len(seen[-1]) == len({told for _, told in pairs})  # patches of one tile, and of no other
        assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]
        assert len(set.union(*seen)) > 40


def test_patches_are_tinted_grey(photographs):
    images = photographs.train.images.double()
    middle = (images > 60) & (images < 230)
    usable = middle.all(1, keepdim=True)
    ratio = (images / images[:, :1].clamp(min=1)).where(usable, torch.nan)
    spread = ratio.flatten(2).nanquantile(0.9, -1) - ratio.flatten(2).nanquantile(0.1, -1)
    assert spread[~spread.isnan()].max() < 0.05  # one tint per patch, up to rounding
    assert len(ratio[:, 1].flatten(1).nanmean(1).unique()) > 100


@pytest.mark.parametrize("counts", [(0, 1, 1), (1, 0, 1), (1, 1, -1)])
def test_photographs_refuse_empty_splits(counts):
    with refused("photographs"):
        datasets.photographs(*counts)


def test_a_photograph_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(embedded, "PHOTOGRAPHS", ("astronaut", "loch_ness"))
    with refused("'loch_ness'", "skimage"):
        datasets.photographs.__wrapped__(*COUNTS)


def test_load_by_name(photographs):
    with refused("'mnist'"):
        datasets.load("mnist")
    with refused("'mnist'"):
        datasets.fingerprint_of("mnist")


# ---------------------------------------------------------------- order and samples


def test_canonical_order_is_by_label_then_by_file_name():
    labels = np.array([2, 0, 2, 1, 0])
    names = np.array(["b.png", "z.png", "a.png", "m.png", "y.png"])
    assert canonical_order(labels, names).tolist() == [4, 1, 3, 2, 0]
    expected = sorted(range(5), key=lambda i: (labels[i], names[i]))
    assert canonical_order(labels, names).tolist() == expected


def test_per_class_sample():
    labels = torch.from_numpy(np.random.RandomState(3).permutation(np.repeat(np.arange(6), 9)))
    chosen = per_class_sample(labels, 4, seed=1)
    assert labels[chosen].tolist() == np.repeat(np.arange(6), 4).tolist()
    assert len(chosen.unique()) == 24
    assert torch.equal(chosen, per_class_sample(labels, 4, seed=1))
    assert not torch.equal(chosen, per_class_sample(labels, 4, seed=2))
    assert per_class_sample(labels, 9, seed=1).sort().values.tolist() == list(range(54))


@pytest.mark.parametrize("count, word", [(10, "class 0"), (0, "count"), (-1, "count")])
def test_per_class_sample_refuses(count, word):
    with refused(word, str(count)):
        per_class_sample(torch.arange(6).repeat_interleave(9), count, seed=0)


def test_split_takes_by_index():
    split = datasets.Split(torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1), torch.arange(4))
    taken = split.take(torch.tensor([3, 1]))
    assert taken.images.flatten().tolist() == taken.labels.tolist() == [3, 1] and len(taken) == 2


def test_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("DCLIB_DATA", str(tmp_path))
    assert datasets.data_folder() == tmp_path
    monkeypatch.setenv("DCLIB_DATA", "~/somewhere")
    assert datasets.data_folder() == Path.home() / "somewhere"
    monkeypatch.delenv("DCLIB_DATA")
    assert datasets.data_folder() == Path.home() / ".cache" / "dclib"


# ---------------------------------------------------------------- splits are checked where they are made

IMAGES = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)


@pytest.mark.parametrize(
    "images, labels, word",
    [
        (IMAGES, torch.arange(4).int(), "int32"),
        (IMAGES, torch.arange(4).byte(), "uint8"),
        (IMAGES, torch.arange(4.0), "float32"),
        (IMAGES, torch.eye(4).long(), "[4, 4]"),
        (IMAGES, torch.arange(3), "[3]"),
        (IMAGES, torch.tensor([0, 1, 2, -1]), "-1"),
        (IMAGES, [0, 1, 2, 3], "list"),
        (IMAGES, torch.ones(4).bool(), "bool"),
        (IMAGES / 255, torch.arange(4), "0..255"),
        (IMAGES.float(), torch.arange(4), "byte()"),
        (IMAGES.long(), torch.arange(4), "int64"),
        (IMAGES[0], torch.arange(3), "[3, 8, 8]"),
        (IMAGES[:, 0], torch.arange(4), "[4, 8, 8]"),
        (IMAGES.numpy(), torch.arange(4), "ndarray"),
        (IMAGES[..., :0], torch.arange(4), "[4, 3, 8, 0]"),
        (IMAGES.half(), torch.arange(4), "float16"),
    ],
)
def test_what_is_no_split(images, labels, word):
    with refused(word):
        datasets.Split(images, labels)


def test_rows_are_checked_as_tensors_are():
    index = torch.tensor([2, 0])
    assert len(datasets.Split(datasets.Subset(IMAGES, index), torch.tensor([1, 0]))) == 2
    with refused("float32"):
        datasets.Split(datasets.Subset(IMAGES.float(), index), torch.tensor([1, 0]))
    with refused("[4]"):
        datasets.Split(datasets.Subset(IMAGES, index), torch.arange(4))
