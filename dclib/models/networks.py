"""The paper's two networks as plain modules with named layers: AllConvNet (Figure 3a) and AlexNet (Figure 3b).

They take images in 0..255 and normalise inside, so that everything outside of a network speaks one scale.
"""

import hashlib
from pathlib import Path

import torch
from safetensors.torch import load as safetensors_load
from torch import nn

from dclib.errors import InputError
from dclib.models.norms import KerasBatchNorm2d

#: Mean and standard deviation per RGB channel of the 50,000 CIFAR-100 training images, on the 0..255 scale.
CIFAR100_MEAN = (129.3, 124.1, 112.4)
CIFAR100_STD = (68.2, 65.4, 70.4)


class Normalize(nn.Module):
    """(images - mean) / std per channel; both are constants of the network, not parameters.

    Input and output [N, C, H, W]; mean and std on the scale of the input.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images - self.mean) / self.std


class AllConvNet(nn.Module):
    """The fully convolutional CIFAR-100 network of Figure 3a: nine convolutions, each with BatchNorm and ReLU.

    Layers ``conv1``..``conv9`` have width, width, width, then five times 2 width, then `num_classes` filters;
    kernels are 3x3 except 1x1 in conv8 and conv9; conv3 and conv6 halve the resolution; conv7 has no padding
    (8x8 to 6x6), as in the released code. BatchNorm is Keras 1's (`KerasBatchNorm2d`), and so are its epsilon and momentum.

    Args:
        num_classes: outputs; 100 in the paper.
        width: filters of the first three layers; 96 in the paper (1,389,804 trainable parameters), 32 in the
            `small` profile.
        mean, std: normalisation constants per channel on the 0..255 scale.
        batchnorm_momentum: weight of a new batch in the running statistics. Keras's 0.01 needs some hundred
            iterations to settle; very short schedules take more.

    Input [N, 3, 32, 32] in 0..255; output logits [N, num_classes].
    """

    #: The layers that the paper ranks and corrects (Section 5.1.2).
    correctable = ("conv1", "conv2", "conv3", "conv4", "conv5", "conv6")

    def __init__(
        self,
        num_classes: int = 100,
        width: int = 96,
        mean: tuple[float, ...] = CIFAR100_MEAN,
        std: tuple[float, ...] = CIFAR100_STD,
        batchnorm_momentum: float = 0.01,
    ) -> None:
        super().__init__()
        self.normalize = Normalize(mean, std)
        narrow, wide = width, 2 * width
        plan = [
            (narrow, 3, 1, 1),
            (narrow, 3, 1, 1),
            (narrow, 3, 2, 1),
            (wide, 3, 1, 1),
            (wide, 3, 1, 1),
            (wide, 3, 2, 1),
            (wide, 3, 1, 0),
            (wide, 1, 1, 0),
            (num_classes, 1, 1, 0),
        ]
        channels = 3
        for i, (filters, kernel, stride, padding) in enumerate(plan, start=1):
            conv = nn.Conv2d(channels, filters, kernel, stride, padding)
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
            setattr(self, f"conv{i}", conv)
            setattr(self, f"bn{i}", KerasBatchNorm2d(filters, eps=1e-3, momentum=batchnorm_momentum))
            channels = filters
        self.depth = len(plan)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Activations after conv9's ReLU: [N, num_classes, 6, 6] for 32x32 images."""
        x = self.normalize(images)
        for i in range(1, self.depth + 1):
            x = torch.relu_(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)))
        return x

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.features(images).mean(dim=(2, 3))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm beside a way around them, as in He et al. (2016).

    Input [N, `channels`, H, W], output [N, `filters`, H / `stride`, W / `stride`].
    """

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        same = stride == 1 and channels == filters
        self.around = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(channels, filters, 1, stride, bias=False), nn.BatchNorm2d(filters))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inside = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(inside + self.around(x))


class ResNet8(nn.Module):
    """A small residual network for 32x32 images (He et al., 2016, Section 4.2, with one block in each of three stages).

    The second network of the study of selected filters. `width`, twice and four times as many filters in the stages.
    Input [N, 3, 32, 32] in 0..255; output logits [N, num_classes].
    """

    def __init__(self, num_classes: int = 100, width: int = 16) -> None:
        super().__init__()
        self.normalize = Normalize(CIFAR100_MEAN, CIFAR100_STD)
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.block1 = ResidualBlock(width, width, 1)
        self.block2 = ResidualBlock(width, 2 * width, 2)
        self.block3 = ResidualBlock(2 * width, 4 * width, 2)
        self.fc = nn.Linear(4 * width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(self.normalize(images))))
        return self.fc(self.block3(self.block2(self.block1(x))).mean(dim=(2, 3)))


#: Mean per RGB channel of the ImageNet training images, on the 0..255 scale, as released.
IMAGENET_MEAN = (123.68, 116.779, 103.939)
#: SHA-256 of `weights/alexnet_conv_trunk.safetensors`: BVLC's conv1..conv5, which belong to the layout "caffe".
TRUNK_SHA256 = "a580f249e20d95e88255e0a1fcdb4892b937ac9d019d16aca3dd8783d4521153"


class CenterCrop(nn.Module):
    """The middle `size` x `size` pixels of images [N, C, H, W] that are at least that large."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[-2:]
        if min(height, width) < self.size:
            raise InputError(f"images: expected {self.size}x{self.size} pixels or more, got {height}x{width}; enlarge them.")
        top, left = (height - self.size) // 2, (width - self.size) // 2
        return images[..., top : top + self.size, left : left + self.size]


