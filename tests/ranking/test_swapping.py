"""Swapped outputs against Algorithm 1 as it is written: one full forward pass per filter."""

import copy

import numpy as np
import pytest
import torch
from naive_swaps import accuracy_after_swap, centred, correct_after_swap, labelled, naive_swap_accuracy, pairs
from support import refused, settled
from swap_networks import CLASSES, NETWORKS, Grouped
from torch import nn

from dclib.ranking import (
    SwapNetwork,
    accuracy_per_level,
    hits_after_joint_swaps,
    hits_after_swaps,
    joint_swap_accuracy,
    swap_accuracy,
)

# ---------------------------------------------------------------- against the naive loop


@pytest.fixture(scope="module")
def cases():
    """{name: (model, layers, clean, distorted, labels)}, made when asked for."""
    made = {}

    def case(name):
        if name not in made:
            torch.manual_seed(5)
            build, layers, size, scale = NETWORKS[name]
            clean, distorted = pairs(9, size, scale)
            model = centred(settled(build()).double(), clean)
            made[name] = (model, layers, clean, distorted, labelled(model, clean))
        return made[name]

    return case


@pytest.mark.parametrize("name", NETWORKS)
def test_equal_to_the_naive_loop(cases, name):
    model, layers, clean, distorted, labels = cases(name)
    fast = swap_accuracy(model, list(layers), clean, distorted, labels, batch_size=400)
    assert list(fast) == list(layers)
    seen = set()
    for layer, filters in layers.items():
        count = model.get_submodule(layer).out_channels
        assert fast[layer].shape == (count, 2) and fast[layer].dtype == np.float64
        chosen = [f for f in range(count) if f in filters]
        slow = naive_swap_accuracy(model, layer, chosen, clean, distorted, labels)
        assert np.array_equal(fast[layer][chosen], slow)
        seen |= set(slow.flatten())
    assert len(seen) > 1  # swaps matter


@torch.inference_mode()
def test_each_image_is_right_where_the_naive_loop_has_it_right(cases):
    model, _, clean, distorted, labels = cases("grouped")
    model = copy.deepcopy(model).eval()
    choices = {"features.0": [[0], [3, 1]], "features.7": [[1], [], [2, 0, 1]]}
    together = hits_after_joint_swaps(model, choices, clean, distorted, labels, batch_size=4)
    alone = hits_after_swaps(model, list(choices), clean, distorted, labels, batch_size=7)
    for layer, chosen in choices.items():
        filters = range(model.get_submodule(layer).out_channels)
        for found, swaps in ((alone[layer], [[f] for f in filters]), (together[layer], chosen)):
            slow = [
                [correct_after_swap(model, layer, swap, clean, level, labels).numpy() for level in distorted]
                for swap in swaps
            ]
            assert found.dtype == bool and found.shape == (len(swaps), 2, 9) and np.array_equal(found, slow)


@pytest.mark.parametrize("name", ["AllConvNet", "grouped", "used twice", "in place", "sized", "shared", "squeezenet1_1"])
def test_joint_swaps_equal_the_naive_loop(cases, name):
    model, layers, clean, distorted, labels = cases(name)
    model = copy.deepcopy(model).eval()
    for layer in list(layers)[:3]:
        count = model.get_submodule(layer).out_channels
        choices = [[0], [count - 1, 1], list(range(count)), []]
        fast = joint_swap_accuracy(model, {layer: choices}, clean, distorted, labels, batch_size=4)[layer]
        with torch.inference_mode():
            slow = [
                [accuracy_after_swap(model, layer, filters, clean, level, labels) for level in distorted]
                for filters in choices
            ]
        assert np.array_equal(fast, np.array(slow))


def test_all_filters_of_the_first_layer_restore_the_clean_accuracy(cases):
    model, _, clean, distorted, labels = cases("AllConvNet")
    restored = joint_swap_accuracy(model, {"conv1": [range(4)]}, clean, distorted, labels)
    assert np.array_equal(restored["conv1"][0], np.repeat(accuracy_per_level(model, clean[None], labels), 2))


