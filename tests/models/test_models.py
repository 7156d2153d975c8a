"""AllConvNet against its description in the paper, and copies of which only some layers train."""

import copy

import numpy as np
import pytest
import torch
from support import refused, settled
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune
from torchvision.models import resnet18

from dclib.models import (
    CIFAR100_MEAN,
    CIFAR100_STD,
    AllConvNet,
    FrozenBatchNorm1d,
    FrozenBatchNorm2d,
    KerasBatchNorm2d,
    Normalize,
    batchnorm_behind,
    count_parameters,
    named_conv,
    selected_copy,
    shapes_alone,
    trainable_copy,
)

CONV = [f"conv{i}" for i in range(1, 10)]
#: Filters, kernel, stride and padding of conv1..conv9 in the paper's network.
PLAN = [
    (96, 3, 1, 1),
    (96, 3, 1, 1),
    (96, 3, 2, 1),
    (192, 3, 1, 1),
    (192, 3, 1, 1),
    (192, 3, 2, 1),
    (192, 3, 1, 0),
    (192, 1, 1, 0),
    (100, 1, 1, 0),
]


@pytest.fixture(scope="module")
def net():
    return settled(AllConvNet())


def test_parameters_of_the_paper(net):
    assert count_parameters(net) == count_parameters(net, trainable=False) == 1_389_804
    by_hand, channels = 0, 3
    for filters, kernel, _, _ in PLAN:
        by_hand += kernel**2 * channels * filters + filters + 2 * filters
        channels = filters
    assert by_hand == 1_389_804


def test_layers(net):
    channels = 3
    for name, (filters, kernel, stride, padding) in zip(CONV, PLAN):
        conv, batchnorm = getattr(net, name), getattr(net, name.replace("conv", "bn"))
        assert conv.weight.shape == (filters, channels, kernel, kernel) and conv.bias.shape == (filters,)
        assert conv.stride == (stride, stride) and conv.padding == (padding, padding) and conv.groups == 1
        assert batchnorm.num_features == filters and (batchnorm.eps, batchnorm.momentum) == (1e-3, 0.01)
        channels = filters


