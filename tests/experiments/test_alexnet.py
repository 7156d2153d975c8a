"""AlexNet by the paper's counts, against layers written out by hand, and Table 10 to the printed digit."""

import pytest
import torch
from torch.nn import functional as F

from dclib import paper
from dclib.correction import CorrectionUnit, correct
from dclib.experiments.imagenet import ALEXNET_FILTERS, ALEXNET_UNITS
from dclib.models import AlexNet, count_parameters, multiply_adds

SIZES = {"conv1": 55, "conv2": 27, "conv3": 13, "conv4": 13, "conv5": 13}


def response_norm(x, alpha, k):
    """Normalisation over five neighbouring channels, `alpha` not divided by five."""
    squares = F.pad(x.pow(2), (0, 0, 0, 0, 2, 2))
    total = sum(squares[:, i : i + x.shape[1]] for i in range(5))
    return x / (k + alpha * total).pow(0.75)


def third_digit(printed):
    """What one unit in the third digit of a printed number of operations is worth."""
    return 10 ** (len(str(printed["flops"])) - 3)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return AlexNet(10).eval()


def test_parameters():
    with torch.device("meta"):
        assert count_parameters(AlexNet()) == 60_965_224


@pytest.mark.parametrize("layout", ["paper", "caffe"])
def test_layouts_against_the_first_layers_by_hand(network, layout):
    model = AlexNet(10, layout).eval()
    model.load_state_dict(network.state_dict())
    images = torch.rand(2, 3, 227, 227) * 255
    x = F.relu(
        F.conv2d(
            images - torch.tensor([123.68, 116.779, 103.939]).view(3, 1, 1), model.conv1.weight, model.conv1.bias, stride=4
        )
    )
    if layout == "paper":  # pool, then x / (2 + 1e-4 * sum)^0.75
        x = response_norm(F.max_pool2d(x, 3, 2), 1e-4, 2)
    else:  # Caffe: alpha divided by the window's size, then pool
        x = F.max_pool2d(response_norm(x, 1e-4 / 5, 1), 3, 2)
    seen = {}
    handle = model.conv2.register_forward_pre_hook(lambda module, inputs: seen.update(x=inputs[0]))
    with torch.no_grad():
        assert model(images).shape == (2, 10)
    handle.remove()
    torch.testing.assert_close(seen["x"], x)


@pytest.mark.parametrize("row", paper.table(10)["rows"], ids=lambda row: row["method"])
def test_table_10(row):
    total = 0
    for printed in row["units"]:
        layer, filters = printed["layer"], ALEXNET_FILTERS[printed["layer"]]
        unit = CorrectionUnit(filters, ALEXNET_UNITS[row["method"]][layer])
        assert filters == printed["filters"]
        assert count_parameters(unit) == printed["parameters"]
        assert (
            multiply_adds(unit, filters, SIZES[layer], SIZES[layer]) // third_digit(printed) * third_digit(printed)
            == printed["flops"]
        )
        total += count_parameters(unit)
    assert abs(total - row["parameters"]) < 10_000


def test_operations_are_printed_cut_not_rounded():
    """`test_table_10` holds each to be cut after three digits; for 7 of the 15 rounding gives another number."""
    rounded = []
    for row in paper.table(10)["rows"]:
        for printed in row["units"]:
            layer = printed["layer"]
            unit = CorrectionUnit(ALEXNET_FILTERS[layer], ALEXNET_UNITS[row["method"]][layer])
            counted = multiply_adds(unit, ALEXNET_FILTERS[layer], SIZES[layer], SIZES[layer])
            rounded.append(round(counted / third_digit(printed)) * third_digit(printed) == printed["flops"])
    assert (len(rounded), rounded.count(False)) == (15, 7)


def test_corrected_alexnet_trains_the_units_alone(network):
    filters = {layer: list(range(count)) for layer, count in ALEXNET_FILTERS.items()}
    corrected = correct(network, filters, ALEXNET_UNITS["Deepcorr-5"])
    assert count_parameters(corrected) == 2_816_848
    with torch.no_grad():
        assert corrected(torch.rand(1, 3, 227, 227) * 255).shape == (1, 10)


def test_unknown_layout():
    with pytest.raises(ValueError, match="expected paper or caffe, got 'torch'"):
        AlexNet(10, "torch")


def test_fresh_dense_weights_are_torchs():
    """But for its rounding, which is another on processors that multiply and add in one step."""
    torch.manual_seed(5)
    ours = AlexNet(10)
    torch.manual_seed(5)
    for conv in (ours.conv1, ours.conv2, ours.conv3, ours.conv4, ours.conv5):
        conv.reset_parameters()
    for name, sizes in {"fc6": (9216, 4096), "fc7": (4096, 4096), "fc8": (4096, 10)}.items():
        theirs = torch.nn.Linear(*sizes)
        for kind in ("weight", "bias"):
            torch.testing.assert_close(getattr(getattr(ours, name), kind), getattr(theirs, kind), rtol=0, atol=1e-8)
