"""Filters chosen by greedy joint swaps, against the naive loop; their runs, table and figure."""

import dataclasses

import numpy as np
import pytest
import torch
from naive_swaps import accuracy_after_swap, labelled, pairs
from support import refused, settled
from swap_networks import CLASSES
from torch import nn

from dclib.models import AllConvNet
from dclib.ranking import select_jointly, swap_accuracy


def naive_selection(model, layer, count, clean, distorted, labels):
    """The loop as it is told: every trial is a full forward pass with all filters of it swapped."""
    filters, chosen, accuracies = model.get_submodule(layer).out_channels, [], []
    for _ in range(count):
        found = np.array([[accuracy_after_swap(model, layer, [*chosen, f], clean, level, labels) for level in distorted]
                          for f in range(filters)])
        accuracies.append(found)
        chosen.append(max((f for f in range(filters) if f not in chosen), key=lambda f: found[f].mean()))
    return chosen, accuracies


def normalised():
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.LocalResponseNorm(3, alpha=1.0), nn.Conv2d(6, 5, 3, padding=1),
                         nn.BatchNorm2d(5), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(5 * 49, CLASSES))


def network(kind):
    torch.manual_seed(2)
    whole = AllConvNet(CLASSES, 4) if kind == "AllConvNet" else normalised()
    return settled(whole).double(), 32 if kind == "AllConvNet" else 16


@pytest.mark.parametrize("kind, layer", [("AllConvNet", "conv1"), ("AllConvNet", "conv5"), ("AllConvNet", "conv9"),
                                         ("with LRN", "0"), ("with LRN", "3")])
@pytest.mark.parametrize("few", [None, 7])
def test_the_naive_loop_chooses_the_same(kind, layer, few, monkeypatch):
    model, size = network(kind)
    clean, distorted = pairs(20, size, 1.0)
    labels = labelled(model, clean)
    count = min(6, model.get_submodule(layer).out_channels)
    if few:
        monkeypatch.setattr("dclib.ranking.swap_network._IMAGES", few)
    with torch.inference_mode():
        chosen, accuracies = naive_selection(model, layer, count, clean, distorted, labels)
    steps = list(select_jointly(model, layer, clean, distorted, labels, count=count, batch_size=few))
    assert [step.chosen for step in steps] == chosen and sorted(set(chosen)) == sorted(chosen)
    for step, expected in zip(steps, accuracies, strict=True):
        np.testing.assert_allclose(step.accuracy, expected, atol=1e-12)
    np.testing.assert_allclose(steps[0].accuracy, swap_accuracy(model, [layer], clean, distorted, labels)[layer], atol=1e-12)


def test_a_selection_goes_on_where_it_stood():
    model, size = network("AllConvNet")
    clean, distorted = pairs(12, size, 1.0)
    labels = labelled(model, clean)
    whole = [step.chosen for step in select_jointly(model, "conv2", clean, distorted, labels)]
    assert sorted(whole) == list(range(4))
    later = list(select_jointly(model, "conv2", clean, distorted, labels, begun=whole[:2]))
    assert [step.chosen for step in later] == whole[2:]
    assert list(select_jointly(model, "conv2", clean, distorted, labels, begun=whole)) == []


def test_equal_filters_help_equally_and_the_first_is_taken():
    model, size = network("AllConvNet")
    with torch.no_grad():
        for name in ("conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"):
            values = dict(model.named_parameters()) | dict(model.named_buffers())
            values[name][1] = values[name][0]
        model.conv2.weight[:, 1] = model.conv2.weight[:, 0]
    clean, distorted = pairs(40, size, 1.0)
    labels = labelled(model, clean)
    first = next(select_jointly(model, "conv1", clean, distorted, labels))
    np.testing.assert_array_equal(first.accuracy[0], first.accuracy[1])
    assert first.chosen != 1


def test_bad_input():
    model, size = network("AllConvNet")
    clean, distorted = pairs(4, size, 1.0)
    labels = labelled(model, clean)

    def choose(*, layer="conv1", labels=labels, **options):
        return lambda: next(select_jointly(model, layer, clean, distorted, labels, **options))

    for words, call in {"at most 4 filters": choose(count=5), "each once": choose(begun=[1, 1]), "0..3": choose(begun=[4]),
                        "conv99": choose(layer="conv99"), "labels": choose(labels=labels[:2])}.items():
        with refused(words):
            call()
