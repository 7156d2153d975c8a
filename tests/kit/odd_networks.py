"""Networks of users that do more than their graph says: aliases, subclasses, in-place work inside of modules, wrappers."""

import torch
from swap_networks import CLASSES
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune


class ReluBatchNorm(nn.BatchNorm2d):
    """timm's BatchNormAct2d is one."""

    def forward(self, x):
        return F.relu(super().forward(x))


class MixingBatchNorm(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x) + x.mean(1, keepdim=True)


class MixingRelu(nn.ReLU):
    def forward(self, x):
        return super().forward(x) - 0.5 * super().forward(x.flip(1))


class DoublingConv(nn.Conv2d):
    def forward(self, x):
        return 2 * super().forward(x)


class InPlaceRelu(nn.Module):
    """Known to nobody: neither by its name nor by an attribute."""

    def forward(self, x):
        return x.relu_()


class BehindAutograd(nn.Module):
    def forward(self, x):
        x.data.clamp_(min=-0.2)
        return x


class RarelyClamped(nn.Module):
    """Changes no value of most images."""

    def forward(self, x):
        return x.clamp_(max=3.0)


class InPlaceThen(nn.Module):
    def forward(self, x):
        x.relu_()
        return 2 * x


class InPlaceOnPart(nn.Module):
    def forward(self, x):
        x[:, :2].relu_()
        return x


class Residual(nn.Module):
    """Reads the value that `act` may have changed once more, behind another convolution."""

    def __init__(self, act, norm=nn.Identity):
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(c, 4, 3, padding=1) for c in (3, 4, 4))
        self.act, self.norm, self.head = act, norm(4), nn.Linear(4, CLASSES)

    def forward(self, x):
        x = self.norm(self.a(x))
        y = self.b(self.act(x))
        return self.head(F.relu(self.c(y) + x).mean((2, 3)))


class Views(nn.Module):
    """In-place work on another shape of a value that is read again."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1), nn.Linear(4, CLASSES)

    def forward(self, x):
        y, z = self.a(x), self.b(x)
        y.flatten(1).relu_()
        return self.head((y + z).mean((2, 3)))


class Aliased(nn.Module):
    """Every layer has two names; `first` says which of them comes first in the network's list."""

    def __init__(self, first):
        super().__init__()
        conv1, bn1, conv2 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 3)
        if first == "layers":
            self.conv1, self.bn1, self.conv2 = conv1, bn1, conv2
        self.features = nn.Sequential(conv1, bn1, nn.ReLU(), conv2, nn.ReLU())
        if first == "features":
            self.conv1, self.bn1, self.conv2 = conv1, bn1, conv2
        self.again = nn.ModuleDict({"deep": nn.ModuleList([conv2])})
        self.head = nn.Linear(5, CLASSES)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


class WeightReadTwice(nn.Module):
    """The weight that BatchNorm is folded into is read beside the convolution, too."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, CLASSES)

    def forward(self, x):
        y = F.conv2d(x, self.conv.weight).tanh()
        return self.head((F.relu(self.bn(self.conv(x))) + y).mean((2, 3)))


class Measured(nn.Module):
    """Python values, indices of a pooling, and tensors whose first axis is not that of the images."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)
        self.c, self.head = nn.Conv2d(8, 4, 3), nn.Linear(4, CLASSES)

    def forward(self, x):
        y, where = self.pool(self.a(x))
        y = self.unpool(y, where) * (y.nelement() / y.shape[0] / y.stride(1))
        z = self.b(x).permute(1, 0, 2, 3)
        z = (z * z.element_size()).transpose(0, 1) + torch.arange(x.shape[0], device=x.device).sum().mul(0).view(1, 1, 1, 1)
        z, _ = F.max_pool2d(z, 1, return_indices=True)
        return self.head(F.relu(self.c(torch.cat([y, z], 1))).flatten(2).max(2).values)


