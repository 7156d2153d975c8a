"""Gaussian blur and additive white Gaussian noise (Section 3.2), batched, on any device.

Both work on the 0..255 scale before normalisation, without rounding or clipping, as the released code does. The blurs of
a lens out of focus, of a moving camera and of a trembling hand are those of a neighbouring study; the paper has no tables
for them.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from threading import Lock

import torch
from torch import nn
from torch.nn import functional as F

from dclib import kernels
from dclib.errors import InputError, check_images, check_pixel_range

#: Physical sigma per level 1..6 of Section 3.2; level 0 is the clean image.
LEVELS = {
    "cifar100": {"blur": (0.5, 1.0, 1.5, 2.0, 2.5, 3.0), "awgn": (5.0, 10.0, 15.0, 20.0, 25.0, 30.0)},
    "imagenet": {"blur": (1.0, 2.0, 3.0, 4.0, 5.0, 6.0), "awgn": (10.0, 20.0, 40.0, 60.0, 80.0, 100.0)},
}
DISTORTIONS = ("blur", "awgn")
#: A distortion of one's own: from images float [N, C, H, W] in 0..255 and a level to images of the same shape.
Distort = Callable[[torch.Tensor, float], torch.Tensor]

#: Above this size an axis is blurred in blocks of that many pixels: most of the matrix of a whole axis is zero.
_WHOLE, _BLOCK = 96, 64

#: Matrices of the blur by (size, sigma), in the order of their last use, and how many bytes of them are kept.
_KEPT: dict[tuple[int, float], torch.Tensor] = {}
_KEPT_BYTES = 64 * 2**20
_LOCK = Lock()


def levels(scale: str, distortion: str) -> tuple[float, ...]:
    """The sigmas of levels 1..6: `scale` is "cifar100" (32x32 images) or "imagenet" (256x256 images)."""
    if scale not in LEVELS:
        raise InputError(f"levels: expected a scale out of {', '.join(LEVELS)}, got {scale!r}.")
    if distortion not in LEVELS[scale]:
        raise InputError(f"levels: expected a distortion out of {', '.join(DISTORTIONS)}, got {distortion!r}.")
    return LEVELS[scale][distortion]


def gaussian_blur(images: torch.Tensor, sigma: float | torch.Tensor) -> torch.Tensor:
    """Blur with a normalised Gaussian whose window has 4 sigma + 1 taps per axis and a zero border.

    Args:
        images: float tensor [N, C, H, W] in 0..255, any device.
        sigma: standard deviation in pixels, one number or a tensor [N] (one per image); 0 leaves an image as it
            is. Windows are odd: 4 sigma is rounded to the nearest even number.

    Returns:
        A new tensor of the same shape, dtype and device. Equal to OpenCV's ``GaussianBlur`` with
        ``BORDER_CONSTANT``.

    Raises:
        InputError: wrong shape or dtype, NaN, values that look like 0..1, a negative or non-finite sigma.

    >>> import torch
    >>> from dclib import gaussian_blur
    >>> gaussian_blur(torch.full((1, 3, 32, 32), 255.0), sigma=2.0)[0, 0, 16, 16].round()
    tensor(255.)
    """
    check_images(images)
    check_pixel_range(images)
    sigmas = _check_sigma(sigma, len(images))
    distinct, index = sigmas.unique(return_inverse=True)
    if len(distinct) == 1:
        return blurred(images, distinct.item()) if distinct.item() else images.clone()
    rows, columns = (torch.stack(m) for m in zip(*(blur_matrices(images, s) for s in distinct.tolist())))
    index = index.to(images.device)
    return blur_with(images, rows[index, None], columns[index, None])


def additive_white_gaussian_noise(
    images: torch.Tensor, sigma: float | torch.Tensor, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Add independent normal noise to every pixel and channel, not clipped.

    Args:
        images: float tensor [N, C, H, W] in 0..255, any device.
        sigma: standard deviation on the 0..255 scale, one number or a tensor [N]; 0 leaves an image as it is.
        generator: source of the noise, on the device of `images`; torch's default generator when None.

    Returns:
        A new tensor of the same shape, dtype and device.

    Raises:
        InputError: as `gaussian_blur`.

    >>> import torch
    >>> from dclib import additive_white_gaussian_noise
    >>> noisy = additive_white_gaussian_noise(torch.full((8, 3, 32, 32), 128.0), 20.0, torch.Generator().manual_seed(0))
    >>> round(noisy.mean().item()), round(noisy.std().item())
    (128, 20)
    """
    check_images(images)
    check_pixel_range(images)
    sigmas = _check_sigma(sigma, len(images)).to(images.device, images.dtype)
    noise = torch.randn(images.shape, generator=generator, device=images.device, dtype=images.dtype)
    return noise.mul_(sigmas.view(-1, 1, 1, 1)).add_(images)


