"""Correction on networks of others: computed weights, names, norms, groups, what has no BatchNorm."""

import copy

import pytest
import torch
from support import images, refused, settled, train_some_steps, trainable_names
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune  # noqa: F401 - nn.utils does not import it itself
from torchvision.models import alexnet, resnet18, squeezenet1_0

from dclib.correction import CorrectedConv2d, PartialBatchNorm2d, UnitDesign, correct
from dclib.models import trainable_copy


@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")
@pytest.mark.parametrize(
    "computed",
    [nn.utils.weight_norm, nn.utils.spectral_norm, lambda conv: nn.utils.prune.l1_unstructured(conv, "weight", 0.5)],
)
def test_weights_that_a_hook_computes(computed):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), computed(nn.Conv2d(4, 5, 1)), nn.AvgPool2d(30), nn.Flatten()).eval()
    model(images())  # the hook leaves a tensor that cannot be copied
    with refused("copy", "remove_weight_norm"):
        correct(model, {"0": [0]}, UnitDesign(2))


def test_weights_that_a_parametrisation_computes_are_corrected():
    conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
    model = nn.Sequential(conv, nn.ReLU(), nn.AvgPool2d(30), nn.Flatten()).eval()
    network = correct(model, {"0": [1, 3]}, UnitDesign(2))
    with torch.inference_mode():
        changed = (network(images()) != model(images())).any(0)
    assert changed.tolist() == [False, True, False, True]


def test_every_name_of_a_layer_will_do():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
            self.features = nn.Sequential(self.conv1, self.bn1, nn.ReLU(), nn.AvgPool2d(30), nn.Flatten())

        def forward(self, x):
            return self.features(x)

    model, x = settled(Twice()), images()
    for name in ("conv1", "features.0"):
        network = correct(model, {name: [1, 2]}, UnitDesign(2))
        assert isinstance(network.conv1, CorrectedConv2d) and network.conv1 is network.features[0]
        assert isinstance(network.bn1, PartialBatchNorm2d) and network.bn1 is network.features[1]
        assert not torch.allclose(network(x), model(x))
        assert trainable_copy(model, [name]).features[0].weight.requires_grad
    with refused("'conv1'", "'features.0'"):
        correct(model, {"conv1": [0], "features.0": [1]})


class Activated(nn.BatchNorm2d):
    """A BatchNorm of a class of the user's own."""

    def forward(self, x):
        return super().forward(x).relu()


@pytest.mark.parametrize(
    "norm",
    [
        lambda: Activated(6),
        lambda: nn.InstanceNorm2d(6, track_running_stats=True),
        lambda: nn.Sequential(Activated(6)),
        lambda: nn.SyncBatchNorm(6),
    ],
)
def test_whatever_has_running_statistics_is_frozen(norm):
    model = nn.Sequential(nn.Conv2d(3, 6, 3), norm(), nn.Conv2d(6, 6, 1), nn.AvgPool2d(30), nn.Flatten()).eval()
    network = correct(model, {"2": [0, 1]}, UnitDesign(2)).train()
    before = {k: v.clone() for k, v in network.state_dict().items() if k.startswith("1.")}
    train_some_steps(network, 2, classes=6)
    assert before and all(torch.equal(v, network.state_dict()[k]) for k, v in before.items())
    with torch.inference_mode():
        assert torch.equal(copy.deepcopy(network).train()[1](network[0](images())), model[1](model[0](images())))


# ---------------------------------------------------------------- other networks


class Five(nn.Module):
    """No BatchNorm, groups, and a convolution used twice."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1, groups=4), nn.Conv2d(8, 5, 1)

    def forward(self, x):
        x = F.relu(self.a(x))
        return self.c(F.relu(self.b(x)) + self.b(x)).mean((2, 3))


OTHERS = {
    "resnet18": (lambda: resnet18(num_classes=10), {"conv1": [1, 60], "layer2.0.conv1": [3], "layer3.1.conv2": [0, 9]}),
    "sequential": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.LazyLinear(10)
        ),
        {"0": [5, 1], "3": [2]},
    ),
    "alexnet": (
        lambda: nn.Sequential(nn.Upsample(size=63), alexnet(num_classes=10)),
        {"1.features.0": [0, 63], "1.features.10": [7]},
    ),
    "squeezenet": (lambda: squeezenet1_0(num_classes=10), {"features.0": [1, 95], "features.3.squeeze": [2]}),
    "five": (Five, {"a": [0], "b": [7, 2], "c": [4]}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_networks(name):
    build, filters = OTHERS[name]
    model = build().eval()
    x = images(2)
    model(x)
    network = correct(settled(model), filters)
    for layer in filters:
        nn.init.zeros_(network.get_submodule(layer).unit.residual[-1].weight)
    with torch.inference_mode():
        assert torch.equal(network(x), model(x))
    network = correct(model, filters)
    frozen = {k: v.clone() for k, v in network.state_dict().items()}
    train_some_steps(network, 1, classes=5)
    partial = {name: module for name, module in network.named_modules() if isinstance(module, PartialBatchNorm2d)}
    selected = {f"{name}.{part}" for name in partial for part in ("weight", "bias")}
    for key, value in network.state_dict().items():
        owner = partial.get(key.rpartition(".batchnorm.")[0])
        if owner is not None and value.ndim:  # the statistics of corrected channels follow
            others = [c for c in range(len(value)) if c not in owner.index.tolist()]
            value, frozen[key] = value[others], frozen[key][others]
        assert (
            (owner is not None and not value.ndim) or ".unit." in key or key in selected or torch.equal(value, frozen[key])
        )
    assert trainable_names(network) == {k for k, _ in network.named_parameters() if ".unit." in k} | selected
