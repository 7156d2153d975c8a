"""The one training loop: baseline, Finetune-k, Deepcorr-k and Deepcorr-kc (Sections 4.2, 5.1).

Everything random in an iteration is drawn from (seed, iteration), so a run that was stopped and goes on from its
checkpoint takes the very steps that it would have taken.
"""

import ctypes
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from dclib.datasets import Split
from dclib.distortions import Distort
from dclib.errors import InputError
from dclib.evaluation import all_levels, can_be_kept, hits_on, hits_per_level
from dclib.training import distributed
from dclib.training.batches import Batches
from dclib.training.checkpoint import Progress, resume, save_checkpoint
from dclib.training.schedule import Schedule
from dclib.training.step import TrainStep, optimiser_for

#: A later network replaces the best one only if its validation accuracy is higher by this much (released code).
TOLERANCE = 0.001
PRECISIONS = ("float32", "bfloat16", "float64")


class Diverged(InputError):
    """The loss is not finite any more."""


class OutOfTime(Exception):
    """The time budget ended; the checkpoint holds what was done."""


def train(
    model: nn.Module,
    data: Split,
    validation: Split,
    schedule: Schedule,
    *,
    seed: int,
    distortion: str | Distort | None = None,
    sigmas: tuple[float, ...] = (),
    blur_of_bytes: bool = False,
    precision: str = "float32",
    checkpoint: Path | None = None,
    call: str = "",
    deadline: float | None = None,
    report: Callable[[int, float], None] | None = None,
) -> Progress:
    """Train what requires a gradient in `model`; it ends as the best network on the validation images.

    Args:
        model: takes images in 0..255; trained in place, on the device of its parameters.
        data, validation: uint8 images; validation accuracy is the mean over the clean level and all `sigmas`. Labels of
            `data` may be class probabilities [N, K].
        distortion, sigmas: exactly half of every mini-batch is distorted, the level drawn uniformly; None trains
            on clean images. "blur", "awgn" or a function of (images, sigma).
        blur_of_bytes: blurred values are rounded to whole grey values, as released for ImageNet.
        precision: "float32", "bfloat16" autocast, or "float64": processors round sums otherwise, each by its own widest
            instructions, and some hundred iterations make another network of that in single precision, but not in
            double. The network is in its own precision again at the end.
        checkpoint: safetensors file to go on from, rewritten at every evaluation and when time runs out.
        call: whose checkpoint it is, where the file's name does not say.
        deadline: `time.monotonic()` at which to stop.
        report: called with (iteration, loss) now and then.

    Under torchrun each process takes its share of every mini-batch; process 0 alone looks at the validation images,
    writes checkpoints and ends with the best network.

    Raises:
        OutOfTime: at the deadline, after the checkpoint was written.
        InputError: an unreadable checkpoint, fewer images than a mini-batch.
        Diverged: a loss that is not finite.
    """
    if len(data) < schedule.batch_size:
        raise InputError(f"training images: expected at least one mini-batch of {schedule.batch_size}, got {len(data)}.")
    keep_freed_memory()
    with _in_precision(model, precision):
        device = next(model.parameters()).device
        dtype = torch.float64 if precision == "float64" else torch.float32
        batches = Batches(data, schedule, seed, distortion, sigmas, device, blur_of_bytes, dtype)
        optimiser = optimiser_for(model, schedule)
        step = TrainStep(model, optimiser, schedule, precision)  # first: velocities take on its memory format
        validation_hits = (
            _validator(validation, distortion, sigmas, device, blur_of_bytes) if distributed.rank() == 0 else None
        )
        progress, best, losses = resume(checkpoint, model, optimiser, call)
        if progress.iteration:
            step.rate = schedule.rate(progress.iteration - 1)
        started = time.monotonic()
        model.train()
        while progress.iteration < schedule.iterations:
            losses.append(step(*batches.draw(progress.iteration), schedule.rate(progress.iteration)))
            progress.iteration += 1
            if report and progress.iteration % 10 == 0:
                report(progress.iteration, losses[-1].item())
            evaluated = progress.iteration % schedule.evaluate_every == 0 or progress.iteration == schedule.iterations
            if evaluated and validation_hits is not None:  # the first of all processes
                _check_finite(losses, progress.iteration, schedule)
                best = _validate(model, validation_hits, precision, progress, losses, best)
            late = (
                deadline is not None
                and progress.iteration < schedule.iterations
                and distributed.agreed(time.monotonic() > deadline)
            )
            if checkpoint and distributed.rank() == 0 and (evaluated or late) and progress.iteration < schedule.iterations:
                progress.seconds += time.monotonic() - started
                started = time.monotonic()
                save_checkpoint(checkpoint, model, optimiser, progress, best, losses, call)
            if late:
                raise OutOfTime
        progress.seconds += time.monotonic() - started
        if distributed.rank() == 0:
            model.load_state_dict(best)
    model.eval()
    return progress


