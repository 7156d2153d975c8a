"""Networks in evaluation mode: every module is in its own mode afterwards, and batches fit into memory."""

import pytest
import torch
from support import data_of, refused
from torch import nn

from dclib.evaluation import hits_on, hits_per_level
from dclib.models import evaluation_mode, images_at_once, multiply_adds, predicted_classes, unwrapped
from dclib.ranking import accuracy_per_level, activation_distances
from dclib.transfer import dense_features


class Merged(nn.Linear):
    """Like the layers of LoRA: `train` does more than set an attribute."""

    merged = False

    def train(self, mode=True):
        super().train(mode)
        self.merged = not mode
        return self


class Failing(nn.Module):
    fails = False

    def forward(self, x):
        if self.fails:
            raise ValueError("no more")
        return x


def network():
    """Modules in modes of their own, one of them below two parents."""
    shared = nn.BatchNorm2d(3)
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), shared),
        nn.Sequential(shared, nn.Dropout()),
        Failing(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        Merged(3, 10),
    ).train()
    model[0].eval()
    model[1][1].training = False
    model[5].train(False)
    return model


def modes(model):
    return [module.training for module in model.modules()], model[5].merged


IMAGES = torch.rand(4, 3, 8, 8)
USES = {
    "accuracy_per_level": lambda m: accuracy_per_level(m, IMAGES[None], torch.arange(4)),
    "activation_distances": lambda m: activation_distances(m, ["0.0"], IMAGES, IMAGES[None]),
    "hits_per_level": lambda m: hits_per_level(m, data_of(4), "blur", (1.0,)),
    "hits_on": lambda m: hits_on(m, IMAGES[None], torch.arange(4)),
    "dense_features": lambda m: dense_features(m, IMAGES, "5"),
    "multiply_adds": lambda m: multiply_adds(m, 3, 8, 8),
}


@pytest.mark.parametrize("outer", [True, False])
@pytest.mark.parametrize("use", USES)
def test_every_module_keeps_its_mode(use, outer):
    model = network()
    model.training = outer
    before = modes(model)
    USES[use](model)
    assert modes(model) == before and before[0][1] is False
    model[2].fails = True
    with pytest.raises(ValueError, match="no more"):
        USES[use](model)
    assert modes(model) == before
    assert not any(module._forward_hooks for module in model.modules())


def test_all_is_in_evaluation_mode_inside():
    model = network()
    with evaluation_mode(model):
        assert not any(module.training for module in model.modules()) and model[5].merged
    model[5].train()
    before = modes(model)
    with evaluation_mode(model):
        assert model[5].merged
    assert modes(model) == before and not model[5].merged


def test_batches_shrink_with_the_largest_output():
    wide, images = nn.Sequential(nn.Conv2d(3, 256, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()), torch.rand(2, 3, 224, 224)
    assert images_at_once(wide, images, 500) == 2**31 // (4 * 4 * 256 * 224**2)
    assert images_at_once(wide, images.double()[..., :10, :10], 500) == 500  # too small to be looked at: it is not run
    assert images_at_once(nn.Flatten(), images, 40) == 40


def test_wrappers_are_taken_off():
    model = nn.Sequential(nn.ReLU())
    assert unwrapped(model) is model
    assert unwrapped(nn.DataParallel(torch.compile(model))) is model
    assert unwrapped(torch.compile(torch.optim.swa_utils.AveragedModel(model))) is not model  # a copy, as torch makes it
    assert type(unwrapped(torch.compile(torch.optim.swa_utils.AveragedModel(model)))) is nn.Sequential


@pytest.mark.parametrize(
    "logits",
    [
        torch.rand(3, 1),
        torch.rand(3),
        torch.rand(2, 4),
        torch.rand(3, 4, 1, 1),
        (torch.rand(3, 4),),
        torch.rand(3, 4) > 0.5,
        {"logits": torch.rand(3, 4)},
    ],
)
def test_what_is_no_logits(logits):
    with refused("logits"):
        predicted_classes(logits, 3)
