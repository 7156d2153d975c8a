"""Ranking of networks that do more than their graph says: right, or refused in one sentence."""

import copy

import numpy as np
import pytest
import torch
from naive_swaps import correct_after_swap, pairs
from odd_networks import NETWORKS, REFUSED, Aliased, Residual, chain
from support import refused, settled
from torch import nn

from dclib.errors import InputError
from dclib.ranking import (
    SwapNetwork,
    accuracy_per_level,
    activation_distances,
    joint_swap_accuracy,
    swap_accuracy,
    trial_images,
)


def made(build, count=9):
    torch.manual_seed(5)
    clean, distorted = pairs(count, 12, 0.02)
    model = settled(build()).double()
    with torch.no_grad():  # as `centred` has it, without copying: not every one of these can be copied
        last = [m for m in model.modules() if isinstance(m, nn.Linear)]
        if last:
            last[-1].bias -= model(clean.clone()).mean(0)
        labels = model(clean.clone()).argmax(1)
    labels[::4] = (labels[::4] + 1) % 6
    return model, clean, distorted, labels


def naive(model, layer, clean, distorted, labels):
    """The network itself, which is in evaluation mode."""
    count = dict(model.named_modules(remove_duplicate=False))[layer].out_channels
    with torch.no_grad():
        return np.array(
            [
                [correct_after_swap(model, layer, [f], clean, level, labels).double().mean().item() for level in distorted]
                for f in range(count)
            ]
        )


@pytest.mark.parametrize("name", NETWORKS)
def test_equal_to_the_naive_loop(name):
    build, layers = NETWORKS[name]
    model, clean, distorted, labels = made(build)
    found = swap_accuracy(model, layers, clean, distorted, labels)
    assert list(found) == layers
    together = joint_swap_accuracy(model, {layer: [[0], [1, 2]] for layer in layers}, clean, distorted, labels)
    for layer in layers:
        assert np.array_equal(found[layer], naive(model, layer, clean, distorted, labels)), layer
        assert np.array_equal(together[layer][0], found[layer][0])
        with torch.no_grad():
            both = [correct_after_swap(model, layer, [1, 2], clean, level, labels).double().mean() for level in distorted]
        assert np.array_equal(together[layer][1], np.array(both))
    assert len({*np.concatenate([values.flatten() for values in found.values()])}) > 1  # swaps matter


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning", "ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    build, layer, word = REFUSED[name]
    torch.manual_seed(5)
    clean, distorted = (images.float() for images in pairs(9, 12, 0.02))
    model, labels = build().eval(), torch.arange(9) % 6
    if word is None:  # wherever this can be done, it is right
        assert np.array_equal(
            swap_accuracy(model, [layer], clean, distorted, labels)[layer], naive(model, layer, clean, distorted, labels)
        )
        return
    before = clean.clone(), copy.deepcopy(distorted)
    with refused(word):
        swap_accuracy(model, [layer], clean, distorted, labels)
    with refused(word):
        joint_swap_accuracy(model, {layer: [[0]]}, clean, distorted, labels)
    assert torch.equal(clean, before[0]) and torch.equal(distorted, before[1])


def test_hook_style_weight_norm_is_ranked():
    """torch warns that it is out of date; people's networks have it."""
    model, clean, distorted, labels = made(lambda: chain(nn.BatchNorm2d(4), nn.ReLU()))
    with pytest.warns(FutureWarning):
        torch.nn.utils.weight_norm(model[0])
    model(clean.clone())
    found = swap_accuracy(model, ["0", "3"], clean, distorted, labels)
    for layer in found:
        assert np.array_equal(found[layer], naive(model, layer, clean, distorted, labels))


def test_what_cannot_be_copied_is_refused():
    model = chain(nn.ReLU())
    model.stream = (number for number in range(3))
    clean, distorted = pairs(3, 12, 0.02)
    with refused("deepcopy"):
        swap_accuracy(model.double(), ["0"], clean, distorted, torch.arange(3))


def wrapped(how, model):
    if how == "compiled":
        return torch.compile(model, backend="eager")
    if how == "averaged":
        return torch.optim.swa_utils.AveragedModel(model)
    return nn.DataParallel(torch.compile(model, backend="eager") if how == "both" else model)


@pytest.mark.parametrize("how", ["compiled", "DataParallel", "both", "averaged"])
def test_wrappers_are_looked_through(how):
    model, clean, distorted, labels = made(lambda: Residual(nn.ReLU(), nn.BatchNorm2d))
    outer = wrapped(how, model).eval()
    expected = swap_accuracy(model, ["a", "c"], clean, distorted, labels)
    found = swap_accuracy(outer, ["a", "c"], clean, distorted, labels)
    assert all(np.array_equal(found[layer], expected[layer]) for layer in expected)
    moved = activation_distances(outer, ["a"], clean, distorted)["a"]
    assert np.allclose(moved, activation_distances(model, ["a"], clean, distorted)["a"])
    assert np.array_equal(accuracy_per_level(outer, distorted, labels), accuracy_per_level(model, distorted, labels))
    with refused("a, b, c"):
        swap_accuracy(outer, ["d"], clean, distorted, labels)


