"""The fast ranking against Algorithm 1 as it is written: one full forward pass per filter."""

import copy

import numpy as np
import pytest
import torch
import torchvision
from support import refused, settled
from torch import nn
from torch.nn import functional as F

from dclib.correction import UnitDesign, correct
from dclib.models import AllConvNet
from dclib.ranking import (
    accuracy_per_level,
    activation_distances,
    borda_count,
    correction_priority,
    joint_swap_accuracy,
    select_global,
    select_local,
    swap_accuracy,
)
from dclib.swapping import SwapNetwork

CLASSES = 6


# ---------------------------------------------------------------- Algorithm 1, naively

def outputs_of(model, layer, images):
    found = []
    hook = model.get_submodule(layer).register_forward_hook(lambda m, i, output: found.append(output.clone()))
    model(images.clone())
    hook.remove()
    return found[0]


def accuracy_after_swap(model, layer, filters, clean, distorted, labels):
    """One level, one full pass: the outputs of `filters` are replaced by those for the clean images."""
    undistorted = outputs_of(model, layer, clean)

    def swap(module, inputs, output):
        output = output.clone()
        output[:, filters] = undistorted[:, filters]
        return output

    hook = model.get_submodule(layer).register_forward_hook(swap)
    predicted = model(distorted.clone()).argmax(1)
    hook.remove()
    return (predicted == labels).double().mean().item()


@torch.inference_mode()
def naive_swap_accuracy(model, layer, filters, clean, distorted, labels):
    model = copy.deepcopy(model).eval()
    return np.array([[accuracy_after_swap(model, layer, [f], clean, level, labels) for level in distorted]
                     for f in filters])


# ---------------------------------------------------------------- networks

class Grouped(nn.Module):
    """Like AlexNet: a large first kernel with stride, pools, response normalisation, groups, dropout, dense layers."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2), nn.LocalResponseNorm(5, 0.05),
            nn.Conv2d(8, 12, 3, padding=1, groups=2), nn.ReLU(inplace=True), nn.LocalResponseNorm(5, 0.05),
            nn.Conv2d(12, 8, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4), nn.ReLU(inplace=True), nn.MaxPool2d(2))
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(8 * 9, 16), nn.ReLU(inplace=True),
                                        nn.Linear(16, CLASSES))

    def forward(self, x):
        return self.classifier(torch.flatten(self.features(x), 1))


class UsedTwice(nn.Module):
    """A convolution whose output goes two ways, and two that meet again."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 5, 3, padding=1), nn.Conv2d(10, 4, 1)
        self.bn, self.head = nn.BatchNorm2d(5), nn.Linear(4, CLASSES)

    def forward(self, x):
        first = self.a(x)
        second = self.b(F.relu(self.bn(first)))
        return self.head(F.relu(self.c(torch.cat([first, second], 1))).mean((2, 3)))


