"""Restoration told the true sigma: better than the distorted image, harmless where there is nothing to restore."""

import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from support import refused

from dclib.datasets.embedded import _grey_photograph
from dclib.distortions import additive_white_gaussian_noise, gaussian_blur
from dclib.restoration import deconvolve, denoise_bm3d

needs_bm3d = pytest.mark.skipif(find_spec("bm3d") is None, reason="bm3d is not installed: pip install 'dclib[restoration]'")


@pytest.fixture(scope="module")
def photographs():
    """Parts of two photographs as RGB with a tint: float [2, 3, 96, 90]."""
    grey = np.stack([_grey_photograph(name)[100:196, 150:240] for name in ("astronaut", "chelsea")])
    return torch.from_numpy(grey).float()[:, None] * torch.tensor([1.0, 0.9, 0.8]).view(3, 1, 1)


def psnr(images, truth):
    """Peak signal-to-noise ratio of every image in dB."""
    return 10 * torch.log10(255**2 / (images - truth).square().mean((1, 2, 3)))


@pytest.mark.parametrize("sigma, gain", [(1.0, 2.0), (2.0, 2.0), (4.0, 2.0), (6.0, 2.0)])
def test_deconvolution_undoes_blur(photographs, sigma, gain):
    blurred = gaussian_blur(photographs, sigma)
    restored = deconvolve(blurred, sigma)
    assert restored.shape == photographs.shape and restored.dtype == torch.float32
    assert (psnr(restored, photographs) > psnr(blurred, photographs) + gain).all()
    middle = (slice(None), slice(None), slice(30, -30), slice(30, -30))  # not by its border alone
    assert (psnr(restored[middle], photographs[middle]) > psnr(blurred[middle], photographs[middle])).all()


def test_deconvolution_needs_the_true_sigma(photographs):
    blurred = gaussian_blur(photographs, 3.0)
    right, wrong = (psnr(deconvolve(blurred, sigma), photographs) for sigma in (3.0, 6.0))
    assert (right > wrong + 3).all()


@needs_bm3d
def test_bm3d_removes_noise(photographs):
    part = photographs[..., 24:72, 24:72]
    noisy = additive_white_gaussian_noise(part, 40.0, torch.Generator().manual_seed(0))
    restored = denoise_bm3d(noisy, 40.0)
    assert restored.shape == part.shape and restored.dtype == torch.float32
    assert (psnr(restored, part) > psnr(noisy, part) + 6).all()


@needs_bm3d
def test_bm3d_hardly_touches_an_image_with_hardly_any_noise(photographs):
    part = photographs[:1, :, 20:52, 20:52]
    assert (denoise_bm3d(part, 0.1) - part).abs().max() < 1
    assert torch.equal(denoise_bm3d(part, 0), part)


@needs_bm3d
def test_bm3d_may_be_asked_from_two_threads(photographs):
    part = photographs[:1, :, 30:46, 30:46]
    with ThreadPoolExecutor(2) as pool:  # the package itself would end the process
        first, second = pool.map(lambda _: denoise_bm3d(part, 20.0), range(2))
    assert torch.allclose(first, second, atol=0.01)  # its own threads add up in any order


@pytest.mark.parametrize("sigma", [0, 0.1])
def test_deconvolution_leaves_a_sharp_image(photographs, sigma):
    assert torch.equal(deconvolve(photographs, sigma), photographs)


def test_order_of_the_images_stays(photographs):
    both, single = (deconvolve(images, 2.0) for images in (photographs.flip(0), photographs[1:]))
    assert torch.allclose(both[:1], single, atol=1e-3)


@pytest.mark.parametrize("restore", [deconvolve, denoise_bm3d])
@pytest.mark.parametrize(
    "images, sigma, word",
    [
        (torch.zeros(3, 64, 64), 1.0, "[3, 64, 64]"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), 1.0, "uint8"),
        (torch.rand(1, 3, 64, 64), 1.0, "0..255"),
        (torch.full((1, 3, 64, 64), torch.nan), 1.0, "NaN"),
        (torch.full((1, 3, 64, 64), 9.0), -1.0, "sigma"),
        (torch.full((1, 3, 64, 64), 9.0), float("nan"), "sigma"),
    ],
)
def test_bad_input(restore, images, sigma, word):
    with refused(word):
        restore(images, sigma)


def test_images_that_are_too_small():
    with refused("26", "3"):
        deconvolve(torch.full((1, 3, 20, 64), 9.0), 3.0)
    with refused("RGB", "8x8"):
        denoise_bm3d(torch.full((1, 3, 7, 64), 9.0), 3.0)
    with refused("RGB"):
        denoise_bm3d(torch.full((1, 1, 64, 64), 9.0), 3.0)


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "bm3d", None)
    with refused("bm3d", "dclib[restoration]"):
        denoise_bm3d(torch.full((1, 3, 16, 16), 9.0), 3.0)