class Axes(nn.Module):
    """A branch whose values have the images on their second axis is cached while the other is swapped."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Linear(4, CLASSES)

    def forward(self, x):
        a, b = (conv(x).flatten(2).permute(2, 0, 1) for conv in (self.a, self.b))
        return self.head(torch.tanh(a + b.cumsum(0)).mean(0))


class Depthwise(nn.Module):
    """Depthwise convolutions with one and two outputs a channel, and grouped ones."""

    def __init__(self):
        super().__init__()
        self.stem, self.deep = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, padding=1, groups=6, padding_mode="circular")
        self.point, self.wide = nn.Conv2d(6, 6, 1), nn.Conv2d(6, 12, 3, groups=6, stride=2)
        self.pairs, self.head = nn.Conv2d(12, 8, 3, groups=4, padding=1), nn.Linear(8, CLASSES)
        self.bn = nn.BatchNorm2d(6)

    def forward(self, x):
        x = F.relu(self.bn(self.deep(F.relu(self.stem(x)))))
        x = F.relu(self.wide(F.relu(self.point(x))))
        return self.head(F.relu(self.pairs(x)).mean((2, 3)))


def chain(*middle, channels=4):
    """A convolution, what is given, and a second one."""
    return nn.Sequential(
        nn.Conv2d(3, channels, 3),
        *middle,
        nn.Conv2d(channels, 5, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, CLASSES),
    )


def hooked_act():
    model = chain(nn.ReLU())
    model[1].register_forward_hook(lambda module, inputs, output: output + inputs[0].mean(1, keepdim=True))
    return model


def own_forward():
    model = chain(nn.BatchNorm2d(4), nn.ReLU())
    model[1].forward = lambda x: torch.tanh(x + x.flip(1))
    return model


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def computed(how):
    model = chain(nn.BatchNorm2d(4), nn.ReLU())
    if how == "pruned":
        prune.l1_unstructured(model[0], "weight", amount=0.3)
    elif how == "spectral norm, hook":
        torch.nn.utils.spectral_norm(model[0])
    elif how == "weight norm":
        parametrizations.weight_norm(model[0])
    elif how == "parametrised BatchNorm":
        parametrize.register_parametrization(model[1], "weight", Doubled())
    return model


#: {name: (network, layers)}.
NETWORKS = {
    "aliased, layers first": (lambda: Aliased("layers"), ["conv1", "features.0", "features.3", "again.deep.0"]),
    "aliased, features first": (lambda: Aliased("features"), ["conv1", "features.0", "conv2", "again.deep.0"]),
    "BatchNorm with ReLU": (lambda: chain(ReluBatchNorm(4)), ["0", "2"]),
    "BatchNorm that mixes": (lambda: chain(MixingBatchNorm(4)), ["0", "2"]),
    "BatchNorm with ReLU, residual": (lambda: Residual(nn.Identity(), ReluBatchNorm), ["a", "b", "c"]),
    "ReLU that mixes": (lambda: chain(MixingRelu()), ["0", "2"]),
    "doubling convolution": (
        lambda: nn.Sequential(
            DoublingConv(3, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            DoublingConv(4, 5, 3),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(5, CLASSES),
        ),
        ["0", "3"],
    ),
    "hooked ReLU": (hooked_act, ["0", "2"]),
    "a forward of its own": (own_forward, ["0", "3"]),
    "in place": (lambda: Residual(InPlaceRelu()), ["a", "b", "c"]),
    "in place behind BatchNorm": (lambda: Residual(InPlaceRelu(), nn.BatchNorm2d), ["a", "b", "c"]),
    "in place behind autograd": (lambda: Residual(BehindAutograd()), ["a", "b", "c"]),
    "in place now and then": (lambda: Residual(RarelyClamped()), ["a", "b", "c"]),
    "in place twice": (
        lambda: Residual(nn.Sequential(nn.Identity(), InPlaceRelu(), nn.Dropout(), RarelyClamped())),
        ["a", "b", "c"],
    ),
    "a weight read twice": (WeightReadTwice, ["conv"]),
    "measured": (Measured, ["a", "b", "c"]),
    "other axes": (Axes, ["a", "b"]),
    "depthwise": (Depthwise, ["stem", "deep", "point", "wide", "pairs"]),
} | {
    how: (lambda how=how: computed(how), ["0", "3"])
    for how in ("pruned", "spectral norm, hook", "weight norm", "parametrised BatchNorm")
}


class Batchwise(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.conv, self.how, self.head = nn.Conv2d(3, 4, 3), how, nn.Linear(4, CLASSES)

    def forward(self, x):
        x = self.conv(x)
        if self.how == "batch norm":
            x = F.batch_norm(x, None, None, training=True)
        elif self.how == "largest":
            x = x / x.abs().max()
        elif self.how == "random":
            x = F.dropout(x, 0.5, training=True)
        elif self.how == "fixed size":
            x = x.view(9, 4, 10, 10)
        logits = self.head(torch.relu(x).mean((2, 3)))
        return {"one": logits[:, :1], "map": logits[..., None, None], "nan": logits / 0 * 0}.get(self.how, logits)


def whole_hook():
    model = chain(nn.ReLU())
    model.register_forward_pre_hook(lambda module, inputs: (inputs[0].flip(1),))
    return model


def folded_images():
    class Folded(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(12, CLASSES)

        def forward(self, x):
            grey = torch.relu(self.conv(x.reshape(-1, 1, x.shape[2], x.shape[3])))
            return self.head(grey.mean((2, 3)).view(x.shape[0], -1))

    return Folded()


#: {name: (network, a layer, a word of the sentence)}.
REFUSED = {
    "in place, another result": (lambda: Residual(InPlaceThen()), "a", "in-place"),
    "in place on a part": (lambda: Residual(InPlaceOnPart()), "b", None),
    "in place on a view": (Views, "b", "in-place"),
    "hook on the whole": (whole_hook, "0", "hooks"),
    "scripted": (lambda: torch.jit.script(chain(nn.ReLU())), "0", "made from"),
    "images in the batch": (folded_images, "conv", "first axis"),
} | {
    how: (lambda how=how: Batchwise(how), "conv", word)
    for how, word in {
        "batch norm": "beside it",
        "largest": "beside it",
        "random": "beside it",
        "fixed size": "any number",
        "one": "two classes",
        "map": "two classes",
        "nan": "finite",
    }.items()
}
