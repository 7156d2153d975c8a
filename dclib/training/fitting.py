"""`fit`: a network of one's own trained by the paper's recipe, on images of one's own, with labels or without."""

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from torch import nn

from dclib.correction import uncorrected
from dclib.datasets import Split, Subset
from dclib.distortions import Distort, name_of
from dclib.errors import InputError, check_labels, check_pixel_range
from dclib.models import evaluation_mode, images_at_once
from dclib.training.checkpoint import Progress
from dclib.training.loop import train
from dclib.training.schedule import Schedule

#: How many looks at the held-out images there are, and which part of the iterations the rate rises in.
_LOOKS, _RISING = 8, 6
#: Images whose clean answers are found at once.
_ANSWERED = 250

Images = torch.Tensor | Iterable


def fit(
    network: nn.Module,
    images: Images,
    labels: torch.Tensor | None = None,
    *,
    distort: str | Distort,
    sigmas: Sequence[float],
    held_out: float | tuple[Images, torch.Tensor | None] = 0.1,
    iterations: int = 1000,
    batch_size: int = 64,
    peak: float = 0.1,
    l1: float = 1e-5,
    augmentation: str = "none",
    seed: int = 0,
    precision: str = "float32",
    checkpoint: str | Path | None = None,
    time_budget: float | None = None,
    report: Callable[[int, float], None] | None = None,
) -> Progress:
    """Train what requires a gradient in `network`: half of each mini-batch distorted, as in Sections 4.2 and 5.1.

    SGD with Nesterov momentum 0.9; the learning rate rises over the first sixth of the iterations to `peak` and falls along
    a half cosine to zero. The network that was best on the held-out images, clean and at all levels, is what remains.

    Without labels (which the paper does not do) the network learns to answer a distorted image as it answered the clean
    one before any correction: the loss is the Kullback-Leibler divergence from that answer, plus the answer's own entropy,
    which no training changes. Held-out images then count as right where the clean answer is the same class.

    Args:
        network: takes images [N, C, H, W] in 0..255, gives logits [N, K]; trained in place, on the device of its parameters.
        images: uint8, or floats in 0..255, which are rounded; [N, C, H, W]. Or a DataLoader, read once into memory, whose
            batches are images or (images, labels).
        labels: int64 [N], 0..K - 1; None where `images` brings them, or to train without.
        distort: "blur", "awgn", or a function of (images float [N, C, H, W] in 0..255, sigma) to images of that shape.
        sigmas: the levels, each of which is as likely as another.
        held_out: which share of the images chooses the best network, or other images and labels that do.
        iterations, batch_size: length of the training and images per iteration.
        peak: the highest learning rate; the paper begins at 0.1 with units, and at 0.01 without.
        l1: coefficient of the sum of absolute weights of the units' convolutions (Eq. 5).
        augmentation: one of `AUGMENTATIONS`.
        precision: "float32", "bfloat16" autocast, or "float64", in which processors that round otherwise train the same
            network.
        checkpoint: safetensors file to go on from if it is there, and to leave off with; gone when the training has ended.
        time_budget: seconds after which the checkpoint is written and the training leaves off.
        report: called with (iteration, loss) every ten iterations.

    Returns:
        `Progress`: `curve` has one entry per look, {"iteration", "loss" since the look before, "validation": held-out
        accuracy, clean and at each level}; `best_iteration` and `best_accuracy`, the mean over clean and all levels.

    Raises:
        InputError: nothing to train; images on the 0..1 scale; labels out of range; fewer images than a mini-batch; an
            unknown distortion; a checkpoint of another call; a time budget without a checkpoint.
        Diverged: a loss that is not finite.
        OutOfTime: at the end of the time budget; the same call goes on.

    >>> import torch
    >>> from dclib import correct, fit
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 2))
    >>> images, corrected = torch.randint(0, 256, (100, 3, 8, 8)), correct(network, {"0": [3, 1]})
    >>> progress = fit(corrected, images.byte(), distort="blur", sigmas=(1.0, 2.0), iterations=4, batch_size=20)
    >>> len(progress.curve[-1]["validation"])  # clean and two levels
    3
    """
    if not any(p.requires_grad for p in network.parameters()):
        raise InputError(
            "fit: expected a network with something to train, got none that requires gradients; correct its "
            "filters first, or let layers train with requires_grad_()."
        )
    if time_budget is not None and checkpoint is None:
        raise InputError("time_budget: expected a checkpoint to leave off with, got none; name a file.")
    distortion = name_of(distort)
    levels = tuple(sigmas)
    if not levels:
        raise InputError("sigmas: expected at least one level to distort at, got none.")
    pool = _split(network, images, labels)
    data, chosen_by = _parted(network, pool, held_out, seed)
    schedule = Schedule(
        iterations,
        batch_size,
        peak,
        (),
        -(-iterations // _LOOKS),
        shape="one-cycle",
        warm_up=iterations // _RISING,
        l1=l1,
        augmentation=augmentation,
    )
    path = Path(checkpoint) if checkpoint is not None else None
    sorted_anew = not any(
        p.ndim == 4 and p.is_contiguous(memory_format=torch.channels_last) and not p.is_contiguous()
        for p in network.parameters()
    )
    progress = train(
        network,
        data,
        chosen_by,
        schedule,
        seed=seed,
        distortion=distortion,
        sigmas=levels,
        precision=precision,
        checkpoint=path,
        call=_call(network, data, schedule, distortion, levels, seed, precision),
        report=report,
        deadline=None if time_budget is None else time.monotonic() + time_budget,
    )
    if sorted_anew:  # training goes channels last; a saved and loaded network then gives the very same logits
        network.to(memory_format=torch.contiguous_format)
    if path is not None:
        path.unlink(missing_ok=True)
    return progress


def _split(network: nn.Module, images: Images, labels: torch.Tensor | None) -> Split:
    """The images as whole grey values, with their classes, or with the network's clean answers [N, K] where it has none."""
    if not isinstance(images, torch.Tensor):
        images, labels = _read(images, labels)
    if images.ndim != 4 or 0 in images.shape:
        raise InputError(f"images: expected at least one, [N, C, H, W], got {list(images.shape)}.")
    if images.is_floating_point() or (images.dtype == torch.uint8 and images.numel() and int(images.max()) <= 1):
        check_pixel_range(images.float())
    pixels = images.round().clamp(0, 255).byte() if images.is_floating_point() else images
    if labels is None:
        return Split(pixels, answers(network, pixels))
    found = Split(pixels, labels)
    check_labels(labels, len(pixels), answers(network, pixels[:1]).shape[1])
    return found


def _read(loader: Iterable, labels: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """All images of a DataLoader and, where its batches have them, all labels; in the order of its batches."""
    batches = list(loader)
    pairs = all(isinstance(batch, (tuple, list)) and len(batch) == 2 for batch in batches)
    if not batches or not (pairs or all(isinstance(batch, torch.Tensor) for batch in batches)):
        raise InputError(
            "images: expected a tensor, or batches that are images or (images, labels), got "
            f"{type(batches[0]).__name__ if batches else 'no batch'}."
        )
    if not pairs:
        return torch.cat(batches), labels
    if labels is not None:
        raise InputError("labels: expected them once, got them beside images that bring their own; leave them out.")
    return torch.cat([images for images, _ in batches]), torch.cat([found for _, found in batches])


def answers(network: nn.Module, images: torch.Tensor | Subset) -> torch.Tensor:
    """Class probabilities [N, K] of the network without its units on clean images uint8 [N, C, H, W], on the CPU."""
    teacher, found = uncorrected(network), []
    parameter = next(network.parameters())
    with evaluation_mode(teacher), torch.inference_mode():
        at_once = images_at_once(teacher, images[:1].to(parameter.device, parameter.dtype), _ANSWERED)
        for start in range(0, len(images), at_once):
            part = images[start : start + at_once].to(parameter.device, parameter.dtype)
            found.append(teacher(part.contiguous(memory_format=torch.channels_last)).softmax(1).cpu())
    return torch.cat(found).clone()


def _parted(network: nn.Module, pool: Split, held_out: float | tuple, seed: int) -> tuple[Split, Split]:
    """What is trained on, and what chooses the best network: by classes, the likeliest ones where there are no labels."""
    if isinstance(held_out, (tuple, list)):
        return pool, _as_classes(_split(network, *held_out))
    if not 0 < held_out < 1:
        raise InputError(f"held_out: expected a share between 0 and 1, or (images, labels), got {held_out}.")
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))
    count = max(1, round(held_out * len(pool)))
    return pool.take(order[count:]), _as_classes(pool.take(order[:count]))


def _as_classes(split: Split) -> Split:
    return Split(split.images, split.labels.argmax(1)) if split.labels.is_floating_point() else split


def _call(
    network: nn.Module,
    data: Split,
    schedule: Schedule,
    distortion: str | Distort | None,
    sigmas: tuple[float, ...],
    seed: int,
    precision: str,
) -> str:
    """A fingerprint of one call of `fit`, so that a checkpoint of another is none of this one's."""
    named = distortion if isinstance(distortion, str) else getattr(distortion, "__qualname__", type(distortion).__name__)
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    digest = hashlib.sha256(repr((schedule, named, sigmas, seed, precision, shapes)).encode())
    for tensor in (data.images, data.labels):
        digest.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
