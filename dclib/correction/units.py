"""Correction units (Section 4.2, Figure 7, Table 10) and what carries them in a network."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from dclib.errors import InputError
from dclib.models import (
    KerasBatchNorm2d,
)
from dclib.models.norms import normalised

#: How fresh weights of a unit are drawn: normal with variance 2 / fan-in, or uniform with variance 2 / (fan-in + fan-out).
INITIALISATIONS: dict[str, Callable] = {
    "he_normal": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "glorot_uniform": nn.init.xavier_uniform_,
}


@dataclass(frozen=True)
class UnitDesign:
    """The design of a correction unit for n filters; the last convolution always has n outputs.

    Args:
        width: filters of the inner convolutions (D_i in Figure 7); n when None ("critically wide").
        kernels: odd kernel sizes of all convolutions, first to last.
        dilations: one per kernel; all 1 when empty.
        input_batchnorm: BatchNorm on the unit's input.
        batchnorm: BatchNorm after every convolution but the last.
        batchnorm_momentum: weight of a mini-batch in their running statistics; released is Keras's 0.01, which takes some
            hundred iterations to settle. Shorter trainings take more.
        initialisation: of the convolutions' weights, one of `INITIALISATIONS`: he_normal as released, or Keras 1's default.
        begins_at_zero: the last convolution begins at 0, so that a fresh unit passes its filters on as they are.

    >>> from dclib import UnitDesign, correct
    >>> from dclib.models import AllConvNet, count_parameters
    >>> units = [UnitDesign(width=width, kernels=(1, 3, 3, 1)) for width in (None, 8)]
    >>> [count_parameters(correct(AllConvNet(100, width=32), {"conv1": range(16)}, unit)) for unit in units]
    [5312, 1528]
    """

    width: int | None = None
    kernels: tuple[int, ...] = (1, 3, 3, 1)
    dilations: tuple[int, ...] = ()
    input_batchnorm: bool = False
    batchnorm: bool = True
    batchnorm_momentum: float = 0.01
    initialisation: str = "he_normal"
    begins_at_zero: bool = False

    def __post_init__(self) -> None:
        numbers = (*([] if self.width is None else [self.width]), *self.kernels, *self.dilations)
        if any(type(number) is not int for number in numbers):
            raise InputError(f"width, kernels, dilations: expected whole numbers, got {list(numbers)}.")
        if self.width is not None and self.width < 1:
            raise InputError(f"width: expected a positive number of filters or None, got {self.width}.")
        if len(self.kernels) < 2 or any(k < 1 or k % 2 == 0 for k in self.kernels):
            raise InputError(f"kernels: expected two or more odd sizes, got {self.kernels}.")
        if self.dilations and len(self.dilations) != len(self.kernels):
            raise InputError(f"dilations: expected {len(self.kernels)} numbers, one per kernel, got {self.dilations}.")
        if any(d < 1 for d in self.dilations):
            raise InputError(f"dilations: expected positive numbers, got {self.dilations}.")
        if not 0 < self.batchnorm_momentum <= 1:
            raise InputError(f"batchnorm_momentum: expected a number in 0..1, got {self.batchnorm_momentum}.")
        if self.initialisation not in INITIALISATIONS:
            raise InputError(f"initialisation: expected one of {', '.join(INITIALISATIONS)}, got {self.initialisation!r}.")


#: The released CIFAR-100 unit: only with width 64 do the parameter counts of Tables 3 and 4 come out.
RELEASED_CIFAR100 = UnitDesign(width=64, input_batchnorm=True)


#: The unit of the paper's text (Figure 7): as wide as it has filters.
CRITICALLY_WIDE = UnitDesign()


class CorrectionUnit(nn.Module):
    """x + stack of convolutions of x: the residual block of Figure 7 for `channels` filters (Eq. 2).

    Input and output [N, channels, H, W]: outputs of the filters to correct, before BatchNorm and ReLU. Fresh weights are
    he_normal, as released: normal with variance 2 / fan-in; biases are 0.
    """

    def __init__(self, channels: int, design: UnitDesign = CRITICALLY_WIDE) -> None:
        super().__init__()
        width = design.width or channels
        dilations = design.dilations or (1,) * len(design.kernels)
        momentum = design.batchnorm_momentum
        stack: list[nn.Module] = []
        if design.input_batchnorm:
            stack.append(KerasBatchNorm2d(channels, eps=1e-3, momentum=momentum))
        inputs = channels
        for i, (kernel, dilation) in enumerate(zip(design.kernels, dilations), start=1):
            last = i == len(design.kernels)
            outputs = channels if last else width
            conv = nn.Conv2d(inputs, outputs, kernel, padding=dilation * (kernel // 2), dilation=dilation)
            INITIALISATIONS[design.initialisation](conv.weight)
            if last and design.begins_at_zero:
                nn.init.zeros_(conv.weight)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
            stack.append(conv)
            if not last:
                stack += [KerasBatchNorm2d(width, eps=1e-3, momentum=momentum)] if design.batchnorm else []
                stack.append(nn.ReLU(inplace=True))
            inputs = outputs
        self.residual = nn.Sequential(*stack)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.residual(x)

    def correct_among(self, y: torch.Tensor, selection: torch.Tensor) -> torch.Tensor:
        """y + S^T F(S y): all channels of y [N, C, H, W], those of the one-hot selection S [channels, C] corrected.

        Choosing and putting back are products with S, not gathers: convolutions keep the layout of their library, forward
        and backward. S^T is put into the last convolution, whose output then has all channels at once.
        """
        *stack, last = cast(list[Any], self.residual)
        x = F.conv2d(y, selection[..., None, None])
        for module in stack:
            x = module(x)
        weight = (selection.mT @ last.weight.flatten(1)).view(-1, last.in_channels, *last.kernel_size)
        return y + F.conv2d(x, weight, selection.mT @ last.bias, padding=last.padding, dilation=last.dilation)


class CorrectedConv2d(nn.Module):
    """A frozen convolution with a `CorrectionUnit` behind some of its filters (Eq. 4); the others pass."""

    index: torch.Tensor

    def __init__(self, conv: nn.Conv2d, index: torch.Tensor, design: UnitDesign) -> None:
        super().__init__()
        self.conv = conv
        self.unit = CorrectionUnit(len(index), design)
        self.register_buffer("index", index.clone())  # safetensors refuses tensors that share memory

    @property
    def selection(self) -> torch.Tensor:
        """S, float [corrected filters, filters]: row i is 1 at the i-th corrected filter, else 0."""
        filters = torch.arange(self.conv.out_channels, device=self.index.device)
        return (self.index[:, None] == filters).to(cast(nn.Conv2d, self.unit.residual[-1]).weight.dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.unit.correct_among(self.conv(x), self.selection)


class PartialBatchNorm2d(nn.Module):
    """BatchNorm of which only some channels' scale and shift are trained.

    These are the "+100" in Table 3's 80,954 parameters: scale and shift of the 50 corrected channels.

    Args:
        batchnorm: the whole BatchNorm, `nn.BatchNorm2d` or `KerasBatchNorm2d`; it becomes a part of this module.
        index: the channels to train.
        batch_statistics: in training the other channels are normalised by the mini-batch too, as released; else by their
            running statistics, which then stand still, as in the paper's text.
    """

    index: torch.Tensor

    def __init__(self, batchnorm: nn.BatchNorm2d, index: torch.Tensor, *, batch_statistics: bool = False) -> None:
        super().__init__()
        self.batchnorm, self.batch_statistics = batchnorm.requires_grad_(False), batch_statistics
        mean = cast(torch.Tensor, batchnorm.running_mean)
        whole = [torch.ones_like(mean), torch.zeros_like(mean)]
        if batchnorm.affine:
            whole = [batchnorm.weight, batchnorm.bias]
        self.weight, self.bias = (nn.Parameter(values.detach()[index].clone()) for values in whole)
        self.register_buffer("index", index.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, bias, whole = self._composed(1.0, self.weight), self._composed(0.0, self.bias), self.batchnorm
        if not self.training:
            return F.batch_norm(x, whole.running_mean, whole.running_var, weight, bias, False, 0.0, whole.eps)
        y, mean, variance = normalised(whole, x, weight, bias)
        if not self.batch_statistics:
            before = whole.running_mean.clone(), whole.running_var.clone()
            chosen = torch.zeros_like(mean, dtype=torch.bool).index_fill(0, self.index, True)
            still = F.batch_norm(x, *before, weight, bias, False, 0.0, whole.eps)
            y = torch.where(chosen[:, None, None], y, still)
            mean, variance = (torch.where(chosen, new, old) for new, old in zip((mean, variance), before))
        whole.running_mean.copy_(mean)
        whole.running_var.copy_(variance)
        whole.num_batches_tracked.add_(1)
        return y

    def _composed(self, default: float, trained: torch.Tensor) -> torch.Tensor:
        """The whole scale (default 1) or shift (default 0): frozen values, and the trained ones in their places."""
        frozen = self.batchnorm.weight if default else self.batchnorm.bias
        if frozen is None:
            frozen = torch.full_like(self.batchnorm.running_mean, default)
        return frozen.index_copy(0, self.index, trained)
