"""Blur against OpenCV and SciPy, noise against its moments; both against everything they must refuse."""

import math

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from support import refused

from dclib import distortions
from dclib.distortions import (
    DISTORTIONS,
    LEVELS,
    AdditiveWhiteGaussianNoise,
    GaussianBlur,
    additive_white_gaussian_noise,
    defocus_blur,
    distort,
    gaussian_blur,
    gaussian_window,
    levels,
    motion_blur,
)

BLUR_LEVELS = [("cifar100", 32, s) for s in LEVELS["cifar100"]["blur"]] + [
    ("imagenet", 256, s) for s in LEVELS["imagenet"]["blur"]
]


def noisy(*shape, dtype=torch.float32, seed=0):
    """White noise in 0..255: the hardest images to blur alike."""
    return 255 * torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


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


@pytest.mark.parametrize("sigma", [5.0, 30.0, 100.0])
def test_noise_has_the_mean_the_deviation_and_the_shape_of_a_normal(sigma):
    images = noisy(20, 3, 32, 32)
    noise = (additive_white_gaussian_noise(images, sigma, torch.Generator().manual_seed(1)) - images).flatten()
    assert abs(noise.mean()) < 4 * sigma / math.sqrt(len(noise))
    assert noise.std() == pytest.approx(sigma, rel=0.02)
    assert stats.kstest(noise[:5000].numpy() / sigma, "norm").pvalue > 0.01


def test_noise_is_independent_over_pixels_channels_and_images():
    images = torch.full((40, 3, 32, 32), 128.0)
    noise = additive_white_gaussian_noise(images, 10.0, torch.Generator().manual_seed(2)) - images
    bound = 5 / math.sqrt(noise.numel() / 3)
    for one, other in (
        (noise[..., 1:], noise[..., :-1]),
        (noise[..., 1:, :], noise[..., :-1, :]),
        (noise[:, 1:], noise[:, :-1]),
        (noise[1:], noise[:-1]),
    ):
        assert abs((one * other).mean() / 100) < bound


def test_noise_is_not_clipped():
    noise = additive_white_gaussian_noise(torch.tensor([0.0, 255.0]).view(2, 1, 1, 1).expand(2, 1, 32, 32), 30.0)
    assert noise.min() < -30 and noise.max() > 285


def test_equal_generators_give_equal_noise():
    images = noisy(2, 3, 8, 8)
    draw = [additive_white_gaussian_noise(images, 5.0, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draw[0], draw[1]) and not torch.equal(draw[0], draw[2])
    generator = torch.Generator().manual_seed(1)
    first, second = (additive_white_gaussian_noise(images, 5.0, generator) for _ in range(2))
    assert torch.equal(first, draw[0]) and not torch.equal(first, second)


def test_noise_without_a_generator_follows_the_global_seed():
    images = noisy(2, 3, 8, 8)
    torch.manual_seed(4)
    first = additive_white_gaussian_noise(images, 5.0)
    torch.manual_seed(4)
    assert torch.equal(first, additive_white_gaussian_noise(images, 5.0))


def test_one_noise_sigma_per_image():
    images = torch.full((3, 3, 32, 32), 128.0)
    noise = additive_white_gaussian_noise(images, torch.tensor([0.0, 5.0, 20.0])) - images
    assert not noise[0].any()
    assert noise[1].std() == pytest.approx(5, rel=0.1) and noise[2].std() == pytest.approx(20, rel=0.1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_noise_keeps_the_precision(dtype):
    images = noisy(2, 3, 16, 16, dtype=dtype)
    result = additive_white_gaussian_noise(images, torch.tensor([0.0, 10.0]))
    assert result.dtype == dtype and torch.equal(result[0], images[0]) and not torch.equal(result[1], images[1])


def test_modules_equal_their_functions():
    images = noisy(2, 3, 8, 8)
    assert torch.equal(GaussianBlur(1.5)(images), gaussian_blur(images, 1.5))
    noise = AdditiveWhiteGaussianNoise(5.0, torch.Generator().manual_seed(1))
    expected = torch.Generator().manual_seed(1)
    for _ in range(2):
        assert torch.equal(noise(images), additive_white_gaussian_noise(images, 5.0, expected))
    assert repr(GaussianBlur(1.5)) == "GaussianBlur(sigma=1.5)"
    assert not list(GaussianBlur(1.5).parameters())


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


# ---------------------------------------------------------------- lens and camera


def opencv_filter(images, kernel):
    filtered = [cv2.filter2D(image.permute(1, 2, 0).numpy(), -1, kernel, borderType=cv2.BORDER_CONSTANT) for image in images]
    return torch.stack([torch.from_numpy(f).permute(2, 0, 1) for f in filtered])


@pytest.mark.parametrize("radius, taps", [(1.0, 5), (1.5, 9), (2.0, 13), (3.0, 29)])
def test_defocus_equals_opencv(radius, taps):
    images, reach = noisy(2, 3, 20, 24), int(radius)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = (np.hypot(rows, columns) <= radius).astype(np.float32)
    assert disc.sum() == taps
    torch.testing.assert_close(defocus_blur(images, radius), opencv_filter(images, disc / taps), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("length", [3, 5, 9])
def test_motion_along_an_axis_is_opencvs_box(length):
    images = noisy(2, 3, 20, 24)
    # The segment from centre to centre: its ends cover half a pixel.
    box = np.full((1, length), 1 / (length - 1), np.float32)
    box[0, [0, -1]] /= 2
    torch.testing.assert_close(motion_blur(images, length), opencv_filter(images, box), rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(motion_blur(images, length, 90), opencv_filter(images, box.T), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("angle", [0, 30, 45, 77, 90, 135])
def test_motion_smears_a_point_along_its_angle(angle):
    point = torch.zeros(1, 1, 31, 31, dtype=torch.float64)
    point[..., 15, 15] = 255
    weights = motion_blur(point, 9, angle)[0, 0].numpy() / 255
    rows, columns = np.mgrid[15:-16:-1, -15:16]
    assert weights.sum() == pytest.approx(1) and (weights * rows).sum() == pytest.approx(0, abs=1e-9)
    spread = np.array([[(weights * a * b).sum() for b in (columns, rows)] for a in (columns, rows)])
    direction = np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
    along, across = direction @ spread @ direction, direction[::-1] * [1, -1] @ spread @ (direction[::-1] * [1, -1])
    assert along == pytest.approx(8**2 / 12, abs=0.6) and across < 0.4


@pytest.mark.parametrize("blur", [lambda x: defocus_blur(x, 0.5), lambda x: motion_blur(x, 1, 20)])
def test_the_smallest_lens_and_motion_leave_the_image(blur):
    images = noisy(1, 3, 8, 8)
    torch.testing.assert_close(blur(images), images)


def test_bad_lens_and_motion():
    images = noisy(1, 3, 8, 8)
    for bad in (-1.0, math.inf, math.nan):
        with refused("radius"):
            defocus_blur(images, bad)
        with refused("length"):
            motion_blur(images, bad)
    with refused("angle"):
        motion_blur(images, 3, math.nan)
    with refused("0..255"):
        defocus_blur(images / 255, 2.0)


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