class _Linear(nn.Linear):
    """A linear layer whose fresh weights are the same on every processor, to the last bit.

    torch multiplies and adds in one step, which some processors round once and others twice.
    """

    def reset_parameters(self) -> None:
        bound = self.in_features**-0.5
        with torch.no_grad():
            for parameter in (self.weight, self.bias):
                parameter.uniform_().mul_(2 * bound).sub_(bound)


class AlexNet(nn.Module):
    """AlexNet for ImageNet (Figure 3b): five convolutions, of which three in two groups, and three dense layers.

    Args:
        num_classes: outputs; 1000 in the paper (60,965,224 trainable parameters).
        layout: "paper" for the released network, whose LRN stands behind the pooling and is not divided by its
            size; "caffe" for BVLC's weights, whose LRN stands before the pooling. Weights belong to the layout
            that they were trained in.

    Input [N, 3, 227 or more, 227 or more] in 0..255 RGB, of which the middle 227x227 pixels are used: images are
    distorted at 256x256 and cropped after that, as released. Output logits [N, num_classes].
    """

    #: The layers that the paper ranks and corrects (Section 5.2.2).
    correctable = ("conv1", "conv2", "conv3", "conv4", "conv5")

    def __init__(self, num_classes: int = 1000, layout: str = "paper") -> None:
        super().__init__()
        if layout not in ("paper", "caffe"):
            raise InputError(f"layout: expected paper or caffe, got {layout!r}.")
        self.layout = layout
        self.crop = CenterCrop(227)
        self.normalize = Normalize(IMAGENET_MEAN, (1.0, 1.0, 1.0))
        self.conv1 = nn.Conv2d(3, 96, 11, stride=4)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=2)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=2)
        # torch divides alpha by the window's size; the released network does not.
        alpha, k = (5e-4, 2.0) if layout == "paper" else (1e-4, 1.0)
        self.lrn = nn.LocalResponseNorm(5, alpha=alpha, beta=0.75, k=k)
        self.pool = nn.MaxPool2d(3, stride=2)
        self.fc6, self.fc7 = _Linear(256 * 6 * 6, 4096), _Linear(4096, 4096)
        self.fc8 = _Linear(4096, num_classes)
        self.dropout = nn.Dropout(0.5)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Output of the last pooling, flattened: [N, 9216]."""
        x = self.normalize(self.crop(images))
        for conv in (self.conv1, self.conv2):
            x = torch.relu(conv(x))
            x = self.lrn(self.pool(x)) if self.layout == "paper" else self.pool(self.lrn(x))
        x = torch.relu(self.conv3(x))
        x = torch.relu(self.conv4(x))
        return self.pool(torch.relu(self.conv5(x))).flatten(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.dropout(torch.relu(self.fc6(self.features(images))))
        return self.fc8(self.dropout(torch.relu(self.fc7(x))))


def load_trunk(network: AlexNet, path: str | Path) -> None:
    """Give `network` the convolutions of a pre-trained AlexNet; its dense layers stay as they are.

    Args:
        network: in the layout "caffe", which the published convolutions were trained in.
        path: safetensors with ``conv1.weight`` .. ``conv5.bias`` and the published SHA-256.

    Raises:
        InputError: another layout; a missing or altered file.
    """
    if network.layout != "caffe":
        raise InputError(f"load_trunk: expected the layout caffe, got {network.layout!r}; the weights belong to it.")
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: expected BVLC AlexNet's convolutions as safetensors, got {error.strerror}; put the "
            "file there or name another folder with DCLIB_DATA."
        ) from error
    if (found := hashlib.sha256(content).hexdigest()) != TRUNK_SHA256:
        raise InputError(f"{path}: expected SHA-256 {TRUNK_SHA256[:12]}.., got {found[:12]}..; fetch the file again.")
    state = {name: tensor.float() for name, tensor in safetensors_load(content).items()}
    network.load_state_dict(state, strict=False)