class InPlace(nn.Module):
    """In-place operations whose results are not named: later readers see the changed value."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(3, 4, 3, padding=1) for _ in range(3))
        self.relu, self.head = nn.ReLU(inplace=True), nn.Conv2d(12, CLASSES, 1)

    def forward(self, x):
        x -= 128.0
        x.mul_(0.02)
        a, b, c = self.a(x), self.b(x), self.c(x)
        self.relu(a)
        F.relu(b, inplace=True)
        c += 0.1
        c.clamp_(min=0)
        return self.head(torch.cat([a, b, c], 1)).mean((2, 3))


class Sized(nn.Module):
    """Batch size and shape read from the input; values that come from parameters alone."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.scale, self.head = nn.Parameter(torch.randn(6)), nn.Linear(6 * 16, CLASSES)
        self.squeeze = nn.Linear(4, 4)

    def forward(self, x):
        batch, height = x.shape[0], x.size(2)
        height += 0
        y = torch.relu(self.a(x))
        n, c, _, _ = y.size()
        gate = torch.sigmoid(self.squeeze(y.mean((2, 3)).view(n, c))).view(batch, c, 1, 1)
        y = self.b(y * gate) * self.scale.exp().view(1, -1, 1, 1)
        y = F.adaptive_avg_pool2d(F.relu(y), height // 4)
        return self.head(y.view(batch, -1)[:, :6 * 16])


class Shared(nn.Module):
    """One BatchNorm behind two convolutions, and one convolution used twice behind them."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(channels, 4, 3, padding=1) for channels in (3, 4, 4))
        self.bn, self.bn2, self.head = nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.Conv2d(4, CLASSES, 1)

    def forward(self, x):
        x = F.relu(self.bn(self.a(x)))
        x = F.relu(self.bn(self.b(x)))
        x = F.relu(self.bn2(self.c(x)))
        return self.head(F.relu(self.c(x))).mean((2, 3))


class Standardised(nn.Conv2d):
    """A convolution that does not use its weights as they are."""

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight * 2, self.bias, self.stride, self.padding)


def hooked():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU(),
                          nn.Conv2d(5, CLASSES, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model[0].register_forward_hook(lambda m, i, output: output * 1.5)
    model[3].register_forward_hook(lambda m, i, output: output + i[0].mean((1, 2, 3), keepdim=True))
    return model


def oddly_padded():
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding="same"), nn.ReLU(),
                         nn.Conv2d(4, 5, (3, 1), padding=1, padding_mode="reflect"), nn.SiLU(),
                         nn.Conv2d(5, 4, (2, 3), stride=(1, 2), padding=(0, 1), bias=False), nn.PReLU(4),
                         nn.Conv2d(4, CLASSES, 1), nn.AdaptiveMaxPool2d(1), nn.Flatten())


def standardised():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), Standardised(4, 5, 3), nn.BatchNorm2d(5), nn.ReLU(),
                         Standardised(5, CLASSES, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def corrected():
    net = settled(AllConvNet(CLASSES, 4))
    return correct(net, {"conv2": [0, 3]}, UnitDesign(3, input_batchnorm=True))


def short_resnet():
    """ResNet-18 without its last two stages: their millions of weights would only cost time."""
    model = torchvision.models.resnet18()
    model.layer3, model.layer4, model.fc = nn.Identity(), nn.Identity(), nn.Linear(128, CLASSES)
    return model


ALL = range(10**6)
NETWORKS = {
    "AllConvNet": (lambda: AllConvNet(CLASSES, 4), {f"conv{i}": ALL for i in range(1, 10)}, 32, 1),
    "corrected": (corrected, {"conv1": ALL, "conv2.conv": ALL, "conv3": ALL}, 32, 1),
    "resnet18": (short_resnet, {"conv1": [0, 9, 63], "layer1.0.conv1": [1, 5], "layer1.1.conv2": [0, 2, 7],
                                "layer2.0.downsample.0": [3, 100], "layer2.1.conv2": [11, 127]}, 20, 0.02),
    "squeezenet1_1": (lambda: torchvision.models.squeezenet1_1(num_classes=CLASSES),
                      {"features.0": [0, 8, 60], "features.3.squeeze": [1, 15], "features.3.expand1x1": [0, 9],
                       "features.4.expand3x3": [4, 60], "features.12.expand3x3": [2, 200], "classifier.1": ALL},
                      36, 0.02),
    "grouped": (Grouped, {"features.0": ALL, "features.4": ALL, "features.7": ALL, "features.9": ALL}, 32, 0.02),
    "used twice": (UsedTwice, {"a": ALL, "b": ALL, "c": ALL}, 16, 0.02),
    "in place": (InPlace, {"a": ALL, "b": ALL, "c": ALL, "head": ALL}, 12, 1),
    "sized": (Sized, {"a": ALL, "b": ALL}, 16, 0.02),
    "shared": (Shared, {"a": ALL, "b": ALL, "head": ALL}, 12, 0.02),
    "standardised": (standardised, {"0": ALL, "2": ALL, "5": ALL}, 12, 0.02),
    "hooked": (hooked, {"0": ALL, "3": ALL, "5": ALL}, 12, 0.02),
    "oddly padded": (oddly_padded, {"0": ALL, "2": ALL, "4": ALL, "6": ALL}, 12, 0.02),
    "dense": (lambda: nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Tanh(), nn.Conv2d(5, 4, 3, stride=3),
                                    nn.Flatten(), nn.Linear(36, CLASSES)), {"0": ALL, "3": ALL}, 12, 0.02),
}


def pairs(count, size, scale, levels=2):
    """Clean images, strongly distorted ones, and labels that are the clean predictions for most."""
    generator = torch.Generator().manual_seed(1)
    clean = 255 * torch.rand(count, 3, size, size, generator=generator, dtype=torch.float64)
    noise = torch.randn(levels, count, 3, size, size, generator=generator, dtype=torch.float64)
    spread = torch.linspace(40, 160, levels).view(-1, 1, 1, 1, 1)
    distorted = clean + spread * noise
    distorted[:, 0] = clean[0]  # an image that no distortion changes
    return scale * clean, scale * distorted


def labelled(model, clean):
    """Each image's prediction, except for every fourth."""
    with torch.no_grad():
        labels = copy.deepcopy(model).eval()(clean.clone()).argmax(1)
    labels[::4] = (labels[::4] + 1) % CLASSES
    return labels


def centred(model, clean):
    """Shift the last bias so that the predictions spread over the classes."""
    with torch.no_grad():
        logits = copy.deepcopy(model).eval()(clean.clone())
        last = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d)) and
                (getattr(m, "out_features", 0) == CLASSES or getattr(m, "out_channels", 0) == CLASSES)]
        if last and last[-1].bias is not None and len(logits) > 1:
            last[-1].bias -= logits.mean(0)
    return model


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


