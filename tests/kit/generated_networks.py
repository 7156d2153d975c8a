"""Small networks put together by chance: what people's networks have, in any order."""

import torch
from hypothesis import strategies as st
from odd_networks import (
    BehindAutograd,
    DoublingConv,
    InPlaceRelu,
    MixingBatchNorm,
    MixingRelu,
    RarelyClamped,
    ReluBatchNorm,
)
from swap_networks import CLASSES, Standardised
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of each pixel, as ConvNeXt has it."""

    def __init__(self, channels):
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x):
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Indices(nn.MaxPool2d):
    def __init__(self):
        super().__init__(2, ceil_mode=True, return_indices=True)

    def forward(self, x):
        return super().forward(x)[0]


CONVS = {
    "3x3": lambda i, o: nn.Conv2d(i, o, 3, padding=1),
    "1x1": lambda i, o: nn.Conv2d(i, o, 1, bias=False),
    "stride": lambda i, o: nn.Conv2d(i, o, 3, 2, 1),
    "dilated": lambda i, o: nn.Conv2d(i, o, 3, padding=2, dilation=2),
    "groups": lambda i, o: nn.Conv2d(i, o, 3, padding=1, groups=2 - i % 2),
    "depthwise": lambda i, o: nn.Conv2d(i, i, 3, padding=1, groups=i),
    "depthwise wide": lambda i, o: nn.Conv2d(i, 2 * i, 3, padding=1, groups=i),
    "reflect": lambda i, o: nn.Conv2d(i, o, 3, padding=1, padding_mode="reflect"),
    "same": lambda i, o: nn.Conv2d(i, o, (1, 3), padding="same"),
    "doubling": lambda i, o: DoublingConv(i, o, 3, padding=1),
    "standardised": lambda i, o: Standardised(i, o, 3, padding=1),
    "weight norm": lambda i, o: parametrizations.weight_norm(nn.Conv2d(i, o, 3, padding=1)),
}
NORMS = {
    "none": lambda c: nn.Identity(),
    "batch": nn.BatchNorm2d,
    "batch without scale": lambda c: nn.BatchNorm2d(c, affine=False),
    "batch and ReLU": ReluBatchNorm,
    "batch, mixing": MixingBatchNorm,
    "group": lambda c: nn.GroupNorm(2 - c % 2, c),
    "layer": ChannelNorm,
    "whole": lambda c: nn.GroupNorm(1, c),
    "instance": lambda c: nn.InstanceNorm2d(c, affine=True),
    "response": lambda c: nn.LocalResponseNorm(3, alpha=0.5),
    "response, even": lambda c: nn.LocalResponseNorm(2, alpha=0.5),
}
ACTS = {
    "ReLU": nn.ReLU,
    "ReLU in place": lambda: nn.ReLU(inplace=True),
    "own in place": InPlaceRelu,
    "mixing": MixingRelu,
    "behind autograd": BehindAutograd,
    "rarely": RarelyClamped,
    "SiLU": lambda: nn.SiLU(inplace=True),
    "none": nn.Identity,
    "softmax": lambda: nn.Softmax2d(),
    "nested": lambda: nn.Sequential(nn.Identity(), InPlaceRelu()),
}
POOLS = {
    "none": nn.Identity,
    "max": lambda: nn.MaxPool2d(2, ceil_mode=True),
    "average": lambda: nn.AvgPool2d(3, 1, 1),
    "indices": Indices,
}
#: What is done with the value x behind a block: `before` is the value before the block or, where its shape is another, a
#: number, and `earlier` are the values so far of the same height and width.
ENDS = {
    "nothing": lambda x, before, earlier: x,
    "residual": lambda x, before, earlier: x + before,
    "residual in place": lambda x, before, earlier: x.add_(before),
    "dense": lambda x, before, earlier: torch.cat([x, *earlier][:3], 1),
    "gate": lambda x, before, earlier: x * torch.sigmoid(x.mean((2, 3), keepdim=True)),
    "gate in place": lambda x, before, earlier: x.mul_(torch.sigmoid(x.mean(1, keepdim=True))),
    "shuffle": lambda x, before, earlier: torch.cat([x[:, ::2], x[:, 1::2]], 1).view(x.size(0), -1, x.size(2), x.size(3)),
    "halves": lambda x, before, earlier: torch.cat([F.relu(x.chunk(2, 1)[1]), x.chunk(2, 1)[0]], 1),
    "measured": lambda x, before, earlier: x * (x.nelement() / x.size(0) / x.stride(1)),
    "images second": lambda x, before, earlier: (x.transpose(0, 1) * 2).contiguous().transpose(0, 1),
    "attention": lambda x, before, earlier: x + F.scaled_dot_product_attention(*[x.flatten(2).mT] * 3).mT.reshape_as(x),
}


class Block(nn.Module):
    """A convolution, a norm, an activation, a pooling; a second convolution beside them."""

    def __init__(self, plan, before, earlier):
        """`before` and `earlier` are values such as it gets later: their shapes decide what can be added or concatenated."""
        super().__init__()
        channels = before.shape[1]
        if before.shape[-1] < 8:  # not smaller still
            plan = plan | {"pool": "none", "conv": "3x3" if plan["conv"] == "stride" else plan["conv"]}
        conv = CONVS[plan["conv"]](channels, plan["filters"])
        norm = NORMS[plan["norm"]](conv.out_channels)
        if plan["aliased"]:
            self.alias = nn.ModuleList([conv, norm])
        self.conv, self.norm, self.act, self.pool = conv, norm, ACTS[plan["act"]](), POOLS[plan["pool"]]()
        self.second, self.end = plan["second"], ENDS[plan["end"]]
        if self.second != "none":
            self.beside = nn.Conv2d(channels, conv.out_channels, 1, conv.stride)
        with torch.no_grad():
            shape = self.pool(conv(before)).shape
        self.adds, self.fits = shape == before.shape, [e.shape[2:] == shape[2:] for e in earlier]

    def forward(self, x, earlier):
        y = self.norm(self.conv(x))
        if self.second == "read again":  # by who also reads another branch: the activation may have changed it
            y = self.act(y) + (self.beside(x) + y)
        elif self.second == "images second":
            y = self.act(y).transpose(0, 1)
            y = (self.beside(x).transpose(0, 1) + y).transpose(0, 1)
        else:
            y = self.act(y)
        return self.end(self.pool(y), x if self.adds else 0.5, [e for e, fits in zip(earlier, self.fits) if fits])


class Generated(nn.Module):
    def __init__(self, plans):
        super().__init__()
        self.blocks, self.shared = nn.ModuleList(), nn.Conv2d(3, 3, 1)
        self.reused = [plan["shared"] for plan in plans]
        x, earlier = torch.zeros(2, 3, 8, 8), []
        for plan, reused in zip(plans, self.reused):
            self.blocks.append(block := Block(plan, x, earlier).eval())
            x, earlier = self._step(block, reused, x, earlier)
        self.head = nn.Linear(x.shape[1], CLASSES)

    def _step(self, block, reused, x, earlier):
        before, x = x, block(x, earlier)
        if reused:  # one convolution that any of the blocks may use
            x = torch.cat([self.shared(x[:, :3]), x[:, 3:]], 1)
        return x, [before, *earlier]

    def forward(self, x):
        earlier = []
        for block, reused in zip(self.blocks, self.reused):
            x, earlier = self._step(block, reused, x, earlier)
        return self.head(x.tanh().mean((2, 3)))

    def rankable(self):
        return [
            name
            for name, module in self.named_modules(remove_duplicate=False)
            if isinstance(module, nn.Conv2d) and module is not self.shared
        ]


def plans():
    """Lists of blocks."""
    block = st.fixed_dictionaries(
        {
            "conv": st.sampled_from(sorted(CONVS)),
            "norm": st.sampled_from(sorted(NORMS)),
            "act": st.sampled_from(sorted(ACTS)),
            "pool": st.sampled_from(sorted(POOLS)),
            "end": st.sampled_from(sorted(ENDS)),
            "filters": st.sampled_from([4, 6]),
            "aliased": st.booleans(),
            "second": st.sampled_from(["none", "read again", "images second"]),
            "shared": st.booleans(),
        }
    )
    return st.lists(block, min_size=2, max_size=4)


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Overwriting(nn.Module):
    """Changes a part of what it reads, and gives another tensor back."""

    def forward(self, x):
        x[:, :1].mul_(2)
        return x * 1.5


#: What a graph does not say, or what makes an image's answer depend on the others beside it or on chance.
SPOILERS = {
    "batch statistics": lambda x: F.batch_norm(x, None, None, training=True),
    "largest": lambda x: x / x.abs().max(),
    "random": lambda x: F.dropout(x, 0.5, training=True),
    "neighbour": lambda x: x + x.roll(1, 0),
    "running sum": lambda x: x.cumsum(0),
    "branch": Branching(),
    "a part in place": Overwriting(),
    "fixed batch": lambda x: x.view(8, -1, *x.shape[2:]),
    "rank among images": lambda x: x + x.argsort(0),
    "not a number": lambda x: x / (x * 0),
    "read back": lambda x: torch.as_tensor(x.detach().numpy()),
}


class Spoiled(nn.Module):
    """A generated network with one of `SPOILERS` between its last block and its head."""

    def __init__(self, plans, spoiler):
        super().__init__()
        self.whole, self.spoil = Generated(plans), SPOILERS[spoiler]

    def forward(self, x):
        earlier = []
        for block, reused in zip(self.whole.blocks, self.whole.reused):
            x, earlier = self.whole._step(block, reused, x, earlier)
        return self.whole.head(self.spoil(x).tanh().mean((2, 3)))
