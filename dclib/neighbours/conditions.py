"""What images come under before a network sees them, by name: a blur of any kernel, noise, compression and more."""

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from dclib import kernels
from dclib.distortions import additive_white_gaussian_noise, filtered
from dclib.errors import InputError, check_images
from dclib.neighbours.adversaries import fgsm, pgd

#: Conditions that are made against a network, by their first word.
ADVERSARIES = ("fgsm", "pgd")


def under(
    name: str,
    images: torch.Tensor,
    generator: torch.Generator | None = None,
    *,
    network: nn.Module | None = None,
    labels: torch.Tensor | None = None,
) -> torch.Tensor:
    """Images under the condition `name`, in whole grey values of 0..255 as a file has them.

    Args:
        name: "sharp"; a kernel such as "defocus 2" (`kernels.named`); "noise 20" (sigma in grey values); "jpeg 10"
            (quality 1..95); "contrast 0.2" (what is left of each image's deviation from its mean); "pixels 8" (squares);
            "salt 0.1" (the share of pixels that are black or white); "upside down"; "fgsm 4" or "pgd 4" (the budget in
            grey values).
        images: float [N, 3, H, W] in 0..255.
        generator: of the noise, of the salt and of where PGD begins; torch's own when None.
        network, labels: what "fgsm" and "pgd" are made against; labels int64 [N].

    Raises:
        InputError: another name or strength, images of another shape, an adversary without its network.
    """
    check_images(images)
    word, _, strength = name.partition(" ")
    if name == "sharp":
        changed = images
    elif name == "upside down":
        changed = images.flip(2)
    elif word in kernels.KINDS:
        changed = filtered(images, kernels.named(name))
    elif word in ADVERSARIES:
        if network is None or labels is None:
            raise InputError(f"condition: expected the network and the labels that {name!r} is made against, got none.")
        budget = _number(name, strength, 255)
        changed = (
            fgsm(network, images, labels, budget)
            if word == "fgsm"
            else pgd(network, images, labels, budget, generator=generator)
        )
    elif word in _CHANGES:
        change, most = _CHANGES[word]
        changed = change(images, _number(name, strength, most), generator)
    else:
        known = ", ".join((*kernels.KINDS, *_CHANGES, *ADVERSARIES))
        raise InputError(f"condition: expected sharp, upside down, or one of {known} with its strength, got {name!r}.")
    return changed.round().clamp(0, 255)


def _number(name: str, strength: str, most: float) -> float:
    try:
        value = float(strength)
    except ValueError:
        value = 0.0
    if not 0 < value <= most:
        raise InputError(f"condition: expected a strength above 0 and up to {most:g}, got {name!r}.")
    return value


def _noise(images: torch.Tensor, sigma: float, generator: torch.Generator | None) -> torch.Tensor:
    return additive_white_gaussian_noise(images, sigma, generator)


def _jpeg(images: torch.Tensor, quality: float, generator: torch.Generator | None) -> torch.Tensor:
    found = []
    for image in images.round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy():
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=round(quality))
        found.append(np.asarray(Image.open(file)))
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).to(images.device, images.dtype)


def _contrast(images: torch.Tensor, left: float, generator: torch.Generator | None) -> torch.Tensor:
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + left * (images - mean)


def _pixels(images: torch.Tensor, side: float, generator: torch.Generator | None) -> torch.Tensor:
    small = F.avg_pool2d(images, round(side), ceil_mode=True)
    return F.interpolate(small, scale_factor=round(side), mode="nearest")[..., : images.shape[2], : images.shape[3]]


def _salt(images: torch.Tensor, share: float, generator: torch.Generator | None) -> torch.Tensor:
    chance = torch.rand(len(images), 1, *images.shape[2:], generator=generator, device=images.device)
    return images.where(chance >= share, (chance < share / 2) * 255.0)


#: By their first word: what makes them, and the largest strength.
_CHANGES: dict[str, tuple[Callable[[torch.Tensor, float, torch.Generator | None], torch.Tensor], float]] = {
    "noise": (_noise, 255),
    "jpeg": (_jpeg, 95),
    "contrast": (_contrast, 1),
    "pixels": (_pixels, 64),
    "salt": (_salt, 1),
}
