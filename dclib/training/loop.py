"""The one training loop: baseline, Finetune-k, Deepcorr-k and Deepcorr-kc (Sections 4.2, 5.1).

Everything random in an iteration is drawn from (seed, iteration), so a run that was stopped and goes on from its
checkpoint takes the very steps that it would have taken.
"""

import ctypes
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from dclib.datasets import Split
from dclib.distortions import blur_matrices, blur_with
from dclib.errors import InputError
from dclib.evaluation import all_levels, can_be_kept, correct_on, correct_predictions
from dclib.files import whole
from dclib.training import distributed
from dclib.training.schedule import AUGMENTATIONS, SEMANTICS, Schedule
from dclib.training.step import Engine, optimiser_for

#: A later network replaces the best one only if its validation accuracy is higher by this much (released code).
TOLERANCE = 0.001
#: Images of more bytes than this stay where they are, and each mini-batch travels to the device.
_RESIDENT_BYTES = 16 * 2**30


class Diverged(InputError):
    """The loss is not finite any more."""


class OutOfTime(Exception):
    """The time budget ended; the checkpoint holds what was done."""


@dataclass
class Progress:
    """Where a training stands: `curve` has one entry per look at the validation images."""

    iteration: int = 0
    best_iteration: int = -1
    best_accuracy: float = -1.0
    seconds: float = 0.0
    curve: list[dict] = field(default_factory=list)