@pytest.mark.parametrize("name", ["AllConvNet", "grouped", "used twice", "in place", "sized", "shared",
                                  "squeezenet1_1"])
def test_joint_swaps_equal_the_naive_loop(cases, name):
    model, layers, clean, distorted, labels = cases(name)
    model = copy.deepcopy(model).eval()
    for layer in list(layers)[:3]:
        count = model.get_submodule(layer).out_channels
        choices = [[0], [count - 1, 1], list(range(count)), []]
        fast = joint_swap_accuracy(model, {layer: choices}, clean, distorted, labels, batch_size=4)[layer]
        with torch.inference_mode():
            slow = [[accuracy_after_swap(model, layer, filters, clean, level, labels) for level in distorted]
                    for filters in choices]
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
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.LocalResponseNorm(size, alpha=3.0), nn.MaxPool2d(2),
                          nn.Conv2d(6, 8, 3, groups=groups), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 9, CLASSES)).double()
    clean, distorted = pairs(40, 12, 60.0)
    labels = labelled(centred(model, clean), clean)
    fast = swap_accuracy(model, ["0"], clean, distorted, labels)["0"]
    assert np.array_equal(fast, naive_swap_accuracy(model, "0", range(6), clean, distorted, labels))
    assert len(set(fast.flatten())) > 3


def test_the_weights_are_not_copied():
    model = Grouped()
    swapping = SwapNetwork(model, ("features.0",)).module
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


# ---------------------------------------------------------------- scores

def test_priority_is_equation_1():
    swapped, before = np.random.RandomState(0).rand(20, 6), np.random.RandomState(1).rand(6)
    assert correction_priority(swapped, before) == pytest.approx(np.mean(swapped, axis=1) - np.mean(before))


def test_relative_error_is_that_of_the_released_code():
    swapped, before = np.random.RandomState(0).rand(20, 6), np.random.RandomState(1).rand(6)
    error, swapped_error = 1 - before, 1 - swapped
    expected = np.mean(np.abs(swapped_error - error) / error, axis=1)
    assert correction_priority(swapped, before, score="relative_error") == pytest.approx(expected)


