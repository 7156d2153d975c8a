"""Restoration before classification, the rivals of Tables 7 and 8. Both are told the true sigma; DeepCorrect is not.

BM3D is the authors' own package. NCSR, which the paper uses against blur, has no maintained Python port: a Wiener
deconvolution with the true kernel stands in for it, and tables that use it have to say so.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch.nn import functional as F

from dclib.distortions import gaussian_blur, gaussian_window
from dclib.errors import InputError, check_images, check_pixel_range

#: Weight of the Wiener filter's regulariser, the same at every level: it helps under each of ImageNet's six.
BALANCE = 0.01
_ONE_AT_A_TIME = threading.Lock()


def denoise_bm3d(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Noisy images restored by BM3D with block matching on the luminance (Dabov et al.; Table 8).

    Takes seconds an image. The package spreads each image over all cores itself, and does not stand being called twice
    at once; so images follow one another here.

    Args:
        images: float tensor [N, 3, H, W] on the 0..255 scale, noise not clipped, H and W at least 8.
        sigma: the noise's true standard deviation on that scale; 0 leaves the images as they are.

    Returns:
        A new tensor of the same shape, dtype and device.

    Raises:
        InputError: the package bm3d is not installed; wrong shape, range or sigma.
    """
    _check(images, sigma)
    if images.shape[1] != 3 or min(images.shape[2:]) < 8:
        raise InputError(f"images: expected RGB images [N, 3, H, W] of at least 8x8 pixels, got {list(images.shape)}.")
    try:
        from bm3d import bm3d_rgb
    except ImportError as error:
        raise InputError(
            "BM3D: expected the package bm3d, which is free for non-commercial use, got none; install it "
            "with pip install 'dclib[restoration]'."
        ) from error
    if sigma == 0:
        return images.clone()
    with _ONE_AT_A_TIME:
        return _each(map, images, lambda image: bm3d_rgb(image.transpose(1, 2, 0), sigma).transpose(2, 0, 1))


def deconvolve(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Blurred images restored by a Wiener filter with the true Gaussian kernel: a stand-in for NCSR (Table 7).

    `gaussian_blur` darkens the border, where its window reaches into zeros. That is undone first: each pixel is divided
    by the share of the window that lay inside the image. Then the image is continued by reflection, filtered, and cut.

    Args:
        images: float tensor [N, C, H, W] on the 0..255 scale as `distortions.gaussian_blur` gives them.
        sigma: the blur's true standard deviation in pixels; 0 leaves the images as they are.

    Returns:
        A new tensor of the same shape, dtype and device, not clipped.

    Raises:
        InputError: wrong shape, range or sigma; images smaller than the kernel's reach.
    """
    from skimage.restoration import wiener  # takes a second to import

    _check(images, sigma)
    window = np.array(gaussian_window(sigma)) if sigma else np.ones(1)
    if len(window) == 1:  # too narrow to reach another pixel
        return images.clone()
    reach = 2 * len(window)
    if min(images.shape[2:]) <= reach:
        raise InputError(
            f"images: expected more than {reach} pixels a side to undo a blur of sigma {sigma:g}, got "
            f"{list(images.shape[2:])}."
        )
    kernel, inside = np.outer(window, window), torch.full_like(images[:1, :1], 255)
    whole = F.pad(images * 255 / gaussian_blur(inside, sigma), (reach,) * 4, mode="reflect")
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # SciPy's transforms run outside of the interpreter
        restored = _each(
            pool.map,
            whole,
            lambda image: 255 * np.stack([wiener(channel / 255, kernel, BALANCE, clip=False) for channel in image]),
        )
    return restored[..., reach:-reach, reach:-reach].contiguous()


#: By the name that a run gives them.
RESTORATIONS = {"bm3d": denoise_bm3d, "deconvolution": deconvolve}


def _each(apply: Callable, images: torch.Tensor, restore: Callable[[np.ndarray], np.ndarray]) -> torch.Tensor:
    """`restore` applied to every image float64 [C, H, W] by `apply`, which is `map` or does the same in parallel."""
    restored = np.stack(list(apply(restore, images.detach().double().cpu().numpy())))
    return torch.from_numpy(restored).to(images.device, images.dtype)


def _check(images: torch.Tensor, sigma: float) -> None:
    check_images(images)
    check_pixel_range(images)
    if not 0 <= sigma < float("inf"):
        raise InputError(f"sigma: expected one finite number >= 0, got {sigma!r}.")
