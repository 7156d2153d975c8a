"""Kernels of blur against SciPy's spline, a point-by-point sum and OpenCV; and how far each kind spreads the light."""

import math

import cv2
import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline
from support import refused

from dclib import kernels
from dclib.distortions import blurs, camera_shake_blur, filtered, gaussian_window
from dclib.kernels import camera_shake, named, smooth_path

NAMES = ("gaussian 2", "defocus 2", "motion 2 0", "motion 2 20", "motion 2 135", "shake 2 0", "shake 2 7", "shake 3 100")


def variances(kernel):
    """Along rows and columns, in square pixels."""
    offset = torch.arange(len(kernel)) - len(kernel) // 2
    sides = kernel.sum(1), kernel.sum(0)
    return [((side * offset**2).sum() - (side * offset).sum() ** 2).item() for side in sides]


@pytest.mark.parametrize("name", NAMES)
def test_kernels_move_light_equally_far_and_lose_none(name):
    kernel, sigma = named(name), float(name.split()[1])
    assert kernel.dtype == torch.float64 and kernel.shape[0] == kernel.shape[1] and len(kernel) % 2 == 1
    assert (kernel >= 0).all() and math.isclose(kernel.sum(), 1)
    assert sum(variances(kernel)) == pytest.approx(2 * sigma**2, rel=0.16)  # a Gaussian's window is cut at 2 sigma
    offset = torch.arange(len(kernel)) - len(kernel) // 2
    assert abs((kernel.sum(0) * offset).sum()) < 1e-6 and abs((kernel.sum(1) * offset).sum()) < 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_paths_are_natural_cubic_splines(seed):
    points = np.random.default_rng(seed).normal(size=(6, 2))
    times = (np.arange(50) + 0.5) / 50 * 5
    np.testing.assert_allclose(smooth_path(points, 50), CubicSpline(range(6), points, bc_type="natural")(times), atol=1e-12)


def test_camera_shake_is_light_along_its_path():
    """Point by point, each shared out among four pixels; the path from SciPy."""
    sigma, number = 2.5, 3
    points = np.random.RandomState(number).uniform(-1, 1, (6, 2))
    path = CubicSpline(range(6), points, bc_type="natural")((np.arange(512) + 0.5) / 512 * 5)
    path = path - path.mean(0)
    path *= sigma * math.sqrt(2 / path.var(0).sum())
    reach = math.ceil(np.abs(path).max())
    expected = np.zeros((2 * reach + 1, 2 * reach + 1))
    for row, column in path + reach:
        top, left = math.floor(row), math.floor(column)
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            share = (1 - abs(row - top - i)) * (1 - abs(column - left - j))
            if share:
                expected[top + i, left + j] += share / 512
    np.testing.assert_allclose(camera_shake(sigma, number).numpy(), expected, atol=1e-12)


def test_paths_are_their_own():
    assert torch.equal(camera_shake(2, 4), camera_shake(2, 4))
    assert camera_shake(2, 4).shape != camera_shake(2, 5).shape or not torch.equal(camera_shake(2, 4), camera_shake(2, 5))


def test_gaussian_is_that_of_the_paper():
    window = torch.tensor(gaussian_window(1.5), dtype=torch.float64)
    torch.testing.assert_close(named("gaussian 1.5"), window[:, None] * window)


def test_images_are_filtered_as_opencv_does():
    images = 255 * torch.rand(2, 3, 24, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kernel = named("shake 2 1")
    expected = [
        cv2.filter2D(image.permute(1, 2, 0).numpy(), -1, kernel.numpy(), borderType=cv2.BORDER_CONSTANT) for image in images
    ]
    torch.testing.assert_close(camera_shake_blur(images, 2, 1), torch.from_numpy(np.stack(expected)).permute(0, 3, 1, 2))
    torch.testing.assert_close(blurs(("gaussian 1", "shake 2 1"))(images, 2), filtered(images, kernel).round())


@pytest.mark.parametrize(
    "name", ["", "box 2", "gaussian", "gaussian 2 3", "motion 2", "shake 1 x", "defocus 0", "gaussian nan"]
)
def test_other_names_are_refused(name):
    with refused("kernel", repr(name)):
        named(name)


def test_a_shake_needs_a_size():
    with refused("sigma above 0"):
        kernels.camera_shake(0, 1)
