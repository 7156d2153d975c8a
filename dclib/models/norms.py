"""Batch normalisation as Keras 1 has it, which the authors' networks were trained with."""

from typing import cast

import torch
from torch import nn
from torch.nn import functional as F


class KerasBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose running variance follows Keras 1.2.1 on Theano 0.9.

    It is updated with the *biased* variance of the mini-batch plus epsilon, where torch takes the unbiased one without:
    ``running <- (1 - momentum) * running + momentum * (variance + eps)``. In evaluation the two are the same function.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        y, mean, variance = normalised(self, x, self.weight, self.bias)
        self.running_mean.copy_(mean)
        self.running_var.copy_(variance)
        self.num_batches_tracked.add_(1)
        return y


def normalised(
    batchnorm: nn.BatchNorm2d, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x [N, C, H, W] normalised by its own statistics, and the running mean and variance [C] that follow from them.

    `batchnorm` itself, `nn.BatchNorm2d` or `KerasBatchNorm2d`, says by which rule they follow and is not changed.
    """
    before, momentum = cast(torch.Tensor, batchnorm.running_var), batchnorm.momentum
    mean, variance = batchnorm.running_mean.clone(), before.clone()
    if momentum is None:  # torch's cumulative average
        momentum = 1 / (batchnorm.num_batches_tracked.item() + 1)
    y = F.batch_norm(x, mean, variance, weight, bias, True, momentum, batchnorm.eps)
    if isinstance(batchnorm, KerasBatchNorm2d):
        # What torch did by its own rule is set right: a few operations on C numbers.
        count = x.numel() // x.shape[1]
        with torch.no_grad():
            variance = torch.add(
                before * ((1 - momentum) / count) + momentum * batchnorm.eps, variance, alpha=(count - 1) / count
            )
    return y, mean, variance
