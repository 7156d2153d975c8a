"""Correction units: a network assembled by hand, and all that must not change."""

import copy

import numpy as np
import pytest
import torch
from support import CHOSEN, SMALL, images, settled, train_some_steps, trainable_names
from torch import nn
from torch.nn import functional as F

from dclib import correction
from dclib.correction import RELEASED_CIFAR100, CorrectionUnit, UnitDesign, correct, unit_shares
from dclib.models import AllConvNet, count_parameters
from dclib.ranking import select_global, select_local

CONV = [f"conv{i}" for i in range(1, 10)]


# ---------------------------------------------------------------- the corrected network


def batchnorm(x, state, name, eps=1e-3):
    mean, variance, weight, bias = (
        state[f"{name}.{part}"].view(-1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (variance + eps).sqrt() * weight + bias


def conv(x, state, name, **options):
    return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], **options)


def selected_batchnorm(state, i, chosen):
    """The statistics of the corrected channels, and the scale and shift that are trained for them."""
    return {
        "bn.running_mean": state[f"bn{i}.batchnorm.running_mean"][chosen],
        "bn.running_var": state[f"bn{i}.batchnorm.running_var"][chosen],
        "bn.weight": state[f"bn{i}.weight"],
        "bn.bias": state[f"bn{i}.bias"],
    }


def assembled_by_hand(net, network, x):
    """Section 4.2 step by step: the baseline's layers, each chosen filter's output corrected on its own."""
    base, state = net.state_dict(), network.state_dict()
    x = (x - base["normalize.mean"]) / base["normalize.std"]
    strides, paddings = [1, 1, 2, 1, 1, 2, 1, 1, 1], [1] * 6 + [0] * 3
    for i, (stride, padding) in enumerate(zip(strides, paddings), start=1):
        y = conv(x, base, f"conv{i}", stride=stride, padding=padding)
        chosen = CHOSEN.get(f"conv{i}", [])
        z = y.clone()
        if chosen:
            stack = f"conv{i}.unit.residual"
            r = batchnorm(y[:, chosen], state, f"{stack}.0")
            for step, pad in ((1, 0), (4, 1), (7, 1)):
                r = batchnorm(conv(r, state, f"{stack}.{step}", padding=pad), state, f"{stack}.{step + 1}").clamp(min=0)
            z[:, chosen] = y[:, chosen] + conv(r, state, f"{stack}.10")
        normal = batchnorm(z, base, f"bn{i}")
        if chosen:
            normal[:, chosen] = batchnorm(z[:, chosen], selected_batchnorm(state, i, chosen), "bn")
        x = normal.clamp(min=0)
    return x.mean((2, 3))


def test_equal_to_a_network_assembled_by_hand(net, corrected):
    net, corrected, x = net.double(), corrected.double(), images().double()
    with torch.inference_mode():
        expected = assembled_by_hand(net, corrected, x)
        assert torch.allclose(corrected(x), expected, rtol=1e-10, atol=1e-10)
        assert not torch.allclose(net(x), expected, rtol=1e-2, atol=1e-2)


def gathered(layer, partial, x):
    """What a corrected layer and the BatchNorm behind it compute in training, channel by channel and with no selection."""
    y = layer.conv(x)
    z = y.index_copy(1, layer.index, layer.unit(y[:, layer.index]))
    weight, bias = (
        whole.index_copy(0, layer.index, own)
        for whole, own in ((partial.batchnorm.weight, partial.weight), (partial.batchnorm.bias, partial.bias))
    )
    mean, variance = z.mean((0, 2, 3), keepdim=True), z.var((0, 2, 3), unbiased=False, keepdim=True)
    if not partial.batch_statistics:
        others = torch.ones(z.shape[1], dtype=torch.bool).index_fill(0, layer.index, False)[:, None, None]
        mean = torch.where(others, partial.batchnorm.running_mean.view(-1, 1, 1), mean)
        variance = torch.where(others, partial.batchnorm.running_var.view(-1, 1, 1), variance)
    return (z - mean) / (variance + partial.batchnorm.eps).sqrt() * weight.view(-1, 1, 1) + bias.view(-1, 1, 1)


