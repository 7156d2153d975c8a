"""The quality of an image without another to compare it with: natural scene statistics, as in BRISQUE (Mittal et al., 2012).

Grey values minus their local mean, divided by their local deviation, have much the same distribution in all photographs;
what is done to an image changes it. Its parameters, at two scales, are 36 numbers.
"""

import numpy as np
import torch
from scipy.special import gamma
from torch.nn import functional as F

from dclib.errors import InputError, check_images, check_pixel_range

#: Numbers per image: two of the coefficients and four of each of their four products with neighbours, at two scales.
FEATURES = 36
#: The window of local means: 7 taps of a Gaussian of 7/6 pixels. And what keeps flat regions from dividing by zero.
_RADIUS, _SIGMA, _FLOOR = 3, 7 / 6, 1.0
#: Neighbours: right, below, and both diagonals.
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
#: Shapes that a distribution may have: 2 is a Gaussian, 1 a Laplacian.
_SHAPES = np.arange(0.2, 10.001, 0.001)
_RATIOS = gamma(2 / _SHAPES) ** 2 / (gamma(1 / _SHAPES) * gamma(3 / _SHAPES))
#: Luminance of RGB (ITU-R BT.601).
_GREY = (0.299, 0.587, 0.114)


def natural_scene_statistics(images: torch.Tensor) -> np.ndarray:
    """36 numbers per image, float64 [N, 36], of float images [N, 3, H, W] in 0..255 with H and W at least 16.

    At each scale: shape and variance of the normalised coefficients; then for the products with each of four neighbours
    shape, mean, and variance to the left and to the right.

    Raises `InputError` for other images.
    """
    check_images(images)
    check_pixel_range(images)
    if images.shape[1] != 3 or min(images.shape[2:]) < 16:
        raise InputError(f"images: expected RGB images [N, 3, H, W] of at least 16x16 pixels, got {list(images.shape)}.")
    images = images.double()  # a small variance is the difference of large numbers
    grey = (images * images.new_tensor(_GREY).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return np.concatenate([_of_scale(grey), _of_scale(F.avg_pool2d(grey, 2))], 1)


def _of_scale(grey: torch.Tensor) -> np.ndarray:
    """18 numbers per image of one scale."""
    found = normalised(grey)[:, 0]
    parts = [symmetric(found.flatten(1))]
    for down, right in _SHIFTS:
        height, width = found.shape[1:]
        here = found[:, : height - down, max(0, -right) : width - max(0, right)]
        there = found[:, down:, max(0, right) : width - max(0, -right)]
        parts.append(asymmetric((here * there).flatten(1)))
    return np.concatenate(parts, 1)


def normalised(grey: torch.Tensor) -> torch.Tensor:
    """(grey - local mean) / (local deviation + 1), of [N, 1, H, W]; beyond the border its values go on."""
    taps = torch.exp(-0.5 * (torch.arange(-_RADIUS, _RADIUS + 1, dtype=grey.dtype, device=grey.device) / _SIGMA) ** 2)
    window = (taps / taps.sum()).view(1, 1, 1, -1)

    def local(values: torch.Tensor) -> torch.Tensor:
        padded = F.pad(values, (_RADIUS,) * 4, mode="replicate")
        return F.conv2d(F.conv2d(padded, window), window.mT)

    mean = local(grey)
    return (grey - mean) / ((local(grey**2) - mean**2).clamp(min=0).sqrt() + _FLOOR)


def symmetric(values: torch.Tensor) -> np.ndarray:
    """Shape and variance [N, 2] of the generalised Gaussian around 0 whose moments values [N, M] have."""
    square, size = _mean(values**2), _mean(values.abs())
    return np.stack([_shape(size**2 / square.clip(1e-12)), square], 1)


def asymmetric(values: torch.Tensor) -> np.ndarray:
    """Shape, mean, left and right variance [N, 4] of the asymmetric generalised Gaussian with the moments of [N, M]."""
    left, right = (
        _mean(part**2) / _mean((part != 0).to(values.dtype)).clip(1e-12)
        for part in (values.clamp(max=0), values.clamp(min=0))
    )
    uneven = np.sqrt(left.clip(1e-12) / right.clip(1e-12))
    ratio = _mean(values.abs()) ** 2 / _mean(values**2).clip(1e-12)
    shape = _shape(ratio * (uneven**3 + 1) * (uneven + 1) / (uneven**2 + 1) ** 2)
    mean = (np.sqrt(right) - np.sqrt(left)) * gamma(2 / shape) / np.sqrt(gamma(1 / shape) * gamma(3 / shape))
    return np.stack([shape, mean, left, right], 1)


def _mean(values: torch.Tensor) -> np.ndarray:
    return values.double().mean(1).cpu().numpy()


def _shape(ratio: np.ndarray) -> np.ndarray:
    """The shape whose squared mean size over its mean square is `ratio`; the nearest one that is known."""
    return np.interp(ratio, _RATIOS, _SHAPES)