def test_a_swap_that_hurts_counts_only_in_the_relative_error():
    swapped, before = np.array([[0.4], [0.6], [0.5]]), np.array([0.5])
    assert correction_priority(swapped, before).tolist() == pytest.approx([-0.1, 0.1, 0])
    assert correction_priority(swapped, before, score="relative_error").tolist() == pytest.approx([0.2, 0.2, 0])


def test_a_level_without_errors_adds_nothing():
    swapped, before = np.array([[1.0, 0.75], [0.5, 0.5]]), np.array([1.0, 0.5])
    assert correction_priority(swapped, before, score="relative_error").tolist() == [0.25, 0.0]
    assert correction_priority(swapped, before).tolist() == [0.125, -0.25]


def test_scores_take_lists_and_keep_their_input():
    swapped, before = [[0.5, 0.25], [1, 0]], [0.5, 0.5]
    assert correction_priority(swapped, before).tolist() == [-0.125, 0.0]
    arrays = np.array(swapped), np.array(before)
    correction_priority(*arrays, score="relative_error")
    assert arrays[0].tolist() == swapped and arrays[1].tolist() == before


# ---------------------------------------------------------------- selection

SCORES = {"conv1": np.array([0.1, 0.3, 0.3, -0.2]), "conv2": np.array([0.3, 0.0, 0.5, 0.0, 0.0, 0.1])}


def test_local_selection_ranks_within_each_layer():
    chosen = select_local(SCORES, 0.5)
    assert {k: v.tolist() for k, v in chosen.items()} == {"conv1": [1, 2], "conv2": [2, 0, 5]}
    assert {k: v.tolist() for k, v in select_local(SCORES, 1.0).items()} == {
        "conv1": [1, 2, 0, 3], "conv2": [2, 0, 5, 1, 3, 4]}


def test_one_fraction_per_layer():
    chosen = select_local(SCORES, {"conv1": 0.25, "conv2": 0.0})
    assert chosen["conv1"].tolist() == [1] and chosen["conv2"].tolist() == []


@pytest.mark.parametrize("count, of", [(50, 96), (100, 192), (48, 96), (96, 192), (16, 32), (32, 64), (776, 1376)])
def test_fractions_give_the_counts_that_they_came_from(count, of):
    assert len(select_local({"a": np.random.rand(of)}, count / of)["a"]) == count


@pytest.mark.parametrize("of", [7, 24, 96, 97])
def test_every_count_comes_back_from_its_fraction(of):
    for count in range(of + 1):
        assert len(select_local({"a": np.zeros(of)}, count / of)["a"]) == count


def test_global_selection_ranks_all_layers_together():
    assert {k: v.tolist() for k, v in select_global(SCORES, 4).items()} == {"conv1": [1, 2], "conv2": [2, 0]}
    assert {k: v.tolist() for k, v in select_global(SCORES, 1).items()} == {"conv1": [], "conv2": [2]}
    assert {k: v.tolist() for k, v in select_global(SCORES, 10).items()} == {
        "conv1": [1, 2, 0, 3], "conv2": [2, 0, 5, 1, 3, 4]}


@pytest.mark.parametrize("count", range(11))
def test_global_selection_equals_a_sort_by_score_layer_and_index(count):
    ranked = sorted((-score, list(SCORES).index(layer), i) for layer, scores in SCORES.items() for i, score in
                    enumerate(scores))[:count]
    expected = {layer: [i for _, number, i in ranked if number == position] for position, layer in enumerate(SCORES)}
    assert {k: v.tolist() for k, v in select_global(SCORES, count).items()} == expected