def defocus_blur(images: torch.Tensor, radius: float) -> torch.Tensor:
    """The blur of a lens out of focus: every point becomes a disc (Vasiljevic et al., 2016).

    Args:
        images: float tensor [N, C, H, W] in 0..255, any device.
        radius: of the disc, in pixels; below 1 it is a single pixel and leaves the image as it is.

    Returns:
        A new tensor of the same shape, dtype and device; outside of the image is zero.

    Raises:
        InputError: images as for `gaussian_blur`; a negative or non-finite radius.
    """
    return filtered(images, kernels.disc(radius))


def motion_blur(images: torch.Tensor, length: float, angle: float = 0.0) -> torch.Tensor:
    """The blur of a camera that moves along a line: every point becomes a segment (Vasiljevic et al., 2016).

    Args:
        images: float tensor [N, C, H, W] in 0..255, any device.
        length: of the segment, in pixels, 1 or more; 1 leaves the image as it is.
        angle: of the segment against the image's rows, in degrees, counterclockwise.

    Returns:
        A new tensor of the same shape, dtype and device; outside of the image is zero.

    Raises:
        InputError: images as for `gaussian_blur`; a length below 1, an angle that is not finite.
    """
    return filtered(images, kernels.segment(length, angle))


def camera_shake_blur(images: torch.Tensor, sigma: float, number: int = 0) -> torch.Tensor:
    """The blur of a hand that trembles: every point becomes a smooth random path (Vasiljevic et al., 2016).

    Args:
        images: float tensor [N, C, H, W] in 0..255, any device.
        sigma: how far the light is spread, in pixels: as far as by a Gaussian of that sigma.
        number: which path; equal numbers are equal paths of any size.

    Returns:
        A new tensor of the same shape, dtype and device; outside of the image is zero.

    Raises:
        InputError: images as for `gaussian_blur`; a sigma that is not above 0, a negative number.
    """
    return filtered(images, kernels.camera_shake(sigma, number))


