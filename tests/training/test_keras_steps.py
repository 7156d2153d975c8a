"""Our training step against the authors' own stack: their networks on Keras 1.2.1 and Theano 0.9.0, in float64.

tests/data/keras_steps.json has what Keras gave: losses of three steps and of a fourth after the rate fell to a tenth, the
norms and sums of all arrays of `get_weights()` after the third and the fourth, and outputs in the test phase. Weights and
mini-batches come from stated seeds, so none of them had to be kept.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from keras_arrays import drawn
from torch import nn

from dclib.correction import RELEASED_CIFAR100, correct
from dclib.models import CIFAR100_MEAN, CIFAR100_STD, AllConvNet, trainable_copy
from dclib.training import Schedule, TrainStep, optimiser_for

OBSERVED = json.loads((Path(__file__).parents[1] / "data" / "keras_steps.json").read_text())["cases"]
CONV = [f"conv{i}" for i in range(1, 10)]
CORRECTED = 50  # of 96 filters, as released


def arrays_of(network: nn.Module) -> list[tuple[str, torch.Tensor]]:
    """(kind, tensor) in the order of Keras's `get_weights()`; the tensors share memory with the network."""
    found = []
    for i, layer in enumerate(CONV, start=1):
        conv, batchnorm = network.get_submodule(layer), network.get_submodule(f"bn{i}")
        if not hasattr(conv, "unit"):
            found += [*_conv(conv), *_batchnorm(batchnorm)]
            continue
        found += _conv(conv.conv)
        for module in conv.unit.residual:
            found += (
                _conv(module)
                if isinstance(module, nn.Conv2d)
                else (_batchnorm(module) if isinstance(module, nn.BatchNorm2d) else [])
            )
        whole, n = batchnorm.batchnorm, CORRECTED
        found += [
            ("scale", batchnorm.weight),
            ("shift", batchnorm.bias),
            ("mean", whole.running_mean[:n]),
            ("variance", whole.running_var[:n]),
        ]
        found += [(kind, tensor[n:]) for kind, tensor in _batchnorm(whole)]
    return [(kind, tensor.detach()) for kind, tensor in found]


def _conv(conv: nn.Conv2d) -> list[tuple[str, torch.Tensor]]:
    return [("weight", conv.weight), ("bias", conv.bias)]


def _batchnorm(module: nn.BatchNorm2d) -> list[tuple[str, torch.Tensor]]:
    return [
        ("scale", module.weight),
        ("shift", module.bias),
        ("mean", module.running_mean),
        ("variance", module.running_var),
    ]


def network_of(case: str) -> nn.Module:
    base = AllConvNet().double()
    base.normalize = nn.Identity()  # Keras was given normalised images, rounded to float32
    name, _, k = case.rpartition("-")
    if case == "baseline-all-trained":
        network = base
    elif name == "deepcorr":
        filters = dict.fromkeys(CONV[: int(k)], list(range(CORRECTED)))
        network = correct(base, filters, RELEASED_CIFAR100, batch_statistics=True)
    else:  # the released baseline script leaves conv7..9 as they were drawn
        network = trainable_copy(base, CONV[: int(k) if name else 6], batch_statistics=True)
    for i, (kind, tensor) in enumerate(arrays_of(network)):
        tensor.copy_(_flipped(torch.from_numpy(drawn(kind, 5000 + i, tuple(tensor.shape))).double()))
    return network


def _flipped(weight: torch.Tensor) -> torch.Tensor:
    """Theano convolves, torch correlates."""
    return weight.flip(2, 3) if weight.ndim == 4 else weight


def normalised(rng: np.random.RandomState, count: int) -> torch.Tensor:
    images = rng.uniform(0, 255, (count, 3, 32, 32))
    mean, std = (np.array(values)[:, None, None] for values in (CIFAR100_MEAN, CIFAR100_STD))
    return torch.from_numpy(((images - mean) / std).astype(np.float32)).double()


def schedule_of(case: str) -> Schedule:
    deep, observed = case.startswith("deepcorr"), OBSERVED[case]
    l2 = tuple((layer, 1e-4 if deep or layer in CONV[6:] else 3e-4) for layer in CONV)
    return Schedule(4, 16, observed["lr"], (3,), 4, decay=observed["decay"], l2=l2, l1=1e-5 if deep else 0.0)


@pytest.mark.parametrize("case", OBSERVED)
def test_steps_are_those_of_keras(case):
    network, schedule, observed = network_of(case), schedule_of(case), OBSERVED[case]
    step = TrainStep(network.train(), optimiser_for(network, schedule), schedule, "float32")
    for number in range(1, 5):
        images = normalised(np.random.RandomState(900 + number), 16)
        labels = torch.from_numpy(np.random.RandomState(950 + number).randint(0, 100, 16))
        loss = step(images, labels, schedule.rate(number - 1)).item()
        assert loss == pytest.approx(observed["losses"][number - 1], rel=1e-9)
        if number >= 3:
            arrays = [_flipped(tensor) for _, tensor in arrays_of(network)]
            expected = observed["arrays"][str(number)]
            assert len(arrays) == len(expected)
            for array, (total, norm, first) in zip(arrays, expected):
                assert array.norm().item() == pytest.approx(norm, rel=1e-9)
                assert array.sum().item() == pytest.approx(total, abs=1e-9 * array.abs().sum().item())
                assert array.flatten()[0].item() == pytest.approx(first, abs=1e-9 * norm)
        if number == 3:
            with torch.no_grad():
                softmax = network.eval()(normalised(np.random.RandomState(7), 3)).softmax(1)[:, :10]
            network.train()
            np.testing.assert_allclose(softmax, observed["test_softmax"], rtol=1e-8)


@pytest.mark.parametrize("case", ["finetune-1", "deepcorr-1"])
def test_what_is_frozen_stands_still_but_for_its_statistics(case):
    network, schedule = network_of(case), schedule_of(case)
    before = [tensor.clone() for _, tensor in arrays_of(network)]
    step = TrainStep(network.train(), optimiser_for(network, schedule), schedule, "float32")
    step(normalised(np.random.RandomState(901), 16), torch.arange(16), 0.1)
    still = [i for i, (old, (_, new)) in enumerate(zip(before, arrays_of(network))) if torch.equal(old, new)]
    assert still == OBSERVED[case]["unchanged"]
