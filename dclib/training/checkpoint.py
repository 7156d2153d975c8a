"""Where a training stands, and the checkpoint that it goes on from."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from dclib.errors import InputError
from dclib.files import whole
from dclib.tensors import UNREADABLE, read, reason, sealed
from dclib.training.schedule import SEMANTICS


@dataclass
class Progress:
    """Where a training stands: `curve` has one entry per look at the validation images."""

    iteration: int = 0
    best_iteration: int = -1
    best_accuracy: float = -1.0
    seconds: float = 0.0
    curve: list[dict] = field(default_factory=list)


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.SGD,
    progress: Progress,
    best: dict,
    losses: list[torch.Tensor],
    call: str = "",
) -> None:
    """Write the checkpoint, whole or not at all; `InputError` where it cannot be. call: whose it is, where nobody else says."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in best.items()}
    for i, parameter in enumerate(_parameters(optimiser)):
        tensors[f"momentum.{i}"] = optimiser.state[parameter]["momentum_buffer"]
    if losses:
        tensors["losses"] = torch.stack(losses)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as temporary:
            save_file(
                {k: v.contiguous().clone() for k, v in tensors.items()},
                temporary,
                metadata=sealed(tensors, {"progress": json.dumps(progress.__dict__), "semantics": SEMANTICS, "call": call}),
            )
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path.parent}: expected a folder with room that can be written, got {error}; choose another "
            "with DCLIB_RESULTS or --results."
        ) from error


def resume(
    path: Path | None, model: nn.Module, optimiser: torch.optim.SGD, call: str = ""
) -> tuple[Progress, dict, list[torch.Tensor]]:
    """Progress, best state and the losses since the last look, from the checkpoint if there is one."""
    if path is None or not path.exists():
        return Progress(), {}, []
    try:
        tensors, metadata = read(path)
        progress = _progress(json.loads(metadata["progress"]))
        if (semantics := metadata["semantics"]) != SEMANTICS:
            raise ValueError(f"semantics {semantics}, not {SEMANTICS}")
        if metadata.get("call", "") != call:
            raise ValueError("other images, network or settings")
        model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
        for i, parameter in enumerate(_parameters(optimiser)):
            momentum = tensors[f"momentum.{i}"]
            if momentum.shape != parameter.shape:
                raise ValueError(f"momentum of shape {list(momentum.shape)} for {list(parameter.shape)}")
            optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter.detach()).copy_(momentum)
        best = {k.removeprefix("best."): v for k, v in tensors.items() if k.startswith("best.")}
        if progress.curve and best.keys() != model.state_dict().keys():
            raise KeyError("best")
        losses = tensors.get("losses", torch.empty(0))
        if losses.ndim != 1 or not losses.is_floating_point():
            raise ValueError(f"losses {losses.dtype} {list(losses.shape)}")
    except UNREADABLE as error:
        raise InputError(
            f"{path}: expected a checkpoint of this run, got {type(error).__name__} ({reason(error)}); delete "
            "the file to start the run anew."
        ) from error
    return progress, best, list(losses.to(next(model.parameters()).device))


def _progress(values: dict) -> Progress:
    """The progress that a checkpoint tells of; ValueError where its values are of other kinds than a training's."""
    progress = Progress(**values)
    counts, numbers = (progress.iteration, progress.best_iteration), (progress.best_accuracy, progress.seconds)
    looks = progress.curve if isinstance(progress.curve, list) else [None]
    if not (
        all(type(count) is int and -1 <= count < 2**62 for count in counts)
        and progress.iteration >= 0
        and all(type(number) in (int, float) and math.isfinite(number) for number in numbers)
        and all(isinstance(look, dict) and {"iteration", "loss", "validation"} <= look.keys() for look in looks)
    ):
        raise ValueError("progress of another kind")
    return progress


def _parameters(optimiser: torch.optim.SGD) -> list[nn.Parameter]:
    return [p for group in optimiser.param_groups for p in group["params"]]
