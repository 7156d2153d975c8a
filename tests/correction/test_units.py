"""Correction units alone, and what they add to a network: the paper's parameter counts, their shape, their first weights."""

import math

import pytest
import torch
from support import images, refused
from torch import nn
from torch.nn.utils import prune  # noqa: F401 - nn.utils does not import it itself

from dclib.correction import (
    CRITICALLY_WIDE,
    CorrectionUnit,
    UnitDesign,
    correct,
)
from dclib.models import AllConvNet, count_parameters

CONV = [f"conv{i}" for i in range(1, 10)]


@pytest.fixture(scope="module")
def full():
    return AllConvNet().eval()


def first(k, narrow, wide):
    return {layer: list(range(narrow if i < 3 else wide)) for i, layer in enumerate(CONV[:k])}


@pytest.mark.parametrize(
    "k, top, count",
    [
        (1, False, 80_954),
        (3, False, 242_862),
        (6, False, 505_674),
        (1, True, 470_246),
        (3, True, 632_154),
        (6, True, 894_966),
    ],
)
def test_deepcorrect_counts_of_table_3(full, k, top, count):
    network = correct(full, first(k, 50, 100), also_train=CONV[6:] if top else ())
    assert count_parameters(network) == count


def unit_parameters(n, width, kernels, batchnorms, input_batchnorm=False):
    """Counted by hand: weights and biases, and two numbers per channel of a BatchNorm."""
    widths = [n] + [width] * (len(kernels) - 1) + [n]
    convolutions = sum(k * k * a * b + b for k, a, b in zip(kernels, widths, widths[1:]))
    return convolutions + 2 * width * batchnorms + (2 * n if input_batchnorm else 0)


def test_counts_of_the_papers_text(full):
    network = correct(full, first(6, 48, 96), CRITICALLY_WIDE)
    narrow, wide = (unit_parameters(n, n, (1, 3, 3, 1), 3) + 2 * n for n in (48, 96))
    assert count_parameters(network) == 3 * narrow + 3 * wide
    assert network.conv1.unit.residual[0].weight.shape == (48, 48, 1, 1)
    assert network(images(2)).shape == (2, 100)


TABLE_10 = [
    (72, UnitDesign(kernels=(1, 5, 5, 1)), 270_288),
    (192, UnitDesign(), 739_200),
    (128, UnitDesign(), 328_960),
    (72, UnitDesign(128, dilations=(1, 1, 2, 1)), 314_568),
    (192, UnitDesign(128), 345_408),
    (128, UnitDesign(128), 328_960),
    (72, UnitDesign(36, (1, 3, 3, 3, 1), (1, 1, 1, 2, 1)), 40_680),
    (192, UnitDesign(96, (1, 3, 3, 3, 1)), 287_040),
    (128, UnitDesign(64, (1, 3, 3, 3, 1)), 127_872),
]


@pytest.mark.parametrize("filters, design, count", TABLE_10)
def test_unit_counts_of_table_10(filters, design, count):
    unit = CorrectionUnit(filters, design)
    assert count_parameters(unit) == count
    width, batchnorms = design.width or filters, len(design.kernels) - 1
    assert count == unit_parameters(filters, width, design.kernels, batchnorms)
    x = torch.randn(2, filters, 13, 13)
    assert unit(x).shape == x.shape


def test_dilations_reach_as_far_as_they_should():
    unit = CorrectionUnit(1, UnitDesign(1, (1, 3, 3, 1), (1, 1, 2, 1), batchnorm=False))
    for conv in unit.residual:
        if isinstance(conv, nn.Conv2d):
            nn.init.ones_(conv.weight)
    x = torch.zeros(1, 1, 15, 15)
    x[0, 0, 7, 7] = 1
    reached = (unit(x)[0, 0] > 0).nonzero()
    assert reached.min() == 4 and reached.max() == 10  # 1 + 2 pixels either way


def test_initial_weights_are_he_normal():
    torch.manual_seed(0)
    unit = CorrectionUnit(400, UnitDesign(width=100, input_batchnorm=True))
    for conv in (m for m in unit.residual if isinstance(m, nn.Conv2d)):
        weights, fan_in = conv.weight.detach().double().flatten(), conv.weight[0].numel()
        assert not conv.bias.any()
        assert weights.var().item() == pytest.approx(2 / fan_in, rel=0.03)
        # Normal, and not cut off: as many beyond two standard deviations as there should be, and some beyond three.
        beyond = (weights.abs() > 2 * math.sqrt(2 / fan_in)).double().mean().item()
        assert beyond == pytest.approx(0.0455, rel=0.1) and weights.abs().max() > 3 * math.sqrt(2 / fan_in)
    assert [type(m).__name__ for m in unit.residual] == [
        "KerasBatchNorm2d",
        "Conv2d",
        "KerasBatchNorm2d",
        "ReLU",
        "Conv2d",
        "KerasBatchNorm2d",
        "ReLU",
        "Conv2d",
        "KerasBatchNorm2d",
        "ReLU",
        "Conv2d",
    ]


def test_the_momentum_of_the_units_is_a_field():
    momenta = {
        m.momentum
        for m in CorrectionUnit(4, UnitDesign(input_batchnorm=True, batchnorm_momentum=0.2)).modules()
        if isinstance(m, nn.BatchNorm2d)
    }
    assert momenta == {0.2} and UnitDesign().batchnorm_momentum == 0.01
    with refused("batchnorm_momentum", "0"):
        UnitDesign(batchnorm_momentum=0.0)
