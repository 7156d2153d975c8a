"""Gaussian blur against OpenCV and SciPy, what every distortion keeps, and the matrices that blur keeps."""

import math

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage
from white_images import noisy

from dclib import distortions
from dclib.distortions import (
    DISTORTIONS,
    LEVELS,
    AdditiveWhiteGaussianNoise,
    GaussianBlur,
    additive_white_gaussian_noise,
    distort,
    gaussian_blur,
    gaussian_window,
    levels,
)

BLUR_LEVELS = [("cifar100", 32, s) for s in LEVELS["cifar100"]["blur"]] + [
    ("imagenet", 256, s) for s in LEVELS["imagenet"]["blur"]
]


def opencv_blur(images, sigma):
    window = int(4 * sigma + 1)
    blurred = [
        cv2.GaussianBlur(
            image.permute(1, 2, 0).numpy(), (window, window), sigma, sigmaY=sigma, borderType=cv2.BORDER_CONSTANT
        )
        for image in images
    ]
    return torch.stack([torch.from_numpy(b).reshape(*b.shape[:2], -1).permute(2, 0, 1) for b in blurred])


def scipy_blur(images, sigma):
    """SciPy's Gaussian of the same window, with zeros outside of the image."""
    return torch.from_numpy(
        ndimage.gaussian_filter(images.double().numpy(), (0, 0, sigma, sigma), mode="constant", radius=round(2 * sigma))
    )


def test_levels_are_those_of_section_3_2():
    assert levels("cifar100", "blur") == (0.5, 1, 1.5, 2, 2.5, 3)
    assert levels("cifar100", "awgn") == (5, 10, 15, 20, 25, 30)
    assert levels("imagenet", "blur") == (1, 2, 3, 4, 5, 6)
    assert levels("imagenet", "awgn") == (10, 20, 40, 60, 80, 100)


