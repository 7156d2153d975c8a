"""Kernels of blur by name: Gaussian, defocus, motion and camera shake (Vasiljevic et al., 2016).

A kernel is a float64 tensor [odd, odd] whose sum is 1. At equal sigma all kinds move the light equally far: the variances
along rows and columns add up to 2 sigma^2, but for the pixels' size.
"""

import math
from functools import lru_cache

import numpy as np
import torch

from dclib.errors import InputError

#: The kinds, as in names such as "motion 2 45": kind, sigma, and where there is one its angle in degrees or number of a path.
KINDS = ("gaussian", "defocus", "motion", "shake")
#: Points of a path that light is spread over, and those that it runs through.
_STEPS, _KNOTS = 512, 6


@lru_cache(maxsize=256)
def named(name: str) -> torch.Tensor:
    """The kernel called "gaussian 2", "defocus 2", "motion 2 45" or "shake 2 7": kind, sigma, angle or number of the path.

    Raises `InputError` for another name.
    """
    kind, *numbers = name.split() or [""]
    try:
        sigma, *rest = map(float, numbers)
        if kind not in KINDS or len(rest) != (kind in ("motion", "shake")):
            raise ValueError
    except ValueError as error:
        raise InputError(
            f"kernel: expected a name such as gaussian 2, defocus 2, motion 2 45 or shake 2 7, got {name!r}."
        ) from error
    if not 0 < sigma < math.inf:
        raise InputError(f"kernel: expected a sigma above 0, got {name!r}.")
    if kind == "gaussian":
        return gaussian(sigma)
    if kind == "defocus":
        return disc(2 * sigma)
    return segment(1 + math.sqrt(24) * sigma, rest[0]) if kind == "motion" else camera_shake(sigma, int(rest[0]))


def gaussian(sigma: float) -> torch.Tensor:
    """A Gaussian whose window has 4 sigma + 1 taps per axis, as in Section 3.2."""
    radius = round(2 * sigma)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float64) / sigma).square())
    return scaled(taps[:, None] * taps)


def disc(radius: float) -> torch.Tensor:
    """A lens out of focus: the pixels whose centres lie within `radius` pixels; below 1 a single pixel."""
    if not 0 <= radius < math.inf:
        raise InputError(f"radius: expected a finite number of pixels >= 0, got {radius!r}.")
    axis = torch.arange(-int(radius), int(radius) + 1, dtype=torch.float64)
    return scaled((axis[:, None].square() + axis.square() <= radius**2).double())


def segment(length: float, angle: float = 0.0) -> torch.Tensor:
    """A camera that moves along a line of `length` pixels, 1 or more, at `angle` degrees, counterclockwise from the rows."""
    if not (1 <= length < math.inf and math.isfinite(angle)):
        raise InputError(
            f"motion: expected a length of 1 pixel or more and an angle in degrees, got {length!r} and {angle!r}."
        )
    reach = math.ceil((length - 1) / 2)
    points = 2 * 16 * max(1, reach)  # 16 a pixel, each in the middle of its own piece of the segment
    steps = ((torch.arange(points, dtype=torch.float64) + 0.5) / points - 0.5) * (length - 1)
    return _along(-math.sin(math.radians(angle)) * steps, math.cos(math.radians(angle)) * steps, reach)


def camera_shake(sigma: float, number: int) -> torch.Tensor:
    """A hand that trembles: light along a smooth path through random points, path `number` of as many as one likes.

    The path is a natural cubic spline through six points drawn uniformly from a square, run through in equal times; its
    middle is moved to the kernel's, and its size is such that the variances of both axes sum to twice the square of `sigma`.
    So paths of one number are alike at every sigma.
    """
    if not (0 < sigma < math.inf and number >= 0):
        raise InputError(f"shake: expected a sigma above 0 and a number from 0, got {sigma!r} and {number!r}.")
    path = smooth_path(np.random.RandomState(number).uniform(-1, 1, (_KNOTS, 2)), _STEPS)
    path -= path.mean(0)
    path *= math.sqrt(2) * sigma / math.sqrt(path.var(0).sum())
    rows, columns = torch.from_numpy(path).T
    return _along(rows, columns, math.ceil(np.abs(path).max()))


def smooth_path(points: np.ndarray, steps: int) -> np.ndarray:
    """`steps` places [steps, D] along the natural cubic spline through points [N, D] at the times 0, 1, .. N - 1."""
    count = len(points)
    system = 4 * np.eye(count) + np.eye(count, k=1) + np.eye(count, k=-1)
    system[[0, -1]] = np.eye(count)[[0, -1]]
    right = np.zeros_like(points)
    right[1:-1] = 6 * (points[2:] - 2 * points[1:-1] + points[:-2])
    second = np.linalg.solve(system, right)  # second derivatives at the points, zero at both ends
    times = (np.arange(steps) + 0.5) / steps * (count - 1)
    first = np.minimum(times.astype(int), count - 2)
    after = (times - first)[:, None]
    before = 1 - after
    return (
        before * points[first]
        + after * points[first + 1]
        + ((before**3 - before) * second[first] + (after**3 - after) * second[first + 1]) / 6
    )


def scaled(kernel: torch.Tensor) -> torch.Tensor:
    """The kernel divided by its sum."""
    return kernel / kernel.sum()


def _along(rows: torch.Tensor, columns: torch.Tensor, reach: int) -> torch.Tensor:
    """Light at places [steps], each shared out among its four pixels by its distance from them."""
    axis = torch.arange(-reach, reach + 1, dtype=torch.float64)
    return scaled((1 - (axis[:, None] - rows).abs()).clamp(min=0) @ (1 - (axis[:, None] - columns).abs()).clamp(min=0).mT)
