"""A small network distilled to say how far a large one can be relied on, from the image alone."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from dclib.models import evaluation_mode

_CHANNELS = (12, 24, 32, 48)
_AT_ONCE = 50


class Student(nn.Module):
    """Four convolutions in steps of two, a mean and a dense layer: some 24,000 parameters.

    Input [N, 3, H, W] in 0..255; output [N], the logit of the large network's probability for the true class.
    """

    def __init__(self) -> None:
        super().__init__()
        layers, before = [], 3
        for channels in _CHANNELS:
            layers += [nn.Conv2d(before, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
            before = channels
        self.layers, self.top = nn.Sequential(*layers), nn.Linear(before, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.top(self.layers((images - 127.5) / 64).mean((2, 3)))[:, 0]


def distil(
    images: torch.Tensor,
    reliability: torch.Tensor,
    rate: Callable[[int], float],
    iterations: int,
    batch_size: int,
    *,
    seed: int = 0,
) -> Student:
    """A student that learnt `reliability` [M] in 0..1 of images uint8 [M, 3, H, W] by cross-entropy, with Adam.

    rate: the learning rate of each iteration. Half of the images of a mini-batch, drawn with replacement, are mirrored.
    """
    torch.manual_seed(seed)
    student, generator = Student().to(memory_format=torch.channels_last), torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(student.parameters())
    student.train()
    for iteration in range(iterations):
        rows = torch.randint(len(images), (batch_size,), generator=generator)
        batch = images[rows].float()
        batch[::2] = batch[::2].flip(3)
        loss = F.binary_cross_entropy_with_logits(
            student(batch.contiguous(memory_format=torch.channels_last)), reliability[rows].float()
        )
        for group in optimiser.param_groups:
            group["lr"] = rate(iteration)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return student.eval()


def suspicion(student: Student, images: torch.Tensor) -> torch.Tensor:
    """Minus the student's logit [N] of images [N, 3, H, W] in 0..255: high where the large network is likely to err."""
    with evaluation_mode(student), torch.inference_mode():
        return -torch.cat(
            [student(part.float().contiguous(memory_format=torch.channels_last)) for part in images.split(_AT_ONCE)]
        )
