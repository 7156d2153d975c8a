"""Networks whose filters' outputs are swapped: every layer and every use of a convolution that a swap must respect."""

import torch
import torchvision
from support import settled
from torch import nn
from torch.nn import functional as F

from dclib.correction import UnitDesign, correct
from dclib.models import AllConvNet

CLASSES = 6


class Grouped(nn.Module):
    """Like AlexNet: a large first kernel with stride, pools, response normalisation, groups, dropout, dense layers."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            nn.LocalResponseNorm(5, 0.05),
            nn.Conv2d(8, 12, 3, padding=1, groups=2),
            nn.ReLU(inplace=True),
            nn.LocalResponseNorm(5, 0.05),
            nn.Conv2d(12, 8, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(8 * 9, 16), nn.ReLU(inplace=True), nn.Linear(16, CLASSES))

    def forward(self, x):
        return self.classifier(torch.flatten(self.features(x), 1))


class UsedTwice(nn.Module):
    """A convolution whose output goes two ways, and two that meet again."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 5, 3, padding=1), nn.Conv2d(10, 4, 1)
        self.bn, self.head = nn.BatchNorm2d(5), nn.Linear(4, CLASSES)

    def forward(self, x):
        first = self.a(x)
        second = self.b(F.relu(self.bn(first)))
        return self.head(F.relu(self.c(torch.cat([first, second], 1))).mean((2, 3)))


class InPlace(nn.Module):
    """In-place operations whose results are not named: later readers see the changed value."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(3, 4, 3, padding=1) for _ in range(3))
        self.relu, self.head = nn.ReLU(inplace=True), nn.Conv2d(12, CLASSES, 1)

    def forward(self, x):
        x -= 128.0
        x.mul_(0.02)
        a, b, c = self.a(x), self.b(x), self.c(x)
        self.relu(a)
        F.relu(b, inplace=True)
        c += 0.1
        c.clamp_(min=0)
        return self.head(torch.cat([a, b, c], 1)).mean((2, 3))


class Sized(nn.Module):
    """Batch size and shape read from the input; values that come from parameters alone."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.scale, self.head = nn.Parameter(torch.randn(6)), nn.Linear(6 * 16, CLASSES)
        self.squeeze = nn.Linear(4, 4)

    def forward(self, x):
        batch, height = x.shape[0], x.size(2)
        height += 0
        y = torch.relu(self.a(x))
        n, c, _, _ = y.size()
        gate = torch.sigmoid(self.squeeze(y.mean((2, 3)).view(n, c))).view(batch, c, 1, 1)
        y = self.b(y * gate) * self.scale.exp().view(1, -1, 1, 1)
        y = F.adaptive_avg_pool2d(F.relu(y), height // 4)
        return self.head(y.view(batch, -1)[:, : 6 * 16])


class Shared(nn.Module):
    """One BatchNorm behind two convolutions, and one convolution used twice behind them."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(channels, 4, 3, padding=1) for channels in (3, 4, 4))
        self.bn, self.bn2, self.head = nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.Conv2d(4, CLASSES, 1)

    def forward(self, x):
        x = F.relu(self.bn(self.a(x)))
        x = F.relu(self.bn(self.b(x)))
        x = F.relu(self.bn2(self.c(x)))
        return self.head(F.relu(self.c(x))).mean((2, 3))


class Standardised(nn.Conv2d):
    """A convolution that does not use its weights as they are."""

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight * 2, self.bias, self.stride, self.padding)


def hooked():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 5, 3),
        nn.ReLU(),
        nn.Conv2d(5, CLASSES, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    model[0].register_forward_hook(lambda m, i, output: output * 1.5)
    model[3].register_forward_hook(lambda m, i, output: output + i[0].mean((1, 2, 3), keepdim=True))
    return model


def oddly_padded():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding="same"),
        nn.ReLU(),
        nn.Conv2d(4, 5, (3, 1), padding=1, padding_mode="reflect"),
        nn.SiLU(),
        nn.Conv2d(5, 4, (2, 3), stride=(1, 2), padding=(0, 1), bias=False),
        nn.PReLU(4),
        nn.Conv2d(4, CLASSES, 1),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
    )


def standardised():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        Standardised(4, 5, 3),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        Standardised(5, CLASSES, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def corrected():
    net = settled(AllConvNet(CLASSES, 4))
    return correct(net, {"conv2": [1]}, UnitDesign(3, input_batchnorm=True))


def short_resnet():
    """ResNet-18 without its last two stages: their millions of weights would only cost time."""
    model = torchvision.models.resnet18()
    model.layer3, model.layer4, model.fc = nn.Identity(), nn.Identity(), nn.Linear(128, CLASSES)
    return model


ALL = range(10**6)
NETWORKS = {
    "AllConvNet": (lambda: AllConvNet(CLASSES, 4), {f"conv{i}": ALL for i in range(1, 10)}, 32, 1),
    "corrected": (corrected, {"conv1": ALL, "conv2.conv": ALL, "conv3": ALL}, 32, 1),
    "resnet18": (
        short_resnet,
        {
            "conv1": [0, 9, 63],
            "layer1.0.conv1": [1, 5],
            "layer1.1.conv2": [0, 2, 7],
            "layer2.0.downsample.0": [3, 100],
            "layer2.1.conv2": [11, 127],
        },
        20,
        0.02,
    ),
    "squeezenet1_1": (
        lambda: torchvision.models.squeezenet1_1(num_classes=CLASSES),
        {
            "features.0": [0, 8, 60],
            "features.3.squeeze": [1, 15],
            "features.3.expand1x1": [0, 9],
            "features.4.expand3x3": [4, 60],
            "features.12.expand3x3": [2, 200],
            "classifier.1": ALL,
        },
        36,
        0.02,
    ),
    "grouped": (Grouped, {"features.0": ALL, "features.4": ALL, "features.7": ALL, "features.9": ALL}, 32, 0.02),
    "used twice": (UsedTwice, {"a": ALL, "b": ALL, "c": ALL}, 16, 0.02),
    "in place": (InPlace, {"a": ALL, "b": ALL, "c": ALL, "head": ALL}, 12, 1),
    "sized": (Sized, {"a": ALL, "b": ALL}, 16, 0.02),
    "shared": (Shared, {"a": ALL, "b": ALL, "head": ALL}, 12, 0.02),
    "standardised": (standardised, {"0": ALL, "2": ALL, "5": ALL}, 12, 0.02),
    "hooked": (hooked, {"0": ALL, "3": ALL, "5": ALL}, 12, 0.02),
    "oddly padded": (oddly_padded, {"0": ALL, "2": ALL, "4": ALL, "6": ALL}, 12, 0.02),
    "dense": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 5, 3),
            nn.BatchNorm2d(5),
            nn.Tanh(),
            nn.Conv2d(5, 4, 3, stride=3),
            nn.Flatten(),
            nn.Linear(36, CLASSES),
        ),
        {"0": ALL, "3": ALL},
        12,
        0.02,
    ),
}