def test_resolutions(net):
    sides = {}
    hooks = [
        getattr(net, name).register_forward_hook(lambda m, i, o, name=name: sides.__setitem__(name, o.shape[-1]))
        for name in CONV
    ]
    with torch.inference_mode():
        net(torch.zeros(1, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    assert list(sides.values()) == [32, 32, 16, 16, 16, 8, 6, 6, 6]


def slow_forward(net, images):
    """The network by its description, without its modules."""
    x = (images - torch.tensor(CIFAR100_MEAN).view(3, 1, 1)) / torch.tensor(CIFAR100_STD).view(3, 1, 1)
    state = net.state_dict()
    for i, (_, _, stride, padding) in enumerate(PLAN, start=1):
        x = F.conv2d(x, state[f"conv{i}.weight"], state[f"conv{i}.bias"], stride, padding)
        mean, variance = state[f"bn{i}.running_mean"], state[f"bn{i}.running_var"]
        x = (x - mean.view(-1, 1, 1)) / (variance.view(-1, 1, 1) + 1e-3).sqrt()
        x = (x * state[f"bn{i}.weight"].view(-1, 1, 1) + state[f"bn{i}.bias"].view(-1, 1, 1)).clamp(min=0)
    return x


def test_forward_equals_the_description(net):
    images = 255 * torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        expected = slow_forward(net, images)
        assert torch.allclose(net.features(images), expected, rtol=1e-4, atol=1e-4)
        assert torch.allclose(net(images), F.avg_pool2d(expected, 6).flatten(1), rtol=1e-4, atol=1e-4)


def test_other_sizes():
    small = AllConvNet(num_classes=10, width=8, batchnorm_momentum=0.1)
    assert [getattr(small, name).out_channels for name in CONV] == [8, 8, 8, 16, 16, 16, 16, 16, 10]
    assert small.bn5.momentum == 0.1
    assert small(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_normalisation():
    normalize = Normalize((10.0, 20.0, 30.0), (1.0, 2.0, 4.0))
    images = torch.tensor([10.0, 24.0, 26.0]).view(1, 3, 1, 1).expand(2, 3, 4, 5)
    assert normalize(images)[1, :, 3, 4].tolist() == [0.0, 2.0, -1.0]
    assert not list(normalize.parameters()) and len(normalize.state_dict()) == 2


@pytest.mark.parametrize("k, count", [(1, 2_880), (3, 169_344), (6, 1_000_512), (9, 1_389_804)])
def test_finetune_counts_of_table_3(net, k, count):
    copied = trainable_copy(net, CONV[:k])
    assert count_parameters(copied) == count
    trained = {name.split(".")[0] for name, p in copied.named_parameters() if p.requires_grad}
    assert trained == {*CONV[:k], *(f"bn{i}" for i in range(1, k + 1))}


def test_the_original_is_not_changed(net):
    before = copy.deepcopy(net.state_dict())
    copied = trainable_copy(net, ["conv2"])
    assert all(p.requires_grad for p in net.parameters()) and type(net.bn1) is KerasBatchNorm2d
    with torch.no_grad():
        for value in copied.state_dict().values():
            value.zero_()
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_a_trainable_copy_computes_the_same(net):
    images = 255 * torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(trainable_copy(net, CONV[:3]).eval()(images), net(images))


def train_some_steps(model, images, labels, steps=3):
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model.train()
    for _ in range(steps):
        optimiser.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimiser.step()


def test_training_changes_only_what_should_train():
    net = settled(AllConvNet(10, 8))
    copied = trainable_copy(net, ["conv2", "conv4"])
    before = copy.deepcopy(copied.state_dict())
    train_some_steps(copied, 255 * torch.rand(20, 3, 32, 32), torch.arange(20) % 10)
    changed = {k for k, v in copied.state_dict().items() if not torch.equal(v, before[k])}
    parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    assert changed == {
        f"{kind}{i}.{part}" for i in (2, 4) for kind, changing in (("conv", parts[:2]), ("bn", parts)) for part in changing
    }
    assert all(p.grad is None for p in copied.parameters() if not p.requires_grad)


def test_frozen_batchnorm_stays_in_evaluation():
    frozen = trainable_copy(settled(AllConvNet(10, 8)), ["conv1"]).train().bn5
    assert isinstance(frozen, FrozenBatchNorm2d) and not frozen.training
    before = copy.deepcopy(frozen.state_dict())
    x = torch.randn(4, 16, 3, 3) * 5
    expected = F.batch_norm(x, frozen.running_mean, frozen.running_var, frozen.weight, frozen.bias, eps=1e-3)
    assert torch.equal(frozen.train(True)(x), expected)
    assert all(torch.equal(v, before[k]) for k, v in frozen.state_dict().items())


def test_batchnorm_of_dense_layers_is_frozen_too():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.Flatten(),
        nn.Linear(4 * 36, 6),
        nn.BatchNorm1d(6),
        nn.Linear(6, 5),
        nn.BatchNorm1d(5),
    )
    copied = trainable_copy(model, ["0", "5"]).train()
    assert isinstance(copied[4], FrozenBatchNorm1d) and not copied[4].training
    assert type(copied[1]) is nn.BatchNorm2d and type(copied[6]) is nn.BatchNorm1d
    before = copy.deepcopy(copied[4].state_dict())
    train_some_steps(copied, torch.rand(6, 3, 8, 8), torch.arange(6) % 5)
    assert all(torch.equal(v, before[k]) for k, v in copied[4].state_dict().items())


@pytest.mark.parametrize("options", [{"affine": False}, {"track_running_stats": False}, {"momentum": None}])
def test_batchnorm_of_every_kind_can_be_copied(options):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, **options), nn.Conv2d(4, 2, 3)).eval()
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(trainable_copy(model, ["2"])(images), model(images))


def test_precision_is_kept(net):
    half = trainable_copy(copy.deepcopy(net).bfloat16(), ["conv1"])
    assert {v.dtype for v in half.state_dict().values() if v.is_floating_point()} == {torch.bfloat16}


def test_batchnorm_is_found_by_the_graph():
    assert batchnorm_behind(resnet18(), ["conv1", "layer1.0.conv2", "layer2.0.downsample.0"]) == {
        "conv1": "bn1",
        "layer1.0.conv2": "layer1.0.bn2",
        "layer2.0.downsample.0": "layer2.0.downsample.1",
    }