@pytest.mark.parametrize("batch_size", [1, 7, 10_000])
def test_the_batch_size_does_not_matter(cases, batch_size):
    model, _, clean, distorted, labels = cases("AllConvNet")
    layers = ["conv2", "conv3"]
    expected = swap_accuracy(model, layers, clean, distorted, labels)
    for layer, values in swap_accuracy(model, layers, clean, distorted, labels, batch_size=batch_size).items():
        assert np.array_equal(values, expected[layer])


def test_more_images_than_one_chunk_holds():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, CLASSES, 3), nn.Flatten())
    clean, distorted = pairs(620, 3, 0.02)
    model = centred(model.double(), clean)
    labels = labelled(model, clean)
    fast = swap_accuracy(model, ["0"], clean, distorted, labels)["0"]
    assert np.array_equal(fast, naive_swap_accuracy(model, "0", range(3), clean, distorted, labels))


@pytest.mark.parametrize("size", [1, 2, 4, 5])
@pytest.mark.parametrize("groups", [1, 2])
def test_every_window_of_response_normalisation(size, groups):
    torch.manual_seed(size)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.ReLU(),
        nn.LocalResponseNorm(size, alpha=3.0),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, groups=groups),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 9, CLASSES),
    ).double()
    clean, distorted = pairs(40, 12, 60.0)
    labels = labelled(centred(model, clean), clean)
    fast = swap_accuracy(model, ["0"], clean, distorted, labels)["0"]
    assert np.array_equal(fast, naive_swap_accuracy(model, "0", range(6), clean, distorted, labels))
    assert len(set(fast.flatten())) > 3


def test_the_weights_are_not_copied():
    model = Grouped()
    swapping = SwapNetwork(model, ("features.0",), torch.rand(3, 3, 32, 32)).module
    assert [p.data_ptr() for p in swapping.parameters()] == [p.data_ptr() for p in model.parameters()]
    assert model.training and not swapping.training


def test_undistorted_images_change_nothing(cases):
    model, _, clean, _, labels = cases("AllConvNet")
    before = accuracy_per_level(model, clean[None], labels)
    swapped = swap_accuracy(model, ["conv2"], clean, clean[None], labels)["conv2"]
    assert np.array_equal(swapped, np.full((4, 1), before[0]))


def test_layers_may_be_named_twice(cases):
    model, _, clean, distorted, labels = cases("AllConvNet")
    once = swap_accuracy(model, ["conv2"], clean, distorted, labels)
    twice = swap_accuracy(model, ["conv2", "conv2"], clean, distorted, labels)
    assert np.array_equal(once["conv2"], twice["conv2"])


@pytest.mark.parametrize("training", [False, True])
def test_the_model_and_the_images_are_not_changed(cases, training):
    model, _, clean, distorted, labels = cases("in place")
    model = copy.deepcopy(model).train(training)
    before = copy.deepcopy(model.state_dict()), clean.clone(), distorted.clone(), labels.clone()
    swap_accuracy(model, ["a"], clean, distorted, labels)
    joint_swap_accuracy(model, {"a": [[0, 1]]}, clean, distorted, labels)
    assert all(m.training is training for m in model.modules())
    assert all(torch.equal(v, before[0][k]) for k, v in model.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip((clean, distorted, labels), before[1:]))


def test_single_precision_agrees_up_to_near_ties(cases):
    model, _, clean, distorted, labels = cases("AllConvNet")
    expected = swap_accuracy(model, ["conv1"], clean, distorted, labels)["conv1"]
    single = swap_accuracy(copy.deepcopy(model).float(), ["conv1"], clean.float(), distorted.float(), labels)["conv1"]
    assert np.mean(np.abs(single - expected)) < 0.02


