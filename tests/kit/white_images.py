"""Images that are hard to distort alike."""

import torch


def noisy(*shape, dtype=torch.float32, seed=0):
    """White noise in 0..255: the hardest images to blur alike."""
    return 255 * torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)
