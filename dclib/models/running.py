"""Running a network for its answers: in evaluation mode, without its wrappers, in batches that fit into memory."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from dclib.errors import InputError

_WRAPPERS = (nn.DataParallel, DistributedDataParallel, AveragedModel)
#: What a batch may take, and how many of a network's largest value are alive at once, nearly.
_BYTES, _ALIVE = 2 * 2**30, 4
#: Batches with fewer numbers than this fit whatever the network does with them.
_SMALL = 2**22


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """`model` is in evaluation mode during the block; afterwards, also after an error, every module is in its own mode.

    Some modules may be in training mode while others are not: ``model.train(model.training)`` would not bring that back.
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in modes:  # the outer before the inner, by `train`, which may do more than set an attribute
            if module.training != training:
                module.train(training)
        for module, training in modes:  # a module may have two parents
            if module.training != training:
                module.training = training


def unwrapped(model: nn.Module) -> nn.Module:
    """The user's own network inside of what torch wraps around it: compiled, data-parallel or averaged."""
    while True:
        if isinstance(model, _WRAPPERS):
            model = model.module
        elif isinstance(original := getattr(model, "_orig_mod", None), nn.Module):
            model = original
        else:
            return model


def images_at_once(model: nn.Module, images: torch.Tensor, most: int) -> int:
    """How many of `images` [N, C, H, W] run at once: `most`, or fewer where a layer's output takes too much memory.

    The network, which is in evaluation mode, runs on the first of them where they are large.
    """
    if most * images[0].numel() <= _SMALL:
        return most
    largest = images[0].numel() * images.element_size()

    def note(module: nn.Module, inputs: tuple, output: object) -> None:
        nonlocal largest
        if isinstance(output, torch.Tensor):
            largest = max(largest, output.numel() * output.element_size())

    model = unwrapped(model)
    handles = [module.register_forward_hook(note) for module in model.modules()]
    try:
        model(images[:1].clone())
    finally:
        for handle in handles:
            handle.remove()
    return max(1, min(most, _BYTES // (_ALIVE * largest)))


def predicted_classes(logits: torch.Tensor, count: int) -> torch.Tensor:
    """The class with the highest logit: int64 [N] of logits [N, K].

    Raises `InputError` for anything but a tensor of `count` rows and two columns or more.
    """
    if not isinstance(logits, torch.Tensor):
        raise InputError(
            f"network: expected a tensor of logits [N, K], got {type(logits).__name__}; wrap the network so "
            "that it returns the logits alone."
        )
    if logits.ndim != 2 or len(logits) != count or logits.shape[1] < 2 or logits.dtype == torch.bool:
        raise InputError(
            f"network: expected logits [N, K] of {count} images and two classes or more, got {logits.dtype} "
            f"{list(logits.shape)}; flatten them, or give a network with one output a logit for each of its "
            "two classes."
        )
    return logits.argmax(1)
