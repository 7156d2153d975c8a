"""What several test modules need: the check of an error's sentence, and a network that has seen some images."""

import multiprocessing
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from dclib.errors import InputError


@contextmanager
def refused(*words: str) -> Iterator[None]:
    """The block raises `InputError`: one line that says what was expected and what came, with all of `words`."""
    with pytest.raises(InputError) as caught:
        yield
    check_sentence(str(caught.value), *words)


def check_sentence(message: str, *words: str) -> None:
    assert "\n" not in message and len(message) < 600
    assert re.search(r"expected .*\.$", message)
    for word in words:
        assert word in message


def settled(model: nn.Module, *, seed: int = 0) -> nn.Module:
    """`model` in evaluation mode with BatchNorm statistics, scales and shifts that are not the initial ones."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value, low, high in ((module.running_mean, -0.5, 0.5), (module.running_var, 0.5, 2.0),
                                     (module.weight.data, 0.5, 1.5), (module.bias.data, -0.3, 0.3)):
                value.copy_(low + (high - low) * torch.rand(value.shape, generator=generator))
    return model.eval()


def worker_context() -> multiprocessing.context.BaseContext:
    """Processes that start fast: one server imports dclib once and is forked for each of them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dclib.sweep", "torch._dynamo"])  # the optimiser imports the latter
    return context
