"""Ranking against the naive loop on networks that nobody thought of."""

import numpy as np
import torch
from generated_networks import Generated, plans
from hypothesis import HealthCheck, Phase, given, settings
from naive_swaps import correct_after_swap, pairs
from support import settled

from dclib.ranking import swap_accuracy


@settings(max_examples=80, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck),
          phases=(Phase.generate, Phase.shrink))
@given(plans())
def test_equal_to_the_naive_loop(blocks):
    torch.manual_seed(0)
    clean, distorted = pairs(8, 8, 0.02)
    model = settled(Generated(blocks)).double()
    with torch.no_grad():
        model.head.bias -= model(clean.clone()).mean(0)
        labels = model(clean.clone()).argmax(1)
        labels[::4] = (labels[::4] + 1) % 6
    layers = model.rankable()
    found = swap_accuracy(model, layers, clean, distorted, labels)
    for layer in layers:
        with torch.no_grad():
            naive = [[correct_after_swap(model, layer, [f], clean, level, labels).double().mean().item()
                      for level in distorted] for f in range(model.get_submodule(layer).out_channels)]
        assert np.array_equal(found[layer], np.array(naive)), layer