def test_ties_go_to_the_lower_index_in_large_layers():
    scores = np.round(np.random.RandomState(0).rand(500), 1)
    expected = sorted(range(500), key=lambda i: (-scores[i], i))
    assert select_local({"a": scores}, 1.0)["a"].tolist() == expected


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8])
def test_scores_of_other_types(dtype):
    scores = np.array([0, 3, 1, 3], dtype=dtype)
    assert select_local({"a": scores}, 0.75)["a"].tolist() == [1, 3, 2]
    assert select_local({"a": scores.tolist()}, 0.75)["a"].tolist() == [1, 3, 2]
    assert select_global({"a": scores}, 3)["a"].tolist() == [1, 3, 2]


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
    "batch statistics": ({"model": nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2, track_running_stats=False)),
                          "layers": ["0"]}, "running statistics"),
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


@pytest.mark.parametrize("swapped, before", [(np.zeros((3, 2)), np.zeros(3)), (np.zeros(3), np.zeros(3)),
                                             (np.zeros((3, 0)), np.zeros(0)), (np.full((3, 2), 50.0), np.zeros(2)),
                                             (np.full((3, 2), np.nan), np.zeros(2)), (np.zeros((3, 2)), [0.5, -0.1])])
@pytest.mark.parametrize("score", ["priority", "relative_error"])
def test_bad_accuracies(swapped, before, score):
    with refused("correction_priority"):
        correction_priority(swapped, before, score=score)


def test_unknown_score():
    with refused("'gradient'", "relative_error"):
        correction_priority(np.zeros((3, 2)), np.zeros(2), score="gradient")


@pytest.mark.parametrize("fractions", [1.5, -0.1, np.nan, {"conv1": 0.5}, {"conv1": 0.5, "conv2": 50},
                                       {"conv1": 0.5, "conv2": 0.5, "conv3": 0.5}])
def test_bad_fractions(fractions):
    with refused("fractions"):
        select_local(SCORES, fractions)


@pytest.mark.parametrize("count", [-1, 11, 2.5])
def test_bad_counts(count):
    with refused("count"):
        select_global(SCORES, count)


@pytest.mark.parametrize("priorities", [{}, {"a": np.zeros((2, 2))}, {"a": np.array([0.0, np.nan])},
                                        {"a": np.array(["x"])}, {"a": 3.0}])
def test_bad_priorities(priorities):
    with refused("priorities"):
        select_local(priorities, 0.5)
    with refused("priorities"):
        select_global(priorities, 0)


# ---------------------------------------------------------------- Borda count


def test_activation_distances_against_hooks_on_one_image_at_a_time():
    torch.manual_seed(0)
    model = AllConvNet(3, 4).eval()
    clean = 255 * torch.rand(5, 3, 32, 32)
    distorted = clean + 20 * torch.randn(2, *clean.shape)
    found = activation_distances(model, ["conv1", "conv4"], clean, distorted, batch_size=2)
    assert found["conv1"].shape == (2, 5, 4) and found["conv4"].shape == (2, 5, 8)
    with torch.inference_mode():
        by_hand = model.conv1(model.normalize(distorted[1, 3:4])) - model.conv1(model.normalize(clean[3:4]))
    assert found["conv1"][1, 3] == pytest.approx(by_hand[0].square().mean((1, 2)).sqrt().numpy(), rel=1e-4)
    assert not model.conv1._forward_hooks


def test_borda_count_against_counting_pairs():
    votes = np.random.default_rng(0).integers(0, 5, (20, 6))  # with ties
    by_hand = [sum((v[j] > v[k]) + 0.5 * (v[j] == v[k]) for v in votes for k in range(6) if k != j) for j in range(6)]
    assert borda_count(votes) == pytest.approx(by_hand)


def test_borda_count_hears_every_voter_alike():
    votes = np.array([[0.2, 0.1, 0.0], [0.2, 0.1, 0.0], [0.0, 0.0, 99.0]])
    assert borda_count(votes).argmax() == 0 and votes.mean(0).argmax() == 2


def test_borda_count_refuses_what_is_no_election():
    for votes in (np.zeros(3), np.zeros((0, 3)), np.array([[np.nan, 1]])):
        with refused("votes"):
            borda_count(votes)
