"""The suite of other people's networks sees what it is for: a swap that is not the naive loop's, and a frozen weight that moved."""

import pytest
import torch
from torch import nn

from benchmarks import zoo


@pytest.fixture
def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU()
    return zoo.settled(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, zoo.CLASSES)), 16)


def test_every_image_is_asked_what_swaps_change(network):
    found = zoo.rank(network, "0", 16)
    assert found["filters"] == 8 and found["swaps"] == 8 * zoo.COMPARED
    assert found["swaps_with_the_rarer_answer"] >= 2 * zoo.COMPARED  # a quarter of the filters or more


def test_one_wrong_swap_is_seen(network, monkeypatch):
    real = zoo.hits_after_swaps

    def wrong(*arguments):
        (layer, bits) = next(iter(real(*arguments).items()))
        bits[3] = ~bits[3]
        return {layer: bits}

    monkeypatch.setattr(zoo, "hits_after_swaps", wrong)
    with pytest.raises(ValueError, match=f"{zoo.COMPARED} of {8 * zoo.COMPARED} swaps"):
        zoo.rank(network, "0", 16)


def test_a_network_that_answers_all_alike_proves_nothing(network):
    nn.init.zeros_(network[-1].weight)
    with pytest.raises(ValueError, match="proves nothing"):
        zoo.rank(network, "0", 16)


def test_a_frozen_weight_that_moves_is_seen(network, monkeypatch):
    def careless(*arguments):
        moving = corrected(*arguments)
        moving[4] = nn.BatchNorm2d(16).requires_grad_(False)  # its statistics follow the mini-batches
        return moving

    corrected = zoo.correct
    zoo.train(network, "0", 16)
    monkeypatch.setattr(zoo, "correct", careless)
    with pytest.raises(ValueError, match="moved although frozen"):
        zoo.train(network, "0", 16)