def test_compiled_parts_are_looked_through():
    """Hooks are not heard inside of them, so that the naive loop is that of the network before."""
    model, clean, distorted, labels = made(lambda: Residual(nn.ReLU(), nn.BatchNorm2d))
    expected = [naive(model, layer, clean, distorted, labels) for layer in "abc"]
    model.b = torch.compile(nn.Sequential(model.b), backend="eager")
    model.c = nn.DataParallel(model.c)
    found = swap_accuracy(model, ["a", "b._orig_mod.0", "c.module"], clean, distorted, labels)
    assert all(np.array_equal(values, other) for values, other in zip(found.values(), expected))


def test_large_images_run_in_small_batches():
    model, images = chain(nn.ReLU(), channels=64), torch.rand(3, 3, 512, 512)
    network = SwapNetwork(model, ("0",), trial_images(images, images[None] + 1))
    assert 1 <= network.pairs["0"] < 100 and 1 <= network.images < 20
    assert network.pairs["0"] * 5 * 508**2 * 4 < 2**31
    small = SwapNetwork(model, ("0",), torch.rand(3, 3, 16, 16))
    assert small.pairs["0"] == 500 and small.images == 250


def test_the_work_for_a_depthwise_network_is_not_that_of_a_dense_one():
    """Behind a depthwise convolution a swap still changes one channel alone: nothing of its size is made."""
    model = nn.Sequential(
        nn.Conv2d(3, 64, 1),
        nn.ReLU6(),
        nn.Conv2d(64, 64, 3, padding=1, groups=64),
        nn.BatchNorm2d(64),
        nn.ReLU6(),
        nn.Conv2d(64, 4, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ).eval()
    network = SwapNetwork(model, ("0", "2"), torch.rand(3, 3, 8, 8))
    assert all(cut.following.target == "5" for cut in network.cuts.values())


def test_names_are_by_identity_whatever_the_order():
    model, clean, distorted, labels = made(lambda: Aliased("layers"))
    found = swap_accuracy(model, ["conv2", "features.3", "again.deep.0"], clean, distorted, labels)
    assert np.array_equal(found["conv2"], found["features.3"]) and np.array_equal(found["conv2"], found["again.deep.0"])


@pytest.mark.parametrize(
    "images, labels, word",
    [
        (torch.rand(2, 8, 3, 12, 12), torch.zeros(1).long(), "labels"),
        (torch.rand(2, 3, 12, 12), torch.zeros(2).long(), "images"),
        (torch.rand(2, 3, 3, 12, 12), torch.zeros(3), "labels"),
        (torch.rand(2, 3, 3, 12, 12), torch.eye(3).long(), "labels"),
        (torch.rand(2, 3, 3, 12, 12), torch.tensor([0, 1, 6]), "0 to 5"),
        (torch.rand(2, 0, 3, 12, 12), torch.zeros(0).long(), "em"),
        (torch.rand(2, 3, 3, 12, 12), torch.tensor([0, 1, -1]), "-1"),
        (torch.rand(0, 3, 3, 12, 12), torch.zeros(3).long(), "images"),
        (torch.rand(2, 3, 3, 12, 12) / 0, torch.zeros(3).long(), "NaN"),
        (torch.rand(2, 3, 3, 12, 12), torch.ones(3).bool(), "bool"),
    ],
)
def test_accuracy_per_level_refuses_what_its_siblings_refuse(images, labels, word):
    with refused(word):
        accuracy_per_level(chain(nn.ReLU()), images, labels)


@pytest.mark.parametrize(
    "how", [lambda y: y[:, :1], lambda y: y[..., None], lambda y: y[:, 0], lambda y: (y, y), lambda y: y[:1]]
)
def test_accuracy_per_level_refuses_other_outputs_than_logits(how):
    class Network(nn.Module):
        def forward(self, x):
            return how(x.flatten(1))

    with refused("logits"):
        accuracy_per_level(Network(), torch.rand(2, 3, 3, 2, 2), torch.zeros(3).long())
    with pytest.raises(InputError):
        accuracy_per_level(Network(), torch.rand(2, 3, 3, 2, 2), torch.zeros(3))


def test_a_layer_that_does_not_run_has_no_distance():
    model, clean, distorted, _ = made(lambda: Residual(nn.ReLU()))
    model.unused = nn.Conv2d(3, 4, 3)
    with refused("unused"):
        activation_distances(model, ["a", "unused"], clean, distorted)