TOLERANCES = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 2e-2}


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("batch_statistics", [False, True])
@pytest.mark.parametrize(
    "design",
    [SMALL, UnitDesign(5, (1, 3), batchnorm=False), UnitDesign(3, (3, 1, 3), (1, 1, 2))],
    ids=["released", "two", "last 3x3"],
)
def test_training_equals_gathering(net, dtype, memory_format, batch_statistics, design):
    def trained_once(compute, computed_in):
        network = correct(net, {"conv2": [6, 0, 3]}, design, batch_statistics=batch_statistics).to(dtype).train()
        for m in network.modules():  # as if the loop went on for a while
            if isinstance(m, CorrectionUnit):
                settled(m).train()
        network = network.to(computed_in)  # the same rounded parameters
        x = torch.randn(6, 8, 12, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        x = x.to(dtype).to(computed_in).contiguous(memory_format=memory_format).requires_grad_()
        y = compute(network, x)
        weights = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view(y.shape).to(dtype).to(computed_in)
        (y * weights).sum().backward()
        gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
        return {"output": y.detach(), "input": x.grad} | gradients

    def by_hand(network, x):
        return gathered(network.conv2, network.bn2, x)

    found = trained_once(lambda network, x: network.bn2(network.conv2(x)), dtype)
    expected, exact = trained_once(by_hand, dtype), trained_once(by_hand, torch.float64)
    assert found.keys() == expected.keys() and len(found) > 6
    largest = max(value.norm().item() for name, value in exact.items() if name != "output")
    for name, value in exact.items():
        scale = max(value.norm().item(), largest)  # some are 0: those of biases before a BatchNorm
        # In bfloat16 a network assembled by hand is itself far from exact where the processor adds up in bfloat16.
        by_rounding = (expected[name].double() - value).norm().item() / scale
        assert (found[name].double() - value).norm().item() / scale <= by_rounding + TOLERANCES[dtype], name


def test_no_gradient_is_gathered(net):
    """index_select and its kind add by index on the way back, which takes longer than a convolution."""
    network = correct(net, CHOSEN, SMALL, batch_statistics=True).train()
    with torch.profiler.profile(record_shapes=True) as profile:
        network(images()).sum().backward()
    names = {
        event.key
        for event in profile.key_averages(group_by_input_shape=True)
        if any(len(shape) == 4 for shape in event.input_shapes)
    }
    assert "aten::convolution_backward" in names
    assert not names & {"aten::index_add_", "aten::index_select", "aten::index_put_", "aten::cat"}


def test_a_unit_of_zeros_changes_nothing(net):
    network = correct(net, CHOSEN, SMALL)
    for layer in CHOSEN:
        nn.init.zeros_(network.get_submodule(layer).unit.residual[-1].weight)
    with torch.inference_mode():
        assert torch.equal(network(images()), net(images()))


def captured(model, names, x):
    outputs = {}

    def keep(name):
        return lambda module, inputs, output: outputs.update({name: output.clone()})

    hooks = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    model(x)
    for hook in hooks:
        hook.remove()
    return outputs


def others(layer, count=8):
    return [c for c in range(count) if c not in CHOSEN[layer]]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("steps", [0, 3])
def test_uncorrected_channels_stay_bit_for_bit(net, corrected, training, steps):
    network = train_some_steps(corrected, steps).train(training)
    with torch.inference_mode():
        before, after = (captured(model, ["conv1", "bn1"], images()) for model in (net, network))
    keep = others("conv1")
    for name in ("conv1", "bn1"):
        assert torch.equal(before[name][:, keep], after[name][:, keep])
        assert not torch.equal(before[name][:, CHOSEN["conv1"]], after[name][:, CHOSEN["conv1"]])


def test_the_given_model_is_not_changed(net):
    before, mode = copy.deepcopy(net.state_dict()), [m.training for m in net.modules()]
    network = train_some_steps(correct(net, CHOSEN, SMALL, also_train=CONV[6:]))
    with torch.no_grad():
        for value in network.state_dict().values():
            value.zero_()
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert [m.training for m in net.modules()] == mode
    assert all(p.requires_grad for p in net.parameters()) and not hasattr(net, "correction")


@pytest.mark.parametrize("training", [False, True])
def test_the_mode_of_the_model_is_kept(net, training):
    assert correct(net.train(training), CHOSEN, SMALL).training is training


def test_only_what_should_train_does(net):
    network = correct(net, CHOSEN, SMALL, also_train=CONV[6:])
    units = {name for name, _ in network.named_parameters() if ".unit." in name}
    selected = {f"bn{layer[4:]}.{part}" for layer in CHOSEN for part in ("weight", "bias")}
    top = {f"{kind}{i}.{part}" for kind in ("conv", "bn") for i in (7, 8, 9) for part in ("weight", "bias")}
    assert trainable_names(network) == units | selected | top
    before = copy.deepcopy(network.state_dict())
    train_some_steps(network)
    assert {name for name, p in network.named_parameters() if p.grad is not None} == trainable_names(network)
    moving = {
        name
        for name in before
        if any(f".{part}" in name for part in ("running_", "num_batches"))
        and (".unit." in name or ".batchnorm." in name or name.split(".")[0] in ("bn7", "bn8", "bn9"))
    }
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == trainable_names(network) | moving


def test_without_its_batchnorm(net):
    network = correct(net, CHOSEN, SMALL, train_batchnorm=False)
    assert all(".unit." in name for name in trainable_names(network))


def test_a_corrected_layer_may_train_as_well(net):
    network = correct(net, {"conv7": [1, 2]}, SMALL, also_train=["conv7"])
    unit = count_parameters(network.conv7.unit)
    assert count_parameters(network) == unit + count_parameters(net.conv7) + count_parameters(net.bn7)
    train_some_steps(network)
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)