class Crossed(nn.Module):
    """Names that mislead: bn1 is behind conv2, and nothing is behind conv1 but a sum."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.bn1 = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        first = self.conv1(x)
        return self.bn1(self.conv2(first)) + first


def test_batchnorm_is_not_found_by_name():
    assert batchnorm_behind(Crossed(), ["conv1", "conv2"]) == {"conv2": "bn1"}


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.conv(x) if x.sum() > 0 else x


def test_bad_layers(net):
    with refused("'conv10'", "AllConvNet", "conv1, conv2"):
        trainable_copy(net, ["conv10"])
    with refused("'bn1'", "KerasBatchNorm2d", "nn.Conv2d"):
        trainable_copy(net, ["conv1", "bn1"])
    with refused("'normalize'", "Normalize"):
        named_conv(net, "normalize")
    with refused("''", "AllConvNet"):
        named_conv(net, "")
    with refused("'0'", "none"):
        named_conv(nn.Sequential(nn.Linear(2, 2)), "0")
    with refused("Branching", "torch.fx"):
        trainable_copy(Branching(), ["conv"])


# ---------------------------------------------------------------- some filters of a layer


def test_selected_filters_train_and_nothing_else():
    net = settled(AllConvNet(5, 8))
    copied = selected_copy(net, {"conv1": [6, 1], "conv4": [3], "conv5": []})
    assert count_parameters(copied) == 2 * (27 + 1) + (8 * 9 + 1)
    inputs = 255 * torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(copied.eval()(inputs), net(inputs))
    optimiser = torch.optim.SGD([p for p in copied.parameters() if p.requires_grad], lr=1.0, momentum=0.9, weight_decay=0.1)
    copied.train()
    for _ in range(2):
        optimiser.zero_grad()
        F.cross_entropy(copied(inputs), torch.arange(4)).backward()
        optimiser.step()
    moved = {name: (copied.get_submodule(name).weight != net.get_submodule(name).weight).flatten(1).any(1) for name in CONV}
    assert moved["conv1"].nonzero().flatten().tolist() == [1, 6]
    assert moved["conv4"].nonzero().flatten().tolist() == [3]
    assert not any(moved[name].any() for name in set(CONV) - {"conv1", "conv4"})
    assert torch.equal(copied.bn1.running_mean, net.bn1.running_mean)


def test_selected_copy_can_be_copied_and_loaded():
    net = settled(AllConvNet(5, 8))
    first, second = (selected_copy(net, {"conv1": [0, 2]}) for _ in range(2))
    with torch.no_grad():
        first.conv1.parametrizations.weight.original += 1
    second.load_state_dict(first.state_dict())
    inputs = 255 * torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(second.eval()(inputs), first.eval()(inputs))
        assert torch.equal(copy.deepcopy(first)(inputs), first(inputs))


@pytest.mark.parametrize(
    "filters, word", [({"conv10": [0]}, "'conv10'"), ({"conv1": [8]}, "0..7"), ({"conv1": [-1]}, "0..7")]
)
def test_selected_copy_refuses_what_is_not_there(filters, word):
    with refused(word):
        selected_copy(AllConvNet(5, 8), filters)


@pytest.mark.parametrize(
    "chosen, word",
    [
        ([True, False, True, False], "whole numbers"),
        ([0.0, 1.0], "whole numbers"),
        ([1, 1], "twice"),
        (3, "whole numbers"),
        ([[0, 1]], "whole numbers"),
        ("01", "whole numbers"),
        (np.array([True] * 8), "whole numbers"),
        ([0, 8], "0..7"),
    ],
)
def test_selected_copy_refuses_what_are_no_filters(chosen, word):
    with refused("'conv1'", word):
        selected_copy(AllConvNet(5, 8), {"conv1": chosen})


@pytest.mark.parametrize(
    "chosen", [(1, 3), np.array([3, 1], dtype=np.uint8), torch.tensor([1, 3], dtype=torch.int32), range(1, 4, 2)]
)
def test_selected_copy_takes_whole_numbers_of_any_kind(chosen):
    copied = selected_copy(AllConvNet(5, 8), {"conv1": chosen})
    assert copied.conv1.parametrizations.weight.original.shape == (2, 3, 3, 3)


def test_selected_copy_of_other_arguments_and_names():
    conv = nn.Conv2d(3, 4, 3)
    net = nn.ModuleDict({"a": conv, "b": nn.Sequential(conv, nn.ReLU())})
    copied = selected_copy(net, {"b.0": [1]})
    assert copied["a"] is copied["b"][0] and count_parameters(copied) == 28
    with refused("two names"):
        selected_copy(net, {"a": [0], "b.0": [1]})
    with refused("list"):
        selected_copy(net, [0])
    compiled = torch.compile(net)
    assert count_parameters(selected_copy(compiled, {"a": [1]})) == 28


@pytest.mark.parametrize("how", ["weight norm", "weight norm, hook", "spectral norm, hook", "pruned"])
def test_selected_copy_refuses_weights_that_are_computed(how):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    if how == "weight norm":
        nn.utils.parametrizations.weight_norm(net[0])
    elif how == "weight norm, hook":
        with pytest.warns(FutureWarning):
            nn.utils.weight_norm(net[0])
    elif how == "spectral norm, hook":
        nn.utils.spectral_norm(net[0])
    else:
        prune.random_unstructured(net[0], "weight", amount=0.5)
    with refused("'0'", "remove"):
        selected_copy(net, {"0": [1]})


# ---------------------------------------------------------------- shapes alone


def test_networks_without_numbers_have_the_shapes_of_those_with():
    with shapes_alone():
        narrow = AllConvNet(10, width=8)
    expected = AllConvNet(10, width=8).state_dict()
    assert {name: value.shape for name, value in narrow.state_dict().items()} == {k: v.shape for k, v in expected.items()}
    assert {value.device.type for value in narrow.state_dict().values()} == {"meta"}
    assert count_parameters(narrow) == count_parameters(AllConvNet(10, width=8))
    assert torch.randn(2).device.type == "cpu" and nn.init.ones_(torch.empty(2)).tolist() == [1, 1]
    assert nn.init.kaiming_normal_(torch.zeros(4, 4)).abs().sum() > 0  # as ever behind the block