def train(model: nn.Module, data: Split, validation: Split, schedule: Schedule, *, seed: int,
          distortion: str | None = None, sigmas: tuple[float, ...] = (), blur_of_bytes: bool = False,
          precision: str = "float32", checkpoint: Path | None = None, deadline: float | None = None,
          report: Callable[[int, float], None] | None = None) -> Progress:
    """Train what requires a gradient in `model`; it ends as the best network on the validation images.

    Args:
        model: takes images in 0..255; trained in place, on the device of its parameters.
        data, validation: uint8 images; validation accuracy is the mean over the clean level and all `sigmas`.
        distortion, sigmas: exactly half of every mini-batch is distorted, the level drawn uniformly; None trains
            on clean images.
        blur_of_bytes: blurred values are rounded to whole grey values, as released for ImageNet.
        precision: "float32", or "bfloat16" autocast.
        checkpoint: safetensors file to go on from, rewritten at every evaluation and when time runs out.
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
    device = next(model.parameters()).device
    batches = Batches(data, schedule, seed, distortion, sigmas, device, blur_of_bytes)
    optimiser = optimiser_for(model, schedule)
    step = Engine(model, optimiser, schedule, precision)  # first: velocities take on its memory format
    look = _looks(validation, distortion, sigmas, device, blur_of_bytes) if distributed.rank() == 0 else None
    progress, best, losses = _resume(checkpoint, model, optimiser)
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
        if evaluated and distributed.rank() == 0:
            _check_finite(losses, progress.iteration, schedule)
            best = _look(model, look, precision, progress, losses, best)
        late = deadline is not None and progress.iteration < schedule.iterations and distributed.agreed(
            time.monotonic() > deadline)
        if checkpoint and distributed.rank() == 0 and (evaluated or late) and progress.iteration < schedule.iterations:
            progress.seconds += time.monotonic() - started
            started = time.monotonic()
            _save_checkpoint(checkpoint, model, optimiser, progress, best, losses)
        if late:
            raise OutOfTime
    progress.seconds += time.monotonic() - started
    if distributed.rank() == 0:
        model.load_state_dict(best)
    model.eval()
    return progress


def keep_freed_memory() -> None:
    """Ask glibc to keep freed memory: on small CPUs page faults make training up to twice as slow."""
    if sys.platform.startswith("linux"):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt:
            trim_threshold, top_pad, mmap_max = -1, -2, -4
            mallopt(mmap_max, 0), mallopt(trim_threshold, 2**31 - 1), mallopt(top_pad, 2**28)


class Batches:
    """Mini-batches by iteration number: augmented, half distorted, in 0..255, on `device`."""

    def __init__(self, data: Split, schedule: Schedule, seed: int, distortion: str | None, sigmas: tuple[float, ...],
                 device: torch.device, blur_of_bytes: bool = False) -> None:
        resident = data.images.shape.numel() <= _RESIDENT_BYTES
        self.data = Split(data.images.to(device) if resident else data.images, data.labels.to(device))
        self.schedule, self.seed, self.distortion, self.device = schedule, seed, distortion, device
        self.blur_of_bytes = blur_of_bytes
        self.sigmas = torch.tensor(sigmas, device=self.device)
        self._pass, self._order = -1, torch.empty(0, dtype=torch.int64)
        if distortion == "blur":
            side = schedule.crop
            like = torch.empty((1, 1, side, side) if side else (1, *data.images.shape[1:]), device=device)
            pairs = [blur_matrices(like, sigma) for sigma in sigmas]
            self.rows, self.columns = (torch.stack(m).unsqueeze(1) for m in zip(*pairs))

    def draw(self, iteration: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Images float [B, C, H, W] and labels [B] of one iteration."""
        index = self._sample(iteration)
        index = index[distributed.rank()::distributed.count()]
        # Each process has a stream of its own; process 0 of one has the stream that it has without torchrun.
        stream = _stream(self.seed, iteration) + distributed.rank() * 2**40
        generator = torch.Generator(self.device).manual_seed(stream)
        images = self._cropped(self.data.images[index.to(self.data.images.device)]).to(self.device).float()
        if self.schedule.mixture == "each by chance":
            images = self._mix_by_chance(images, generator)
        else:
            images = augment(images, self.schedule.augmentation, generator)
            if self.distortion:
                half = len(images) // 2
                images = torch.cat([self._distort(images[:half], generator), images[half:]])
        return images, self.data.labels[index.to(self.device)]

    def _cropped(self, images: torch.Tensor) -> torch.Tensor:
        """The middle of the images: released for ImageNet, whose zero border of the blur therefore shows in training."""
        if not (side := self.schedule.crop):
            return images
        height, width = images.shape[-2:]
        if min(height, width) < side:
            raise InputError(f"training images: expected at least {side}x{side} pixels to crop, got {height}x{width}.")
        top, left = (height - side) // 2, (width - side) // 2
        return images[..., top:top + side, left:left + side]

    def _mix_by_chance(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Each image distorted with probability 1/2, each of the others augmented with probability 1/2."""
        chance = torch.rand(2, len(images), generator=generator, device=self.device) < 0.5
        distorted = chance[0] if self.distortion else torch.zeros_like(chance[0])
        for chosen, change in ((distorted, lambda x: self._distort(x, generator)),
                               (~distorted & chance[1], lambda x: augment(x, self.schedule.augmentation, generator))):
            rows = chosen.nonzero().flatten()
            if len(rows):
                images[rows] = change(images[rows])
        return images

    def _sample(self, iteration: int) -> torch.Tensor:
        """Indices without replacement: pass after pass over the data, each in its own order."""
        size, count = self.schedule.batch_size, len(self.data)
        positions = torch.arange(iteration * size, (iteration + 1) * size)
        parts = []
        for number in torch.unique(positions // count).tolist():
            if number != self._pass:
                generator = torch.Generator().manual_seed(_stream(self.seed, -1 - number))
                self._pass, self._order = number, torch.randperm(count, generator=generator)
            parts.append(self._order[positions[positions // count == number] % count])
        return torch.cat(parts)

    def _distort(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        level = torch.randint(len(self.sigmas), (len(images),), generator=generator, device=self.device)
        if self.distortion == "blur":
            blurred = blur_with(images, self.rows[level], self.columns[level])
            return blurred.round_() if self.blur_of_bytes else blurred
        noise = torch.randn(images.shape, generator=generator, device=self.device)
        return images + noise * self.sigmas[level].view(-1, 1, 1, 1)


def augment(images: torch.Tensor, augmentation: str, generator: torch.Generator | None = None) -> torch.Tensor:
    """Random geometry per image, batched on the device: float [N, C, H, W] to the same shape.

    "pad-crop-flip": 4 pixels of zero padding, a random crop, a flip (He et al., cited in Section 5.1.1).
    "rotate-shift-flip": up to 20 degrees, up to 15 % either way, a flip, nearest pixels outside (released code).
    "rotate-shift-zoom-flip": the same, and coordinates along each axis times 0.75 to 1.25, as Keras zooms (released for
    ImageNet).
    """
    if augmentation == "none":
        return images
    n, _, height, width = images.shape
    uniform = torch.rand(4, n, generator=generator, device=images.device)
    flip = torch.where(uniform[0] < 0.5, -1.0, 1.0)
    if augmentation == "pad-crop-flip":
        shift = torch.floor(uniform[1:3] * 9).long() - 4
        padded = F.pad(images, (4, 4, 4, 4))
        rows = torch.arange(height, device=images.device) + 4 + shift[0, :, None]
        columns = torch.arange(width, device=images.device).expand(n, width)
        columns = torch.where(flip[:, None] < 0, width - 1 - columns, columns) + 4 + shift[1, :, None]
        image = torch.arange(n, device=images.device)[:, None, None]
        return padded.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if augmentation not in AUGMENTATIONS:
        raise InputError(f"augment: expected one of {', '.join(AUGMENTATIONS)}, got {augmentation!r}.")
    angle = torch.deg2rad((uniform[1] * 2 - 1) * 20)
    shift = (uniform[2:4] * 2 - 1) * 0.15 * 2  # affine_grid's axes run from -1 to 1
    cos, sin = torch.cos(angle), torch.sin(angle)
    zoom = torch.ones(2, n, device=images.device)
    if augmentation == "rotate-shift-zoom-flip":  # Keras multiplies coordinates by it: below 1 it enlarges
        zoom = 0.75 + 0.5 * torch.rand(2, n, generator=generator, device=images.device)
    # Angles are those of pixels, and axes of unequal length have unequal pixels in affine_grid's unit.
    aspect = height / width
    theta = torch.stack([torch.stack([flip * cos * zoom[0], -sin * zoom[1] * aspect, shift[0]], -1),
                         torch.stack([flip * sin * zoom[0] / aspect, cos * zoom[1], shift[1]], -1)], 1)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False).to(images.dtype)
    return F.grid_sample(images, grid, mode="nearest", padding_mode="border", align_corners=False)


def _stream(seed: int, number: int) -> int:
    """A generator seed for one iteration (number >= 0) or one pass over the data (number < 0)."""
    return (seed * 2_000_003 + number + 1_000_000) % 2**63


def _looks(validation: Split, distortion: str | None, sigmas: tuple[float, ...], device: torch.device,
           blur_of_bytes: bool) -> Callable[[nn.Module], torch.Tensor]:
    """How to look at the validation images: with all levels kept on the device where they fit, else made anew."""
    if can_be_kept(validation, sigmas):
        levels = all_levels(validation, distortion, sigmas, device=device, blur_of_bytes=blur_of_bytes)
        return lambda model: correct_on(model, levels, validation.labels)
    return lambda model: correct_predictions(model, validation, distortion, sigmas, blur_of_bytes=blur_of_bytes)


def _look(model: nn.Module, look: Callable[[nn.Module], torch.Tensor], precision: str, progress: Progress,
          losses: list[torch.Tensor], best: dict) -> dict:
    """Evaluate, extend the curve, and return the best state so far."""
    device = next(model.parameters()).device
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        correct = look(model)
    accuracy = correct.double().mean(1)
    progress.curve.append({"iteration": progress.iteration, "loss": torch.stack(losses).mean().item(),
                           "validation": accuracy.tolist()})
    losses.clear()
    if accuracy.mean().item() > progress.best_accuracy + TOLERANCE:
        progress.best_accuracy, progress.best_iteration = accuracy.mean().item(), progress.iteration
        return {k: v.clone() for k, v in model.state_dict().items()}
    return best


def _check_finite(losses: list[torch.Tensor], iteration: int, schedule: Schedule) -> None:
    """`Diverged` if the training did; asked only at looks, since asking makes the device wait."""
    if not torch.stack(losses).isfinite().all():
        raise Diverged(f"train: expected a finite loss, got one that is not before iteration {iteration}; choose a "
                       f"learning rate below {schedule.learning_rate:g}.")


def _save_checkpoint(path: Path, model: nn.Module, optimiser: torch.optim.SGD, progress: Progress, best: dict,
                     losses: list[torch.Tensor]) -> None:
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in best.items()}
    for i, parameter in enumerate(_parameters(optimiser)):
        tensors[f"momentum.{i}"] = optimiser.state[parameter]["momentum_buffer"]
    if losses:
        tensors["losses"] = torch.stack(losses)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as temporary:
            save_file({k: v.contiguous().clone() for k, v in tensors.items()}, temporary,
                      metadata={"progress": json.dumps(progress.__dict__), "semantics": SEMANTICS})
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path.parent}: expected a folder with room that can be written, got {error}; choose another "
                         "with DCLIB_RESULTS or --results.") from error


def _resume(path: Path | None, model: nn.Module, optimiser: torch.optim.SGD
            ) -> tuple[Progress, dict, list[torch.Tensor]]:
    """Progress, best state and the losses since the last look, from the checkpoint if there is one."""
    if path is None or not path.exists():
        return Progress(), {}, []
    try:
        with safe_open(path, framework="pt") as file:
            progress = Progress(**json.loads(file.metadata()["progress"]))
            if (semantics := file.metadata()["semantics"]) != SEMANTICS:
                raise ValueError(f"semantics {semantics}, not {SEMANTICS}")
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
        for i, parameter in enumerate(_parameters(optimiser)):
            momentum = tensors[f"momentum.{i}"]
            if momentum.shape != parameter.shape:
                raise ValueError(f"momentum of shape {list(momentum.shape)} for {list(parameter.shape)}")
            optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter.detach()).copy_(momentum)
        best = {k.removeprefix("best."): v for k, v in tensors.items() if k.startswith("best.")}
        if progress.curve and best.keys() != model.state_dict().keys():
            raise KeyError("best")
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise InputError(f"{path}: expected a checkpoint of this run, got {type(error).__name__} ({reason}); delete the "
                         "file to start the run anew.") from error
    return progress, best, list(tensors.get("losses", torch.empty(0)).to(next(model.parameters()).device))


def _parameters(optimiser: torch.optim.SGD) -> list[nn.Parameter]:
    return [p for group in optimiser.param_groups for p in group["params"]]
