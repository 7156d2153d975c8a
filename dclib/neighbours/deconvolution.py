"""Non-blind deconvolution: blurred images restored with their true kernel, the rival of training on blurred ones."""

import numpy as np
import torch
from torch.nn import functional as F

from dclib.distortions import filtered
from dclib.errors import InputError, check_images, check_pixel_range

#: Ways to deblur, and the strengths to choose from: of Wiener's filter the weight of its regulariser, of Richardson and
#: Lucy's the number of steps.
STRENGTHS = {"wiener": (0.001, 0.01, 0.1), "richardson-lucy": (3, 10, 30)}


def deblur(images: torch.Tensor, kernel: torch.Tensor, way: str, strength: float) -> torch.Tensor:
    """Images that `distortions.filtered` blurred with `kernel`, restored.

    What reached beyond the border was dark: each pixel is first divided by the share of the kernel that lay inside. Then
    the image goes on by reflection, is restored by scikit-image, channel by channel, and cut.

    Args:
        images: float [N, C, H, W] in 0..255.
        kernel: [odd, odd], sums to 1; not larger than the images.
        way, strength: one of `STRENGTHS`, and how strongly.

    Returns:
        A new tensor of the same shape, dtype and device, within 0..255.

    Raises:
        InputError: another way, images of another shape or range, a kernel that is too large.
    """
    check_images(images)
    check_pixel_range(images)
    if way not in STRENGTHS:
        raise InputError(f"way: expected one of {', '.join(STRENGTHS)}, got {way!r}.")
    reach = len(kernel) - 1
    if reach >= min(images.shape[2:]):
        raise InputError(f"kernel: expected at most {min(images.shape[2:])} pixels a side, got {len(kernel)}.")
    inside = filtered(torch.full_like(images[:1, :1], 255), kernel) / 255
    whole = F.pad(images / inside, (reach,) * 4, mode="reflect").clamp(0, 255)
    spread = kernel.flip(0, 1).double().numpy()  # filtering correlates, deconvolution convolves
    channels = whole.flatten(0, 1).double().cpu().numpy() / 255
    restored = np.stack([_restored(channel, spread, way, strength) for channel in channels])
    cut = torch.from_numpy(255 * restored.clip(0, 1)).view(whole.shape)[
        ..., reach : whole.shape[2] - reach, reach : whole.shape[3] - reach
    ]
    return cut.to(images.device, images.dtype).contiguous()


def _restored(channel: np.ndarray, kernel: np.ndarray, way: str, strength: float) -> np.ndarray:
    """One channel [H, W] in 0..1."""
    from skimage.restoration import richardson_lucy, wiener  # take a second to import

    if way == "wiener":
        return wiener(channel, kernel, strength, clip=False)
    return richardson_lucy(channel, kernel, num_iter=int(strength), filter_epsilon=1e-6)
