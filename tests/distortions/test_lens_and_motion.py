"""Blur of a lens and of a motion against OpenCV."""

import math

import cv2
import numpy as np
import pytest
import torch
from support import refused
from white_images import noisy

from dclib.distortions import defocus_blur, motion_blur


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