def test_the_seed_decides_the_units_and_nothing_else(net):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    networks = [correct(net, CHOSEN, SMALL, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(torch.rand(3), expected)
    weights = [network.conv1.unit.residual[1].weight for network in networks]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_default_designs(net):
    assert correct(net, {"conv1": [0]}).conv1.unit.residual[1].out_channels == RELEASED_CIFAR100.width == 64
    plain = correct(nn.Sequential(nn.Conv2d(3, 4, 3)), {"0": [0, 2]})
    assert [m.out_channels for m in plain[0].unit.residual if isinstance(m, nn.Conv2d)] == [2, 2, 2, 2]
    assert isinstance(plain[0].unit.residual[0], nn.Conv2d)


def test_one_design_per_layer(net):
    network = correct(net, {"conv1": [0], "conv2": [1]}, {"conv1": UnitDesign(2), "conv2": UnitDesign(5)})
    assert network.conv1.unit.residual[0].out_channels == 2 and network.conv2.unit.residual[0].out_channels == 5


def test_takes_what_the_ranking_selects(net):
    scores = {"conv1": np.linspace(1, 0, 8), "conv2": np.linspace(-1, -2, 8)}
    local = correct(net, select_local(scores, 0.25), SMALL)
    assert local.correction["filters"] == {"conv1": [0, 1], "conv2": [0, 1]}
    together = correct(net, select_global(scores, 3), SMALL)  # none of conv2's
    assert together.correction["filters"] == {"conv1": [0, 1, 2]}
    assert isinstance(together.conv2, nn.Conv2d)


@pytest.mark.parametrize("batch_statistics", [False, True])
def test_frozen_batchnorm_may_follow_the_mini_batches(net, batch_statistics, tmp_path):
    network = correct(net, {"conv1": [0, 1]}, also_train=("conv9",), batch_statistics=batch_statistics)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    train_some_steps(network)
    after = network.state_dict()
    moved = {k for k in before if "running_" in k and not torch.equal(before[k], after[k])}
    assert {"bn9.running_mean", "bn1.batchnorm.running_mean"} <= moved
    statistics = [state["bn1.batchnorm.running_mean"] for state in (before, after)]
    followed = statistics[0] != statistics[1]
    assert followed[:2].all() and followed[2:].all() == followed[2:].any() == batch_statistics
    assert ("bn2.running_mean" in moved) == batch_statistics
    assert torch.equal(before["bn2.weight"], after["bn2.weight"])
    assert torch.equal(before["bn1.batchnorm.weight"], after["bn1.batchnorm.weight"])
    assert count_parameters(network) == count_parameters(correct(net, {"conv1": [0, 1]}, also_train=("conv9",)))
    loaded = correction.load(net, correction.save(network.eval(), tmp_path / "n.safetensors"))
    assert loaded.correction == network.correction and torch.equal(loaded(images()), network(images()))


# ---------------------------------------------------------------- how much units add


def test_unit_shares_are_those_of_the_residual_written_out():
    model = AllConvNet(num_classes=5, width=8).eval()
    network = correct(model, {"conv1": [0, 3], "conv4": [1]}, seed=1).train()
    images = torch.rand(6, 3, 32, 32) * 255
    shares = unit_shares(network, images)
    assert network.training and list(shares) == ["conv1", "conv4"]
    with torch.no_grad():
        network.eval()
        outputs = network.conv1.conv(network.normalize(images))[:, [0, 3]]
        added = network.conv1.unit(outputs) - outputs
    assert shares["conv1"] == pytest.approx(float(added.norm() / outputs.norm()), rel=1e-4)
    with torch.no_grad():
        network.conv1.unit.residual[-1].weight.zero_(), network.conv1.unit.residual[-1].bias.zero_()
    assert unit_shares(network, images)["conv1"] == 0 and unit_shares(model, images) == {}