@pytest.mark.parametrize("scale, size, sigma", BLUR_LEVELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_blur_equals_opencv(scale, size, sigma, dtype):
    images = noisy(2, 3, size, size, dtype=dtype)
    assert torch.allclose(gaussian_blur(images, sigma), opencv_blur(images, sigma), rtol=0, atol=1e-3)


@pytest.mark.parametrize("scale, size, sigma", BLUR_LEVELS)
def test_blur_equals_scipy(scale, size, sigma):
    images = noisy(2, 3, size, size, dtype=torch.float64)
    assert torch.allclose(gaussian_blur(images, sigma), scipy_blur(images, sigma), rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", [(1, 1, 33, 17), (2, 3, 5, 64), (3, 4, 1, 9), (1, 2, 2, 3), (2, 3, 1, 1)])
@pytest.mark.parametrize("sigma", [0.5, 1.5, 3.0, 6.0])
def test_blur_of_odd_shapes_and_images_smaller_than_the_window(shape, sigma):
    images = noisy(*shape, dtype=torch.float64)
    blurred = gaussian_blur(images, sigma)
    assert blurred.shape == images.shape
    assert torch.allclose(blurred, scipy_blur(images, sigma), rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", [(1, 2, 97, 129), (2, 1, 200, 65), (1, 1, 64, 300), (2, 1, 1, 130), (1, 1, 128, 192)])
@pytest.mark.parametrize("sigma", [0.3, 1.5, 6.0, 40.0])
def test_blur_block_by_block_where_blocks_end_anywhere(shape, sigma):
    images = noisy(*shape, dtype=torch.float64)
    assert torch.allclose(gaussian_blur(images, sigma), scipy_blur(images, sigma), rtol=0, atol=1e-10)
    several = torch.tensor([sigma, 2 * sigma], dtype=torch.float64)[: len(images)]
    assert torch.allclose(gaussian_blur(images, several)[:1], scipy_blur(images[:1], sigma), rtol=0, atol=1e-10)


def test_blur_takes_strided_images():
    images = noisy(2, 3, 16, 20)
    for strided in (images.to(memory_format=torch.channels_last), images.flip(3)[..., ::2], images[:, 1:]):
        assert torch.allclose(gaussian_blur(strided, 1.5), gaussian_blur(strided.contiguous(), 1.5))


@pytest.mark.parametrize("dtype, tolerance", [(torch.float16, 0.3), (torch.bfloat16, 2.5), (torch.float64, 1e-9)])
def test_blur_in_other_precisions(dtype, tolerance):
    images = noisy(2, 3, 32, 32, dtype=torch.float64)
    for sigma in (0.5, 3.0, torch.tensor([0.5, 3.0])):
        blurred = gaussian_blur(images.to(dtype), sigma)
        assert blurred.dtype == dtype
        assert torch.allclose(blurred.double(), gaussian_blur(images, sigma), rtol=0, atol=tolerance)


def test_one_sigma_per_image_equals_one_by_one():
    images = noisy(6, 3, 32, 32)
    sigmas = torch.tensor([0.0, 3.0, 0.5, 0.0, 1.5, 0.5])
    blurred = gaussian_blur(images, sigmas)
    for i, sigma in enumerate(sigmas.tolist()):
        assert torch.allclose(blurred[i : i + 1], gaussian_blur(images[i : i + 1], sigma), rtol=0, atol=1e-4)
    assert torch.equal(blurred[[0, 3]], images[[0, 3]])


@pytest.mark.parametrize("sigma", [2, 2.0, np.float32(2), torch.tensor(2.0), torch.tensor([2, 2]), [2.0, 2.0]])
def test_sigma_in_all_its_forms(sigma):
    images = noisy(2, 3, 8, 8)
    assert torch.allclose(gaussian_blur(images, sigma), gaussian_blur(images, 2.0), rtol=0, atol=1e-4)


@pytest.mark.parametrize("distortion", DISTORTIONS)
def test_sigma_zero_gives_an_equal_copy(distortion):
    images = noisy(2, 3, 8, 8)
    for sigma in (0, 0.0, torch.zeros(2)):
        result = distort(images, distortion, sigma)
        assert torch.equal(result, images) and result.data_ptr() != images.data_ptr()


@pytest.mark.parametrize("distortion", DISTORTIONS)
def test_the_input_is_not_changed(distortion):
    images = noisy(3, 3, 8, 8)
    before = images.clone()
    for sigma in (2.0, torch.tensor([0.0, 1.0, 2.0])):
        distort(images, distortion, sigma)
        assert torch.equal(images, before)


def test_window_has_4_sigma_plus_1_taps_that_sum_to_one():
    for distortion_levels in (LEVELS["cifar100"]["blur"], LEVELS["imagenet"]["blur"]):
        for sigma in distortion_levels:
            window = gaussian_window(sigma)
            assert len(window) == 4 * sigma + 1
            assert math.isclose(sum(window), 1) and window == window[::-1]
            assert math.isclose(window[-1] / window[len(window) // 2], math.exp(-0.5 * (round(2 * sigma) / sigma) ** 2))


def test_a_constant_image_stays_in_the_middle_and_darkens_at_the_border():
    blurred = gaussian_blur(torch.full((1, 1, 32, 32), 200.0), 2.0)[0, 0]
    assert torch.allclose(blurred[8:-8, 8:-8], torch.tensor(200.0), atol=1e-3)
    assert blurred[0, 16] < 130 and blurred[0, 0] < 80


def test_gradient_flows_through_blur():
    images = noisy(2, 2, 5, 6, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: gaussian_blur(x, 1.0), images)
    assert torch.autograd.gradcheck(lambda x: gaussian_blur(x, torch.tensor([0.5, 2.0])), images)


def test_gradient_flows_through_noise():
    images = noisy(2, 2, 5, 6).requires_grad_()
    additive_white_gaussian_noise(images, 5.0).sum().backward()
    assert torch.equal(images.grad, torch.ones_like(images))


def test_blur_first_used_without_gradients_can_be_differentiated_later():
    images = noisy(1, 1, 6, 23, dtype=torch.float64)  # sizes of no other test: nothing is cached
    with torch.inference_mode():
        gaussian_blur(images, 0.75)
    images.requires_grad_()
    gaussian_blur(images, 0.75).sum().backward()
    assert images.grad is not None


def test_modules_equal_their_functions():
    images = noisy(2, 3, 8, 8)
    assert torch.equal(GaussianBlur(1.5)(images), gaussian_blur(images, 1.5))
    noise = AdditiveWhiteGaussianNoise(5.0, torch.Generator().manual_seed(1))
    expected = torch.Generator().manual_seed(1)
    for _ in range(2):
        assert torch.equal(noise(images), additive_white_gaussian_noise(images, 5.0, expected))
    assert repr(GaussianBlur(1.5)) == "GaussianBlur(sigma=1.5)"
    assert not list(GaussianBlur(1.5).parameters())


# ---------------------------------------------------------------- what is kept


def test_kept_matrices_are_bounded_by_bytes(monkeypatch):
    monkeypatch.setattr(distortions, "_KEPT_BYTES", 8 * (100**2 + 90**2 + 80**2))
    distortions._KEPT.clear()

    def kept():
        return list(distortions._KEPT)

    for size in (70, 80, 90, 100):
        gaussian_blur(noisy(1, 1, size, size), 1.0)
    assert kept() == [(80, 1.0), (90, 1.0), (100, 1.0)]
    gaussian_blur(noisy(1, 1, 80, 80), 1.0)  # used again: the other ones go first
    gaussian_blur(noisy(1, 1, 85, 85), 1.0)
    assert kept() == [(100, 1.0), (80, 1.0), (85, 1.0)]
    gaussian_blur(noisy(1, 1, 400, 10), 1.0)  # too large to be kept, and it drives nothing out
    assert kept() == [(100, 1.0), (80, 1.0), (85, 1.0), (10, 1.0)]


def test_many_sizes_need_little_memory():
    for size in range(300, 1500, 20):
        gaussian_blur(torch.full((1, 1, size, 4), 100.0), 2.0)
    assert sum(matrix.nbytes for matrix in distortions._KEPT.values()) <= 64 * 2**20


def test_distortions_do_not_depend_on_the_default_precision():
    images = noisy(2, 3, 21, 20)
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    expected = gaussian_blur(images, 1.3), additive_white_gaussian_noise(images, 9.0, generators[0])
    distortions._KEPT.clear()
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(gaussian_blur(images, 1.3), expected[0])
        assert torch.equal(additive_white_gaussian_noise(images, 9.0, generators[1]), expected[1])
    finally:
        torch.set_default_dtype(torch.float32)
