"""Ranking against the naive loop, and correction against one by hand, on networks that nobody thought of."""

import copy

import numpy as np
import pytest
import torch
from generated_networks import SPOILERS, Generated, Spoiled, plans
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from naive_swaps import correct_after_swap, pairs
from support import check_sentence, refused, settled

from dclib.correction import UnitDesign, correct
from dclib.errors import InputError
from dclib.ranking import swap_accuracy

pytestmark = pytest.mark.slow

SETTINGS = {
    "derandomize": True,
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
    "phases": (Phase.generate, Phase.shrink),
}


@settings(max_examples=80, **SETTINGS)
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
            naive = [
                [correct_after_swap(model, layer, [f], clean, level, labels).double().mean().item() for level in distorted]
                for f in range(model.get_submodule(layer).out_channels)
            ]
        assert np.array_equal(found[layer], np.array(naive)), layer


def can_train(model, images):
    """Some networks overwrite in place what their own gradient needs."""
    try:
        copy.deepcopy(model).train()(images.clone()).sum().backward()
    except RuntimeError:
        return False
    return True


@settings(max_examples=60, **SETTINGS)
@given(plans())
def test_correction_equals_one_by_hand_and_trains_nothing_else(blocks):
    """By hand: the model's own convolution, whose output a hook corrects filter by filter, wherever it is used."""
    torch.manual_seed(0)
    clean, _ = pairs(8, 8, 0.02)
    model = settled(Generated(blocks)).double()
    for layer in model.rankable()[:2]:
        conv = model.get_submodule(layer)
        chosen = sorted({0, conv.out_channels - 1})
        network = correct(model, {layer: chosen}, UnitDesign(3, input_batchnorm=True)).eval()
        unit = settled(network.get_submodule(layer).unit)

        def by_hand(module, inputs, output, unit=unit, chosen=chosen):
            return output.index_copy(1, torch.tensor(chosen), unit(output[:, chosen]))

        handle = conv.register_forward_hook(by_hand)
        with torch.no_grad():
            expected = model(clean.clone())
            handle.remove()
            assert torch.allclose(network(clean.clone()), expected, rtol=1e-9, atol=1e-9), layer
        if not can_train(model, clean):
            continue
        frozen = {name: p.clone() for name, p in network.named_parameters() if not p.requires_grad}
        optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
        torch.nn.functional.cross_entropy(network.train()(clean.clone()), torch.arange(8) % 6).backward()
        optimiser.step()
        assert all(torch.equal(p, frozen[name]) for name, p in network.named_parameters() if name in frozen)


def answers_each_image_alone(model, images):
    """Whether the network's answer to an image is one answer, whatever is beside it; also where it cannot run so."""
    try:
        with torch.no_grad():
            together, alone = model(images.clone()), torch.cat([model(image[None].clone()) for image in images])
    except RuntimeError:
        return False
    return torch.allclose(together, alone, rtol=1e-6, atol=1e-9)


@settings(max_examples=60, **SETTINGS)
@given(plans(), st.sampled_from(sorted(SPOILERS)))
def test_what_cannot_be_ranked_is_refused_and_never_answered(blocks, spoiler):
    torch.manual_seed(0)
    clean, distorted = pairs(8, 8, 0.02)
    model, labels = settled(Spoiled(blocks, spoiler)).double(), torch.arange(8) % 6
    layer = f"whole.{model.whole.rankable()[0]}"
    try:
        found = swap_accuracy(model, [layer], clean, distorted, labels)[layer]
    except InputError as error:
        check_sentence(str(error))
        return
    assert answers_each_image_alone(model, clean)
    with torch.no_grad():
        naive = [
            [correct_after_swap(model, layer, [f], clean, level, labels).double().mean().item() for level in distorted]
            for f in range(model.get_submodule(layer).out_channels)
        ]
    assert np.array_equal(found, np.array(naive))


WRONG = {
    "unknown": lambda name, count: {f"{name}.no": [0]},
    "no convolution": lambda name, count: {"head": [0]},
    "beyond": lambda name, count: {name: [count]},
    "negative": lambda name, count: {name: [-1]},
    "twice": lambda name, count: {name: [1, 0, 1]},
    "fractions": lambda name, count: {name: [0.5]},
    "flags": lambda name, count: {name: [True, False]},
    "none": lambda name, count: {name: []},
    "nested": lambda name, count: {name: [[0], [1]]},
    "words": lambda name, count: {name: ["0"]},
    "nothing": lambda name, count: {},
    "a list": lambda name, count: [name],
}


@settings(max_examples=40, **SETTINGS)
@given(plans(), st.sampled_from(sorted(WRONG)))
def test_what_cannot_be_corrected_is_refused(blocks, how):
    torch.manual_seed(0)
    model = settled(Generated(blocks))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    layer = model.rankable()[-1]
    with refused():
        correct(model, WRONG[how](layer, model.get_submodule(layer).out_channels))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@settings(max_examples=20, **SETTINGS)
@given(plans())
def test_two_names_of_one_convolution_are_refused(blocks):
    model = Generated([{**blocks[0], "aliased": True}, *blocks[1:]])
    with refused("one module"):
        correct(model, {"blocks.0.conv": [0], "blocks.0.alias.0": [1]})
