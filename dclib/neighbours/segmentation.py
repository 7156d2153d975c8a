"""Segmentation in small: mosaics of patches, a head on a network's convolutions, and mean IoU."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from dclib.datasets import Split
from dclib.errors import InputError

#: Steps and rate of the head's training, all mosaics at once.
_STEPS, _RATE = 150, 0.02


def mosaics(split: Split, count: int, across: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """`count` mosaics of patches at random places: images uint8 [count, C, across H, across W], classes int64 without C.

    Each of `across` x `across` places has a patch of its own; patches are drawn with replacement.
    """
    if count < 1 or across < 1:
        raise InputError(f"mosaics: expected at least one of at least one patch, got {count} of {across}x{across}.")
    rows = torch.from_numpy(np.random.default_rng(seed).integers(len(split), size=count * across**2))
    patches, labels = split.images[rows], split.labels[rows]
    _, channels, height, width = patches.shape
    images = patches.view(count, across, across, channels, height, width).permute(0, 3, 1, 4, 2, 5)
    classes = labels.view(count, across, 1, across, 1).expand(-1, -1, height, -1, width)
    return (
        images.reshape(count, channels, across * height, across * width),
        classes.reshape(count, across * height, across * width),
    )


class Segmenter(nn.Module):
    """A frozen network's activations, and a 1x1 convolution to classes, enlarged to the size of the image.

    Input [N, 3, H, W] in 0..255; output logits [N, classes, H, W]. `features` maps images to activations [N, F, h, w].
    """

    def __init__(self, features: Callable[[torch.Tensor], torch.Tensor], channels: int, classes: int) -> None:
        super().__init__()
        self.features = features
        self.norm, self.head = nn.BatchNorm2d(channels, affine=False), nn.Conv2d(channels, classes, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            found = self.features(images)
        return self.enlarged(self.head(self.norm(found)), images)

    @staticmethod
    def enlarged(logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        return F.interpolate(logits, images.shape[2:], mode="bilinear", align_corners=False)


def fit_head(
    features: Callable[[torch.Tensor], torch.Tensor],
    images: torch.Tensor,
    classes: torch.Tensor,
    count: int,
    *,
    seed: int = 0,
) -> Segmenter:
    """A `Segmenter` whose head learnt the classes int64 [N, H, W], below `count`, of images float [N, 3, H, W], by Adam.

    It learns at the activations' own size, where each has the class of the middle of its pixels.
    """
    torch.manual_seed(seed)
    with torch.no_grad():
        found = torch.cat([features(part) for part in images.split(16)])
    small = F.interpolate(classes[:, None].float(), found.shape[2:], mode="nearest-exact")[:, 0].long()
    segmenter = Segmenter(features, found.shape[1], count)
    optimiser = torch.optim.Adam(segmenter.head.parameters(), _RATE)
    segmenter.train()
    for _ in range(_STEPS):
        optimiser.zero_grad()
        F.cross_entropy(segmenter.head(segmenter.norm(found)), small).backward()
        optimiser.step()
    return segmenter.eval()


def mean_iou(said: torch.Tensor, classes: torch.Tensor, count: int) -> float:
    """Intersection over union of each class that is said or there, averaged.

    Maps of whole numbers [N, H, W] below `count`. Raises `InputError` for maps of other shapes.
    """
    if said.shape != classes.shape:
        raise InputError(f"mean IoU: expected maps of one shape, got {list(said.shape)} and {list(classes.shape)}.")
    table = torch.bincount(said.flatten() * count + classes.flatten(), minlength=count**2).view(count, count).double()
    both, either = table.diagonal(), table.sum(0) + table.sum(1) - table.diagonal()
    return (both[either > 0] / either[either > 0]).mean().item()
