"""What cannot be corrected is refused in one sentence."""

import numpy as np
import pytest
from support import CHOSEN, SMALL, refused

from dclib.correction import UnitDesign, correct

BAD_FILTERS = {
    "none": ({}, "filters"),
    "only empty ones": ({"conv1": [], "conv2": np.array([])}, "filters"),
    "a list": (["conv1"], "list"),
    "unknown layer": ({"conv10": [0]}, "'conv10'"),
    "unknown layer without filters": ({"conv1": [0], "conv10": []}, "'conv10'"),
    "no convolution": ({"bn1": [0]}, "KerasBatchNorm2d"),
    "beyond": ({"conv1": [0, 8]}, "0..7"),
    "negative": ({"conv1": [-1]}, "0..7"),
    "twice": ({"conv1": [1, 2, 1]}, "twice"),
    "number": ({"conv1": 3}, "conv1"),
    "fractions": ({"conv1": [0.5]}, "whole"),
    "mask": ({"conv1": [True, False]}, "whole"),
    "two axes": ({"conv1": [[0, 1]]}, "whole"),
    "ragged": ({"conv1": [[0, 1], [2]]}, "whole"),
    "words": ({"conv1": ["first"]}, "whole"),
    "nothing": ({"conv1": None}, "whole"),
}


@pytest.mark.parametrize("case", BAD_FILTERS)
def test_bad_filters(net, case):
    filters, word = BAD_FILTERS[case]
    with refused(word):
        correct(net, filters, SMALL)


def test_bad_layers_to_train(net):
    with refused("'conv10'"):
        correct(net, CHOSEN, SMALL, also_train=["conv10"])


def test_a_design_per_layer_must_be_complete(net):
    with refused("design", "conv3, conv5"):
        correct(net, CHOSEN, {"conv1": SMALL})


@pytest.mark.parametrize(
    "options, word",
    [
        ({"width": 0}, "width"),
        ({"width": -4}, "width"),
        ({"kernels": (1,)}, "kernels"),
        ({"kernels": (1, 2, 1)}, "kernels"),
        ({"kernels": (1, -3, 1)}, "kernels"),
        ({"dilations": (1, 2)}, "dilations"),
        ({"dilations": (1, 0, 1, 1)}, "dilations"),
    ],
)
def test_bad_designs(options, word):
    with refused(word):
        UnitDesign(**options)
