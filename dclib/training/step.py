"""One training iteration: forward, backward, update; on a GPU as one CUDA graph.

The networks of the paper's CIFAR-100 half are small: launched kernel by kernel, a modern GPU waits for the CPU.
A graph is captured once per run and replayed, with the learning rate in a tensor of its own.
"""

from contextlib import suppress
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from dclib.correction import CorrectedConv2d, CorrectionUnit
from dclib.errors import InputError
from dclib.training import distributed
from dclib.training.schedule import Schedule


def optimiser_for(model: nn.Module, schedule: Schedule) -> torch.optim.SGD:
    """Fused SGD with Nesterov momentum 0.9 over what requires a gradient, l2 and factors per layer as in `schedule`."""
    coefficients, factors = l2_weights(model, schedule), dict(schedule.factors)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            # SGD's weight decay is the gradient of coefficient * w^2, which is twice the coefficient.
            decay, factor = 2 * coefficients.get(parameter, 0.0), factors.get(name.rpartition(".")[0], 1.0)
            groups.setdefault((decay, factor), []).append(parameter)
    if not groups:
        raise InputError("train: expected a network with something to train, got none that requires gradients.")
    return torch.optim.SGD(
        [{"params": p, "weight_decay": d, "factor": f} for (d, f), p in groups.items()],
        lr=schedule.learning_rate,
        momentum=0.9,
        nesterov=True,
        fused=True,
    )


def l2_weights(model: nn.Module, schedule: Schedule) -> dict[nn.Parameter, float]:
    """Weights that `schedule.l2` speaks of, trained or frozen, and their coefficients; behind a unit or not."""
    found: dict[nn.Parameter, float] = {}
    for layer, coefficient in schedule.l2:
        with suppress(AttributeError):  # a network without that layer has nothing to decay there
            module = model.get_submodule(layer)
            whole = module.conv if isinstance(module, CorrectedConv2d) else module
            found[cast(nn.Parameter, whole.weight)] = coefficient
    return found


def unit_weights(model: nn.Module) -> list[torch.Tensor]:
    """Weights of the convolutions inside all correction units: what Eq. 5's regulariser acts on."""
    return [
        m.weight
        for unit in model.modules()
        if isinstance(unit, CorrectionUnit)
        for m in unit.modules()
        if isinstance(m, nn.Conv2d)
    ]


class TrainStep:
    """Iterations of one training. Call with images float [B, C, H, W], labels [B] and the learning rate.

    Under torchrun the images are this process's share of the mini-batch, and gradients are averaged over all.

    Returns the loss as a tensor of its own: cross-entropy and all regularisers, those of frozen layers too, as Keras
    reports it. The mini-batch must have the same shape every time.

    `rate` is the learning rate of the iteration before. Keras has the rate inside of the velocity, torch outside: where
    the rate changes, torch's velocity is scaled by the old rate over the new one, which makes the two one method.
    """

    def __init__(self, model: nn.Module, optimiser: torch.optim.SGD, schedule: Schedule, precision: str) -> None:
        self.model, self.optimiser, self.schedule, self.precision = model, optimiser, schedule, precision
        self.rate: float | None = None
        self.l2 = l2_weights(model, schedule)
        self.device = next(model.parameters()).device
        self.graph: torch.cuda.CUDAGraph | None = None
        model.to(memory_format=torch.channels_last)
        self.forward = distributed.wrapped(model)
        self.captures = self.device.type == "cuda" and distributed.world_size() == 1

    def __call__(self, images: torch.Tensor, labels: torch.Tensor, rate: float) -> torch.Tensor:
        self._keep_velocity(rate)
        if not self.captures:
            for group in self.optimiser.param_groups:
                group["lr"] = rate * group["factor"]
            return self._iterate(images.contiguous(memory_format=torch.channels_last), labels)
        if self.graph is None:
            self._capture(images, labels)
        self.images.copy_(images)
        self.labels.copy_(labels)
        for group in self.optimiser.param_groups:
            group["lr"].fill_(rate * group["factor"])
        self.graph.replay()
        return self.loss.clone()

    def _keep_velocity(self, rate: float) -> None:
        velocities = [state["momentum_buffer"] for state in self.optimiser.state.values()]
        if self.rate not in (None, rate) and velocities:
            torch._foreach_mul_(velocities, self.rate / rate)
        self.rate = rate

    def _iterate(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with torch.autocast(
            self.device.type,
            dtype=torch.bfloat16,
            enabled=self.precision == "bfloat16",
            cache_enabled=self.device.type != "cuda",
        ):  # a cached cast would not be replayed
            logits = self.forward(images)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        loss = F.cross_entropy(logits, labels.to(logits.dtype) if labels.is_floating_point() else labels)
        if self.schedule.l1 and (weights := unit_weights(self.model)):
            loss = loss + self.schedule.l1 * sum(w.abs().sum() for w in weights)
        loss.backward()
        with torch.no_grad():  # the optimiser adds their gradients itself
            loss = loss.detach() + sum(coefficient * weight.square().sum() for weight, coefficient in self.l2.items())
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return loss

    def _capture(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Record the iteration. The warm-up that capturing needs is undone, so it leaves no trace in the run."""
        self.images = images.to(memory_format=torch.channels_last, copy=True)
        self.labels = labels.clone()
        for group in self.optimiser.param_groups:
            group["lr"] = torch.zeros((), device=self.device)
            for parameter in group["params"]:
                self.optimiser.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
        changed = [*self.model.state_dict().values(), *(state["momentum_buffer"] for state in self.optimiser.state.values())]
        before = [value.clone() for value in changed]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._iterate(self.images, self.labels)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.loss = self._iterate(self.images, self.labels)
        for value, old in zip(changed, before):
            value.copy_(old)