def test_accuracy_per_level(cases):
    model, _, clean, distorted, labels = cases("AllConvNet")
    model = copy.deepcopy(model).train()
    levels = torch.cat([clean[None], distorted])
    found = accuracy_per_level(model, levels, labels, batch_size=4)
    assert model.training
    with torch.inference_mode():
        expected = [(model.eval()(level).argmax(1) == labels).double().mean().item() for level in levels]
    assert np.array_equal(found, np.array(expected)) and found[0] == 6 / 9


# ---------------------------------------------------------------- bad input

CLEAN = torch.rand(2, 3, 12, 12)
MODEL = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Conv2d(2, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
GOOD = {"model": MODEL, "layers": ["0"], "clean": CLEAN, "distorted": CLEAN[None], "labels": torch.tensor([0, 1])}


class Several(nn.Module):
    def __init__(self, output):
        super().__init__()
        self.conv, self.output = nn.Conv2d(3, 2, 3), output

    def forward(self, x):
        y = self.conv(x)
        return {"logits": y.mean((2, 3))} if self.output == "dict" else (y.mean((2, 3)), y)


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, x, y):
        return (self.conv(x) + y).mean((2, 3))


class Repeated(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)

    def forward(self, x):
        return self.conv(self.conv(x)).mean((2, 3))


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)

    def forward(self, x):
        return self.conv(x).mean((2, 3)) if x.mean() > 0 else x.mean((2, 3))


BAD = {
    "one level without its axis": ({"distorted": CLEAN}, "distorted"),
    "other count": ({"distorted": CLEAN[None, :1]}, "distorted"),
    "other size": ({"distorted": CLEAN[None, ..., :11]}, "distorted"),
    "distorted list": ({"distorted": [CLEAN]}, "distorted"),
    "no axis of images": ({"clean": CLEAN[0], "distorted": CLEAN[0][None]}, "clean"),
    "no images": ({"clean": CLEAN[:0], "distorted": CLEAN[None, :0], "labels": torch.zeros(0).long()}, "clean"),
    "bytes": ({"clean": CLEAN.byte()}, "uint8"),
    "nan": ({"clean": CLEAN.where(CLEAN > 0.1, torch.nan)}, "NaN"),
    "inf": ({"distorted": CLEAN[None].where(CLEAN > 0.1, torch.inf)}, "NaN"),
    "fewer labels": ({"labels": torch.tensor([0])}, "labels"),
    "float labels": ({"labels": torch.tensor([0.0, 1.0])}, "labels"),
    "labels of another kind": ({"labels": np.array([0, 1])}, "labels"),
    "unknown layer": ({"layers": ["conv7"]}, "'conv7'"),
    "no convolution": ({"layers": ["1"]}, "ReLU"),
    "used twice": ({"model": Repeated(), "layers": ["conv"]}, "2 uses"),
    "untraceable": ({"model": Branching(), "layers": ["conv"]}, "torch.fx"),
    "dict": ({"model": Several("dict"), "layers": ["conv"]}, "logits"),
    "tuple": ({"model": Several("tuple"), "layers": ["conv"]}, "logits"),
    "two inputs": ({"model": TwoInputs(), "layers": ["conv"]}, "one input"),
    "batch statistics": (
        {"model": nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2, track_running_stats=False)), "layers": ["0"]},
        "running statistics",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    change, word = BAD[case]
    arguments = GOOD | change
    with refused(word):
        swap_accuracy(**arguments)
    layers = arguments.pop("layers")
    with refused(word):
        joint_swap_accuracy(choices={layers[0]: [[0]]}, **arguments)


@pytest.mark.parametrize("batch_size", [0, -5])
def test_bad_batch_size(batch_size):
    with refused("batch_size"):
        swap_accuracy(**GOOD, batch_size=batch_size)


@pytest.mark.parametrize("filters", [[2], [-1], [0.5], [True, False], [[0]], "0", 1])
def test_bad_filters(filters):
    with refused("filters"):
        joint_swap_accuracy(MODEL, {"0": [filters]}, CLEAN, CLEAN[None], GOOD["labels"])
