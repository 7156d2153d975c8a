"""Dark, bright and distorted images pass; what is no image in 0..255, and no sigma, is refused."""

import math

import pytest
import torch
from support import refused
from white_images import noisy

from dclib.distortions import (
    DISTORTIONS,
    AdditiveWhiteGaussianNoise,
    GaussianBlur,
    additive_white_gaussian_noise,
    distort,
    levels,
)


@pytest.mark.parametrize("distortion", DISTORTIONS)
@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 3, 8, 8),
        torch.full((1, 3, 8, 8), 3.0),
        torch.zeros(2, 3, 8, 8).index_fill(3, torch.tensor([1]), 2.0),
        noisy(2, 3, 8, 8) / 60,
        torch.full((1, 1, 8, 8), 255.0),
    ],
)
def test_legitimately_dark_and_bright_images_pass(distortion, images):
    assert torch.isfinite(distort(images, distortion, 1.0)).all()


@pytest.mark.parametrize("distortion", DISTORTIONS)
def test_distorted_images_can_be_distorted_again(distortion):
    images = additive_white_gaussian_noise(noisy(2, 3, 8, 8), 50.0)
    assert images.min() < -20
    assert torch.isfinite(distort(images, distortion, 1.0)).all()


IMAGES = noisy(2, 3, 8, 8)


def altered(value):
    images = IMAGES.clone()
    images[1, 2, 3, 4] = value
    return images


BAD_IMAGES = {
    "scaled to 0..1": (IMAGES / 255, "multiply by 255"),
    "scaled to -1..1": (IMAGES / 127.5 - 1, "0..255"),
    "normalised": ((IMAGES - 128) / 64, "normalised"),
    "nan": (altered(math.nan), "NaN"),
    "inf": (altered(math.inf), "infinity"),
    "minus inf": (altered(-math.inf), "infinity"),
    "uint8": (IMAGES.byte(), "torch.uint8"),
    "int64": (IMAGES.long(), "torch.int64"),
    "bool": (IMAGES > 100, "torch.bool"),
    "complex": (IMAGES.to(torch.complex64), "torch.complex64"),
    "one image": (IMAGES[0], "[3, 8, 8]"),
    "one channel": (IMAGES[0, 0], "[8, 8]"),
    "video": (IMAGES[None], "[1, 2, 3, 8, 8]"),
    "no images": (IMAGES[:0], "[0, 3, 8, 8]"),
    "no pixels": (IMAGES[..., :0], "[2, 3, 8, 0]"),
    "numpy": (IMAGES.numpy(), "ndarray"),
    "nothing": (None, "NoneType"),
}


@pytest.mark.parametrize("distortion", DISTORTIONS)
@pytest.mark.parametrize("case", BAD_IMAGES)
def test_bad_images(distortion, case):
    images, word = BAD_IMAGES[case]
    with refused("images", word):
        distort(images, distortion, 1.0)


BAD_SIGMAS = [
    -1.0,
    math.nan,
    math.inf,
    -math.inf,
    torch.tensor([1.0, -1.0]),
    torch.tensor([1.0, math.nan]),
    torch.tensor([1.0]),
    torch.tensor([1.0, 2.0, 3.0]),
    torch.tensor([[1.0, 2.0]]),
    torch.zeros(0),
    "2",
    None,
    1j,
    [1.0, None],
]


@pytest.mark.parametrize("distortion", DISTORTIONS)
@pytest.mark.parametrize("sigma", BAD_SIGMAS, ids=str)
def test_bad_sigma(distortion, sigma):
    with refused("sigma"):
        distort(IMAGES, distortion, sigma)


@pytest.mark.parametrize("module", [GaussianBlur, AdditiveWhiteGaussianNoise])
@pytest.mark.parametrize("sigma", [-1.0, math.nan, math.inf, "2", None, torch.tensor([1.0, 2.0])], ids=str)
def test_modules_refuse_a_bad_sigma_when_they_are_made(module, sigma):
    with refused("sigma"):
        module(sigma)


def test_unknown_names():
    with refused("'fog'"):
        distort(IMAGES, "fog", 1.0)
    with refused("'fog'"):
        levels("cifar100", "fog")
    with refused("'cifar10'"):
        levels("cifar10", "blur")