@contextmanager
def _in_precision(model: nn.Module, precision: str) -> Iterator[None]:
    """Within, a model that trains in "float64" is of that type; autocast leaves parameters as they are."""
    if precision not in PRECISIONS:
        raise InputError(f"precision: expected one of {', '.join(PRECISIONS)}, got {precision!r}.")
    if precision != "float64":
        yield
        return
    own = {name: tensor.dtype for name, tensor in _tensors(model)}
    model.double()
    try:
        yield
    finally:
        for name, tensor in _tensors(model):  # each its own: a network may hold several
            tensor.data = tensor.data.to(own[name])


def _tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def keep_freed_memory() -> None:
    """Ask glibc to keep freed memory: on small CPUs page faults make training up to twice as slow."""
    if sys.platform.startswith("linux"):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt:
            trim_threshold, top_pad, mmap_max = -1, -2, -4
            mallopt(mmap_max, 0), mallopt(trim_threshold, 2**31 - 1), mallopt(top_pad, 2**28)


def _validator(
    validation: Split, distortion: str | Distort | None, sigmas: tuple[float, ...], device: torch.device, blur_of_bytes: bool
) -> Callable[[nn.Module], torch.Tensor]:
    """How to look at the validation images: with all levels kept on the device where they fit, else made anew."""
    if can_be_kept(validation, sigmas):
        levels = all_levels(validation, distortion, sigmas, device=device, blur_of_bytes=blur_of_bytes)
        return lambda model: hits_on(model, levels, validation.labels)
    return lambda model: hits_per_level(model, validation, distortion, sigmas, blur_of_bytes=blur_of_bytes)


def _validate(
    model: nn.Module,
    hits: Callable[[nn.Module], torch.Tensor],
    precision: str,
    progress: Progress,
    losses: list[torch.Tensor],
    best: dict,
) -> dict:
    """Evaluate, extend the curve, and return the best state so far."""
    device = next(model.parameters()).device
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        right = hits(model)
    accuracy = right.double().mean(1)
    progress.curve.append(
        {"iteration": progress.iteration, "loss": torch.stack(losses).mean().item(), "validation": accuracy.tolist()}
    )
    losses.clear()
    if accuracy.mean().item() > progress.best_accuracy + TOLERANCE:
        progress.best_accuracy, progress.best_iteration = accuracy.mean().item(), progress.iteration
        return {k: v.clone() for k, v in model.state_dict().items()}
    return best


def _check_finite(losses: list[torch.Tensor], iteration: int, schedule: Schedule) -> None:
    """`Diverged` if the training did; asked only at looks, since asking makes the device wait."""
    if not torch.stack(losses).isfinite().all():
        raise Diverged(
            f"train: expected a finite loss, got one that is not before iteration {iteration}; choose a "
            f"learning rate below {schedule.learning_rate:g}."
        )