def filtered(images: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Every channel of images [N, C, H, W] in 0..255 correlated with a kernel [odd, odd]; zero outside of the image."""
    check_images(images)
    check_pixel_range(images)
    n, c, h, w = images.shape
    weight = kernel.to(images.device, images.dtype)[None, None]
    return F.conv2d(images.reshape(n * c, 1, h, w), weight, padding=len(kernel) // 2).view(n, c, h, w)


def blurs(names: Sequence[str]) -> Distort:
    """The distortion whose level 1, 2, .. is the kernel of that number among `names` (`kernels.named`).

    Values are rounded to whole grey values, as a camera's file has them.
    """
    return lambda images, level: filtered(images, kernels.named(names[int(level) - 1])).round_()


class GaussianBlur(nn.Module):
    """`gaussian_blur` as a module: `sigma` in pixels; input and output [N, C, H, W] in 0..255."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        _check_sigma(sigma, 1)
        self.sigma = float(sigma)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return gaussian_blur(images, self.sigma)

    def extra_repr(self) -> str:
        return f"sigma={self.sigma}"


class AdditiveWhiteGaussianNoise(nn.Module):
    """`additive_white_gaussian_noise` as a module: `sigma` on the 0..255 scale, fresh noise at every call."""

    def __init__(self, sigma: float, generator: torch.Generator | None = None) -> None:
        super().__init__()
        _check_sigma(sigma, 1)
        self.sigma, self.generator = float(sigma), generator

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return additive_white_gaussian_noise(images, self.sigma, self.generator)

    def extra_repr(self) -> str:
        return f"sigma={self.sigma}"


def distort(
    images: torch.Tensor, distortion: str, sigma: float | torch.Tensor, generator: torch.Generator | None = None
) -> torch.Tensor:
    """`gaussian_blur` ("blur") or `additive_white_gaussian_noise` ("awgn") by name."""
    if distortion == "blur":
        return gaussian_blur(images, sigma)
    if distortion == "awgn":
        return additive_white_gaussian_noise(images, sigma, generator)
    raise InputError(f"distort: expected a distortion out of {', '.join(DISTORTIONS)}, got {distortion!r}.")


def name_of(distort: str | Distort) -> str | Distort:
    """ "blur" or "awgn" for the functions of this module that are these; another function stays as it is.

    Raises `InputError` for what is neither the name of a distortion nor a function.
    """
    known: dict[str | Distort, str] = {gaussian_blur: "blur", additive_white_gaussian_noise: "awgn"}
    named = known.get(distort, distort)
    if not callable(named) and named not in DISTORTIONS:
        raise InputError(f"distort: expected {', '.join(DISTORTIONS)} or a function of (images, sigma), got {named!r}.")
    return named


def distorted_levels(
    images: torch.Tensor, distort: str | Distort, sigmas: Sequence[float], *, seed: int = 0
) -> torch.Tensor:
    """Copies [len(sigmas), N, C, H, W] of images [N, C, H, W] in 0..255, one level after the other; `seed` is the noise's."""
    change = name_of(distort)
    if change == "awgn":
        generator = torch.Generator(images.device).manual_seed(seed)
        return torch.stack([additive_white_gaussian_noise(images, sigma, generator) for sigma in sigmas])
    function = gaussian_blur if isinstance(change, str) else change
    return torch.stack([function(images, sigma) for sigma in sigmas])


def gaussian_window(sigma: float) -> list[float]:
    """The normalised taps of one axis: 4 sigma + 1 of them (Section 3.2; 3, 5, .. 13 for CIFAR-100)."""
    radius = round(2 * sigma)
    taps = [math.exp(-0.5 * (i / sigma) ** 2) for i in range(-radius, radius + 1)]
    total = math.fsum(taps)
    return [t / total for t in taps]


def blur_matrices(like: torch.Tensor, sigma: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The banded matrices [H, H] and [W, W] that blur images of the shape, dtype and device of `like`."""
    rows, columns = (_banded(size, float(sigma)).to(like.device, like.dtype) for size in like.shape[-2:])
    return rows, columns


def blurred(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """`gaussian_blur` with one sigma above 0 for all images, unchecked."""
    n, c, h, w = images.shape
    rows, columns = blur_matrices(images, sigma)
    if max(h, w) <= _WHOLE:
        return blur_with(images, rows, columns)
    lines = images.reshape(-1, w)
    across = [lines[:, near] @ columns[own, near].mT for own, near in _blocks(w, sigma)]
    planes = torch.cat(across, 1).view(n * c, h, w)
    return torch.cat([rows[own, near] @ planes[:, near] for own, near in _blocks(h, sigma)], 1).view(n, c, h, w)


def _blocks(size: int, sigma: float) -> Iterator[tuple[slice, slice]]:
    """An axis cut into blocks of pixels, and for each the pixels that reach it."""
    radius = len(gaussian_window(sigma)) // 2
    for start in range(0, size, _BLOCK):
        yield slice(start, start + _BLOCK), slice(max(0, start - radius), start + _BLOCK + radius)


def blur_with(images: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """rows @ images @ columns^T, unchecked: one dense product per axis.

    The zero border is folded into the matrices. At 32 pixels a dense product beats a sliding window on
    every device that was measured (benchmarks/), and it takes one matrix per image as easily as one for all.
    """
    if columns.ndim == 2:
        n, c, h, w = images.shape
        return torch.matmul(rows, (images.reshape(-1, w) @ columns.mT).view(n * c, h, w)).view(n, c, h, w)
    return rows @ images @ columns.mT


def _banded(size: int, sigma: float) -> torch.Tensor:
    """One axis's matrix [size, size], kept for later calls while all that are kept fit into `_KEPT_BYTES`."""
    with _LOCK:
        if (matrix := _KEPT.pop((size, sigma), None)) is None:
            matrix = _banded_anew(size, sigma)
        if matrix.nbytes <= _KEPT_BYTES:
            _KEPT[size, sigma] = matrix  # the last used one at the end
            while sum(kept.nbytes for kept in _KEPT.values()) > _KEPT_BYTES:
                del _KEPT[next(iter(_KEPT))]
        return matrix


def _banded_anew(size: int, sigma: float) -> torch.Tensor:
    with torch.inference_mode(False):  # kept for later calls, which may need gradients
        if sigma == 0:
            return torch.eye(size, dtype=torch.float64, device="cpu")
        window = gaussian_window(sigma)
        radius = len(window) // 2
        matrix = torch.zeros(size, size, dtype=torch.float64, device="cpu")
        for offset, tap in zip(range(-radius, radius + 1), window):
            if abs(offset) < size:
                matrix.diagonal(offset).fill_(tap)
        return matrix


def _check_sigma(sigma: float | torch.Tensor, count: int) -> torch.Tensor:
    try:
        values = torch.as_tensor(sigma, dtype=torch.float64).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"sigma: expected one number or a tensor of {count} (one per image), got {sigma!r}.") from error
    if values.ndim > 1 or (values.ndim == 1 and len(values) != count):
        raise InputError(
            f"sigma: expected one number or a tensor of {count} (one per image), got shape {list(values.shape)}."
        )
    if not bool(torch.isfinite(values).all()) or bool((values < 0).any()):
        raise InputError(
            f"sigma: expected finite numbers >= 0, got {sigma!r}; sigma is in pixels for blur and "
            "in 0..255 grey values for noise."
        )
    return values.view(-1)
