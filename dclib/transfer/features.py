"""Outputs of a dense layer, for images and all their levels (Section 5.3)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from dclib.datasets import Subset
from dclib.distortions import distort
from dclib.errors import InputError
from dclib.models import evaluation_mode, unwrapped

#: The dense layer of AlexNet whose features each data set gets.
LAYERS = {"caltech101": "fc6", "caltech256": "fc6", "sun397": "fc7"}


def dense_features(
    model: nn.Module,
    images: torch.Tensor | Subset,
    layer: str,
    *,
    prepare: Callable[[torch.Tensor], torch.Tensor] | None = None,
    batch_size: int = 100,
) -> torch.Tensor:
    """Outputs of a layer after ReLU, one row per image: float32 [N, D] on the CPU.

    A layer with positions [N, C, H, W] gives its mean over them, so that a network without dense layers has features
    too. The network runs in evaluation mode, without dropout.

    Args:
        model: takes images in 0..255 on the device of its parameters.
        images: [N, C, H, W], any dtype and device.
        layer: name of the layer whose ReLU follows: "fc6" or "fc7" of `models.AlexNet`, "bn8" of `models.AllConvNet`.
        prepare: applied to each float batch on the network's device, such as a centre crop.

    Raises:
        InputError: no images; a layer that the network does not have or does not run.
    """
    if not len(images):
        raise InputError("images: expected at least one, got none.")
    model = unwrapped(model)  # a compiled network does not hear the hook
    parameter = next(model.parameters())
    rows = []
    with _recorded(model, layer) as seen, torch.inference_mode():
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size].to(parameter.device, parameter.dtype)
            model(batch if prepare is None else prepare(batch))
            if not seen:
                raise InputError(f"layer: expected one that runs when the network does, got {layer!r}.")
            output = torch.relu(seen.pop())
            rows.append(output.flatten(2).mean(2).float().cpu() if output.ndim > 2 else output.float().cpu())
    return torch.cat(rows)


def features_per_level(
    model: nn.Module,
    images: torch.Tensor | Subset,
    layer: str,
    distortion: str,
    sigmas: Sequence[float],
    *,
    crop: int | None = None,
    seed: int = 0,
    blur_of_bytes: bool = False,
) -> torch.Tensor:
    """`dense_features` of clean images and of every level: float32 [1 + levels, N, D].

    The whole images are distorted, as released, and only then cropped to their central `crop` pixels; with `blur_of_bytes`
    blurred values are rounded to whole grey values. Equal seeds give equal noise for every model on the same kind of device.
    """
    return torch.stack(
        [
            features_at_level(
                model, images, layer, distortion, sigma, level, crop=crop, seed=seed, blur_of_bytes=blur_of_bytes
            )
            for level, sigma in enumerate([0.0, *sigmas])
        ]
    )


def features_at_level(
    model: nn.Module,
    images: torch.Tensor | Subset,
    layer: str,
    distortion: str,
    sigma: float,
    level: int,
    *,
    crop: int | None = None,
    seed: int = 0,
    blur_of_bytes: bool = False,
) -> torch.Tensor:
    """One level of `features_per_level`, of the physical `sigma`: float32 [N, D]; level 0 is clean."""
    generator = torch.Generator(next(model.parameters()).device).manual_seed(seed * 1000 + level)

    def prepare(batch: torch.Tensor) -> torch.Tensor:
        distorted = distort(batch, distortion, sigma, generator) if sigma else batch
        if sigma and blur_of_bytes and distortion == "blur":
            distorted = distorted.round()
        return distorted if crop is None else centre(distorted, crop)

    return dense_features(model, images, layer, prepare=prepare)


def centre(images: torch.Tensor, size: int) -> torch.Tensor:
    """The central `size` x `size` pixels of images [..., H, W]."""
    top, left = ((full - size) // 2 for full in images.shape[-2:])
    if min(top, left) < 0:
        raise InputError(f"crop: expected at most {min(images.shape[-2:])} pixels, got {size}.")
    return images[..., top : top + size, left : left + size]


@contextmanager
def _recorded(model: nn.Module, layer: str) -> Iterator[list[torch.Tensor]]:
    """What the named layer puts out during the block, while the network is in evaluation mode."""
    try:
        module = model.get_submodule(layer)
    except AttributeError as error:
        raise InputError(f"layer: expected the name of one of the network's layers, got {layer!r}.") from error
    seen: list[torch.Tensor] = []
    # A copy, for the network may go on to work in place.
    handle = module.register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
    try:
        with evaluation_mode(model):
            yield seen
    finally:
        handle.remove()
