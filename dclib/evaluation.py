"""Top-1 accuracy per distortion level, with the correctness of every single image."""

from collections.abc import Callable, Iterator

import torch
from torch import nn

from dclib.datasets import Split, Subset
from dclib.distortions import Distort, blurred
from dclib.errors import InputError, check_labels
from dclib.models import evaluation_mode, images_at_once, predicted_classes

#: Noise is drawn in chunks of so many images, so that it does not depend on the batch size.
_NOISE_CHUNK = 250
#: Images that are run at once; fewer where they are large, and on a CPU, whose caches hold no more activations.
_BATCH, _SMALL_BATCH, _LARGE = 1000, 250, 128
#: All levels of a split are kept for repeated looks where they need no more bytes than this.
_KEPT_BYTES = 4 * 2**30


def hits_per_level(
    model: nn.Module,
    split: Split,
    distortion: str | Distort | None,
    sigmas: tuple[float, ...] = (),
    *,
    seed: int = 0,
    batch_size: int | None = None,
    blur_of_bytes: bool = False,
    restore: Callable[[torch.Tensor, float], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Which images `model` classifies correctly: bool [1 + len(sigmas), N] on the CPU, level 0 clean.

    Args:
        model: takes images in 0..255 on the device of its parameters; used in evaluation mode.
        split: the images; uint8 [N, C, H, W].
        distortion: "blur", "awgn" or a function of (images, sigma); None for the clean level only.
        sigmas: physical sigma of levels 1, 2, ...
        seed: of the noise. Equal seeds give equal noisy images on every device and for every model, so that
            comparisons are paired.
        restore: called with (distorted images, sigma) at every level but the clean one: a rival of Tables 7 and 8.
        batch_size: a multiple of 250; by the size of the images and the device when None.
        blur_of_bytes: blurred values are rounded to whole grey values, as OpenCV does with uint8 images.

    Raises:
        InputError: no images, labels that are no classes of the network, logits that are not [N, K] of two classes or more.
    """
    if not len(split):
        raise InputError("split: expected at least one image, got none.")
    parameter = next(model.parameters())
    batch_size = batch_size or _batch_size(split.images, parameter.device)
    if batch_size % _NOISE_CHUNK:
        raise InputError(f"batch_size: expected a multiple of {_NOISE_CHUNK}, got {batch_size}.")
    levels = [0.0, *sigmas] if distortion else [0.0]
    hits = torch.empty(len(levels), len(split), dtype=torch.bool, device="cpu")
    with evaluation_mode(model), torch.inference_mode():
        at_once = images_at_once(model, split.images[:1].to(parameter.device, parameter.dtype), batch_size)
        for start in range(0, len(split), batch_size):
            rows = slice(start, min(start + batch_size, len(split)))
            images = split.images[rows].to(parameter.device, parameter.dtype)
            labels = split.labels[rows].to(parameter.device)
            for level, distorted in enumerate(_levels(images, distortion, levels, seed, start, blur_of_bytes)):
                if restore and levels[level]:
                    distorted = restore(distorted, levels[level])
                hits[level, rows] = _hits(model, distorted, labels, at_once)
    return hits


def _batch_size(images: torch.Tensor | Subset, device: torch.device) -> int:
    return _BATCH if images.shape[-1] <= _LARGE and device.type != "cpu" else _SMALL_BATCH


def _hits(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, at_once: int) -> torch.Tensor:
    """Which images are classified correctly: bool [N] on the CPU."""
    found = []
    for batch, label in zip(images.split(at_once), labels.split(at_once)):
        # Channels last: convolutions read their input in this order, and need not sort it first.
        logits = model(batch.contiguous(memory_format=torch.channels_last))
        found.append(predicted_classes(logits, len(batch)) == label)
    check_labels(labels, len(labels), logits.shape[1])
    return torch.cat(found).cpu()


def can_be_kept(split: Split, sigmas: tuple[float, ...]) -> bool:
    """Whether `all_levels` of `split` fit into memory that a training may keep."""
    return 4 * split.images.shape.numel() * (1 + len(sigmas)) <= _KEPT_BYTES


def hits_on(model: nn.Module, levels: torch.Tensor, labels: torch.Tensor, *, batch_size: int | None = None) -> torch.Tensor:
    """Which images of `levels` [L, N, C, H, W] the model classifies correctly: bool [L, N] on the CPU.

    Raises `InputError` where labels [N] or the network's logits do not fit.
    """
    if not isinstance(levels, torch.Tensor) or levels.ndim != 5 or 0 in levels.shape:
        raise InputError(
            f"levels: expected a non-empty tensor [L, N, C, H, W], got {list(getattr(levels, 'shape', []))}; "
            "stack one copy of the images per level."
        )
    check_labels(labels, levels.shape[1])
    batch_size = batch_size or _batch_size(levels, levels.device)
    labels = labels.to(levels.device)
    with evaluation_mode(model), torch.inference_mode():
        batch_size = images_at_once(model, levels[0], batch_size)
        return torch.stack([_hits(model, level, labels, batch_size) for level in levels])


def places_on(model: nn.Module, levels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The place of the true class among all by the model's scores: int16 [L, N] on the CPU, 0 where it is the first choice.

    Top-k accuracy is the share of places below k. Levels [L, N, C, H, W] and labels [N] as for `hits_on`.
    """
    with evaluation_mode(model), torch.inference_mode():
        at_once = images_at_once(model, levels[0], _batch_size(levels, levels.device))
        return torch.stack([_places(model, level, labels.to(levels.device), at_once) for level in levels])


def _places(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, at_once: int) -> torch.Tensor:
    """How many classes have a higher score than the true one: int16 [N] on the CPU."""
    found = []
    for batch, label in zip(images.split(at_once), labels.split(at_once)):
        logits = model(batch.contiguous(memory_format=torch.channels_last))
        check_labels(label, len(batch), logits.shape[1])
        found.append((logits > logits.gather(1, label[:, None])).sum(1).short())
    return torch.cat(found).cpu()


def all_levels(
    split: Split,
    distortion: str | Distort | None,
    sigmas: tuple[float, ...],
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    blur_of_bytes: bool = False,
) -> torch.Tensor:
    """Float images [1 + len(sigmas), N, C, H, W]: the clean ones, then `distorted_copies`. For repeated looks."""
    clean = split.images.to(device, torch.float32).unsqueeze(0)
    if not distortion:
        return clean
    copies = distorted_copies(split, distortion, sigmas, seed=seed, device=device, blur_of_bytes=blur_of_bytes)
    return torch.cat([clean, copies])


def distorted_copies(
    split: Split,
    distortion: str | Distort,
    sigmas: tuple[float, ...],
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    first: int = 0,
    blur_of_bytes: bool = False,
) -> torch.Tensor:
    """Float images [len(sigmas), N, C, H, W] in 0..255: every level of `split`, as `hits_per_level` has them.

    Where `split` is a part of a larger one, `first` is the place there of its first image, a multiple of 250: then it
    gets the noise that it has as a part. Raises `InputError` for another `first` and for an unknown distortion.
    """
    if first % _NOISE_CHUNK:
        raise InputError(f"first: expected a multiple of {_NOISE_CHUNK}, got {first}.")
    images = split.images.to(device, torch.float32)
    copies = images.new_empty(len(sigmas), *images.shape)
    for copy, level in zip(copies, _levels(images, distortion, list(sigmas), seed, first, blur_of_bytes)):
        copy.copy_(level)  # stacking them at the end would take the memory twice
    return copies


def _levels(
    images: torch.Tensor, distortion: str | Distort | None, sigmas: list[float], seed: int, start: int, blur_of_bytes: bool
) -> Iterator[torch.Tensor]:
    for sigma in sigmas:
        if sigma == 0:
            yield images
        elif distortion == "blur":
            found = blurred(images, sigma)
            yield found.round_() if blur_of_bytes else found
        elif distortion == "awgn":
            yield images + sigma * _noise(images, seed, sigma, start)
        elif callable(distortion):
            yield distortion(images, sigma)
        else:
            raise InputError(f"distortion: expected blur or awgn, got {distortion!r}.")


def _noise(images: torch.Tensor, seed: int, sigma: float, start: int) -> torch.Tensor:
    chunks = []
    for offset in range(0, len(images), _NOISE_CHUNK):
        # One stream per (seed, level, chunk): drawn on the CPU, the one generator that all machines share.
        stream = ((seed * 1000 + round(10 * sigma)) * 10_000 + (start + offset) // _NOISE_CHUNK) % 2**63
        shape = (_NOISE_CHUNK, *images.shape[1:])
        # In single precision, whatever torch's default is: in double precision the generator gives other noise.
        chunk = torch.randn(shape, generator=torch.Generator("cpu").manual_seed(stream), dtype=torch.float32, device="cpu")
        chunks.append(chunk[: len(images) - offset])
    return torch.cat(chunks).to(images.device, images.dtype)
