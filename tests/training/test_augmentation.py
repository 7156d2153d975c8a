"""Augmentations against loops over the images, with the draws told or known."""

import math

import numpy as np
import pytest
import torch
from support import refused

from dclib.training import AUGMENTATIONS, augment


def images_of(count, height=32, width=32):
    return 255 * torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(9))


def drawn(seed, count):
    """The uniform numbers [4, count] that `augment` will draw."""
    return torch.rand(4, count, generator=torch.Generator().manual_seed(seed)).tolist()


@pytest.mark.parametrize("height, width", [(32, 32), (9, 14)])
def test_pad_crop_flip_equals_a_loop(height, width):
    images = images_of(40, height, width)
    result = augment(images, "pad-crop-flip", torch.Generator().manual_seed(4))
    for i, (flip, down, right, _) in enumerate(zip(*drawn(4, 40))):
        padded = np.pad(images[i].numpy(), ((0, 0), (4, 4), (4, 4)))
        row, column = math.floor(down * 9), math.floor(right * 9)
        crop = padded[:, row : row + height, column : column + width]
        assert np.array_equal(result[i].numpy(), crop[:, :, ::-1] if flip < 0.5 else crop)


def test_pad_crop_flip_reaches_every_place_equally_often():
    marker = torch.zeros(1, 1, 32, 32)
    marker[0, 0, 16, 10] = 1
    result = augment(marker.expand(8100, 1, 32, 32), "pad-crop-flip", torch.Generator().manual_seed(0))
    _, _, rows, columns = result.nonzero(as_tuple=True)
    straight = columns < 16
    assert 0.47 < straight.double().mean() < 0.53
    counts = torch.zeros(9, 9).index_put_((rows[straight] - 12, columns[straight] - 6), torch.ones(()), accumulate=True)
    assert counts.min() > 20 and counts.max() < 90  # 50 expected


def fixed_draws(monkeypatch, flip, angle, down, right):
    """Let `augment` draw these: angle in degrees, shifts as shares of the image."""
    numbers = [0.0 if flip else 1.0, (angle / 20 + 1) / 2, (right / 0.15 + 1) / 2, (down / 0.15 + 1) / 2]
    monkeypatch.setattr(torch, "rand", lambda *size, **_: torch.tensor(numbers).view(4, 1).repeat(1, size[1]))


@pytest.mark.parametrize("size", [(32, 32), (9, 14)])
def test_rotate_shift_flip_of_nothing_is_the_identity(monkeypatch, size):
    images = images_of(5, *size)
    fixed_draws(monkeypatch, False, 0, 0, 0)
    assert torch.equal(augment(images, "rotate-shift-flip"), images)
    fixed_draws(monkeypatch, True, 0, 0, 0)
    assert torch.equal(augment(images, "rotate-shift-flip"), images.flip(3))


def test_shifts_repeat_the_nearest_pixel(monkeypatch):
    images = images_of(1, 40, 40)
    fixed_draws(monkeypatch, False, 0, 0.125, -0.075)  # 5 rows, 3 columns
    expected = np.pad(images[0].numpy(), ((0, 0), (5, 5), (5, 5)), mode="edge")[:, 10:50, 2:42]
    assert np.array_equal(augment(images, "rotate-shift-flip")[0].numpy(), expected)


def test_rotate_shift_flip_equals_a_loop():
    """Each output pixel is the nearest to where rotation, shift and flip point, and that place is never further off."""
    side, count = 32, 60
    ramp = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")).float()  # row, column
    result = augment(ramp.expand(count, 2, side, side), "rotate-shift-flip", torch.Generator().manual_seed(3)).numpy()
    middle = (side - 1) / 2
    y, x = np.mgrid[:side, :side] - middle
    for i, (flip, turn, right, down) in enumerate(zip(*drawn(3, count))):
        angle, sign = np.deg2rad((2 * turn - 1) * 20), -1 if flip < 0.5 else 1
        row = np.sin(angle) * sign * x + np.cos(angle) * y + (2 * down - 1) * 0.15 * side + middle
        column = np.cos(angle) * sign * x - np.sin(angle) * y + (2 * right - 1) * 0.15 * side + middle
        for found, place in ((result[i, 0], row), (result[i, 1], column)):
            assert np.abs(found - np.clip(place, 0, side - 1)).max() < 0.501


@pytest.mark.parametrize("name", ["none", "pad-crop-flip", "rotate-shift-flip"])
def test_augmentation_keeps_shape_range_and_input(name):
    images = images_of(6)
    before = images.clone()
    first, second = (augment(images, name, torch.Generator().manual_seed(seed)) for seed in (1, 1))
    assert torch.equal(images, before) and torch.equal(first, second)
    assert first.shape == images.shape and first.dtype == images.dtype
    assert 0 <= first.min() and first.max() <= 255
    if name != "none":
        assert not torch.equal(first, augment(images, name, torch.Generator().manual_seed(2)))


def test_unknown_augmentation():
    with refused("'cutmix'"):
        augment(images_of(1), "cutmix")


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_double_precision_turns_images_as_single_precision_does(name):
    images = images_of(20)
    single, double = (augment(images.to(d), name, torch.Generator().manual_seed(0)) for d in (torch.float32, torch.float64))
    assert double.dtype == torch.float64
    assert (single == double).double().mean() > 0.999  # a coordinate halfway between two pixels may go either way
