"""Networks that can be run from the middle, with one channel swapped: what makes Algorithm 1 fast (Section 4.1).

Clean and distorted activations are computed once; a swap re-runs only the layers behind it; and because a swap
changes one channel, or one and its neighbours behind a local response normalisation, the next convolution is its
distorted output plus the contribution of those channels' differences, exactly. Where clean and distorted channel agree
for an image, its prediction cannot change and is not computed again.
"""

import copy
import operator
from collections import Counter
from dataclasses import dataclass

import torch
import torch.fx
from torch import nn
from torch.nn import functional as F

from dclib.errors import InputError
from dclib.models import named_conv, replace_module, trace

#: Modules and functions that act on each channel by itself, so that a swap may be done behind them.
_CHANNELWISE = (nn.BatchNorm2d, nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid,
                nn.Tanh, nn.Hardswish, nn.Dropout, nn.Dropout2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d,
                nn.AdaptiveMaxPool2d)
_CHANNELWISE_CALLS = {torch.relu, torch.relu_, F.relu, F.relu_, F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d,
                      "relu", "relu_"}

#: Of these, what also acts on a few channels cut out of all, because it has no parameters of its own.
_ALIKE = tuple(kind for kind in _CHANNELWISE if kind is not nn.BatchNorm2d)

_IN_PLACE_OPERATORS = {operator.iadd, operator.isub, operator.imul, operator.itruediv}
#: Attributes and methods of a tensor that give Python values.
_MEASURES = {"shape", "ndim", "dtype", "device", "size", "dim", "numel"}


@dataclass
class _Cut:
    """Where a layer's swap is done: on the value `swapped`; `following` is the convolution it feeds alone.

    It may feed it through a response normalisation and what stands behind that, `between`: then a swap changes `window`
    neighbouring channels of the convolution's input.
    """

    swapped: torch.fx.Node
    between: tuple[torch.fx.Node, ...]
    window: int
    following: torch.fx.Node | None

    @property
    def start(self) -> torch.fx.Node:
        """The first value that is computed anew."""
        return self.following or self.swapped


class SwapNetwork:
    """A traced copy of a model, BatchNorm folded into the convolutions, that can be run from the middle."""

    def __init__(self, model: nn.Module, layers: tuple[str, ...]) -> None:
        for layer in layers:
            named_conv(model, layer)
        # Modules of its own, but the model's tensors: AlexNet's alone take 240 MB.
        self.module = copy.deepcopy(model, {id(t): t for t in (*model.parameters(), *model.buffers())}).eval()
        self.graph = trace(self.module)
        self.modules = dict(self.module.named_modules())
        self.nodes = list(self.graph.nodes)
        self.output = self.nodes[-1].args[0]
        self.free = self._free_of_images()
        self._check_graph()
        self._read_behind_in_place()
        self._fold_batchnorm()
        self.cuts = {layer: self._cut(layer) for layer in layers}
        self.later = {layer: self._later(cut.start) for layer, cut in self.cuts.items()}
        needed = {n for layer, later in self.later.items() for node in later for n in node.all_input_nodes
                  if n not in later}
        needed |= {n for cut in self.cuts.values() for n in (cut.swapped, *cut.between[-1:], cut.start)}
        self.kept = needed

    def filters(self, layer: str) -> int:
        return self.modules[layer].out_channels

    def activations(self, images: torch.Tensor) -> dict[torch.fx.Node, torch.Tensor]:
        """Values that swaps need, for inputs [B, C, H, W]; the graph's output among them."""
        values: dict[torch.fx.Node, torch.Tensor] = {}
        kept = {}
        remaining = {n: len(n.users) for n in self.nodes}
        for node in self.nodes:
            if node.op == "placeholder":
                values[node] = images.clone()  # the network may begin with an in-place operation
            elif node.op != "output":
                values[node] = self._call(node, values)
            if node in self.kept:
                kept[node] = values[node].clone()  # a later in-place operation must not reach it
            if node is self.output:
                kept[node] = values[node]
            for used in node.all_input_nodes:
                remaining[used] -= 1
                if not remaining[used]:
                    values.pop(used, None)
        return kept

    def swap_each(self, layer: str, clean: dict, distorted: dict, labels: torch.Tensor, batch_size: int) -> torch.Tensor:
        """Which images are classified correctly after each filter's swap: bool [filters, B] on the CPU."""
        cut = self.cuts[layer]
        difference = clean[cut.swapped] - distorted[cut.swapped]
        correct = (distorted[self.output].argmax(1) == labels).repeat(difference.shape[1], 1)
        # Pairs filter by filter: neighbouring pairs share weights.
        filters, images = torch.nonzero(difference.flatten(2).abs().amax(2).T, as_tuple=True)
        for start in range(0, len(filters), batch_size):
            f, m = filters[start:start + batch_size], images[start:start + batch_size]
            value = self._swapped_value(cut, clean, distorted, difference, f, m)
            correct[f, m] = self._run_from(layer, value, distorted, m).argmax(1) == labels[m]
        return correct.cpu()

    def swap_together(self, layer: str, clean: dict, distorted: dict, index: torch.Tensor) -> torch.Tensor:
        """Predicted classes [B] after swapping all filters in `index` at once."""
        cut = self.cuts[layer]
        value = distorted[cut.swapped].clone()
        value[:, index] = clean[cut.swapped][:, index]
        for node in (*cut.between, cut.following) if cut.following else ():
            value = self._call(node, {node.all_input_nodes[0]: value})
        return self._run_from(layer, value, distorted, torch.arange(len(value), device=value.device)).argmax(1)

    def _swapped_value(self, cut: _Cut, clean: dict, distorted: dict, difference: torch.Tensor, f: torch.Tensor,
                       m: torch.Tensor) -> torch.Tensor:
        """The value of `cut.start` for each pair (filter f, image m)."""
        if not cut.following:
            value = distorted[cut.swapped][m]
            value[torch.arange(len(m), device=m.device), f] = clean[cut.swapped][m, f]
            return value
        conv = self.modules[cut.following.target]
        before = distorted[cut.following]
        changed = self._neighbours(cut, clean, distorted, f, m) if cut.between else difference[m, f].unsqueeze(1)
        patches = F.unfold(changed, conv.kernel_size, conv.dilation, conv.padding, conv.stride)
        weight = _dense_weight(conv, cut.window)[:, _window(f, cut.window)].transpose(0, 1).flatten(2)
        value = before.flatten(2).index_select(0, m)
        return value.baddbmm_(weight, patches).view(len(m), *before.shape[1:])

    def _neighbours(self, cut: _Cut, clean: dict, distorted: dict, f: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        """What a swap changes in the `cut.window` channels around filter f that enter the next convolution.

        Each depends on as many neighbours again, and torch normalises as if there were zeros beyond the outermost.
        """
        wide = 2 * cut.window - 1
        value = _beyond(distorted[cut.swapped], wide)[m.unsqueeze(1), _window(f, wide)]
        value[:, cut.window - 1] = clean[cut.swapped][m, f]
        for node in cut.between:
            value = self._call(node, {node.all_input_nodes[0]: value})
            if node is cut.between[0]:
                value = value[:, cut.window // 2:][:, :cut.window]
        return value - _beyond(distorted[cut.between[-1]], cut.window)[m.unsqueeze(1), _window(f, cut.window)]

    def _run_from(self, layer: str, value: torch.Tensor, distorted: dict, m: torch.Tensor) -> torch.Tensor:
        """The network's output, given the value of the cut's start and cached values for all that it does not reach."""
        values = {self.cuts[layer].start: value}
        for node in self.later[layer]:
            for source in node.all_input_nodes:
                if source not in values and source in distorted:
                    values[source] = distorted[source][m]
            values[node] = self._call(node, values)
        return values[self.output]

    def _call(self, node: torch.fx.Node, values: dict) -> torch.Tensor:
        if node.op == "get_attr":
            return operator.attrgetter(node.target)(self.module)
        args = torch.fx.node.map_arg(node.args, lambda n: values[n] if n in values else self._call(n, values))
        kwargs = torch.fx.node.map_arg(node.kwargs, lambda n: values[n] if n in values else self._call(n, values))
        if node.op == "call_module":
            return self.modules[node.target](*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], node.target)(*args[1:], **kwargs)
        return node.target(*args, **kwargs)

    def _check_graph(self) -> None:
        name = type(self.module).__name__
        if not isinstance(self.output, torch.fx.Node):
            raise InputError(f"{name}: expected a network whose output is one tensor of logits, got "
                             f"{type(self.output).__name__}; wrap it so that it returns the logits alone.")
        if sum(n.op == "placeholder" and len(n.users) > 0 for n in self.nodes) > 1:
            raise InputError(f"{name}: expected a network with one input, got several; wrap it so that it takes images "
                             "alone.")
        for layer, module in self.modules.items():
            if isinstance(module, nn.BatchNorm2d) and module.running_mean is None:
                raise InputError(f"{name}: expected every BatchNorm to have running statistics, got {layer!r} without; "
                                 "its output depends on which images are in a batch.")

    def _read_behind_in_place(self) -> None:
        """Let who reads a value after an in-place operation read that operation's result: equal, but said aloud."""
        for position, node in enumerate(self.nodes):
            if node not in self.free and self._is_in_place(node):
                changed = node.args[0]
                for user in self.nodes[position + 1:]:
                    user.replace_input_with(changed, node)
        self.output = self.nodes[-1].args[0]

    def _is_in_place(self, node: torch.fx.Node) -> bool:
        if node.op == "call_module":
            return getattr(self.modules[node.target], "inplace", False) is True
        name = getattr(node.target, "__name__", node.target) if node.op in ("call_function", "call_method") else ""
        return bool(node.kwargs.get("inplace")) or (name.endswith("_") and not name.endswith("__")) or (
            node.target in _IN_PLACE_OPERATORS) or (node.target is F.relu and True in node.args[1:])

    def _free_of_images(self) -> set[torch.fx.Node]:
        """Values that do not depend on pixels: parameters, constants, and the sizes of tensors.

        They have no axis of images to select from, so each batch of swaps computes them for itself.
        """
        free: set[torch.fx.Node] = set()
        for node in self.nodes:
            measures = (node.op == "call_function" and node.target is getattr and node.args[1] in _MEASURES) or (
                node.op == "call_method" and node.target in _MEASURES)
            if measures or (node.op not in ("placeholder", "output") and free.issuperset(node.all_input_nodes)):
                free.add(node)
        return free

    def _fold_batchnorm(self) -> None:
        """Fold each BatchNorm into the convolution before it: the same function, one pass over memory less."""
        uses = Counter(node.target for node in self.nodes if node.op == "call_module")
        for node in self.nodes:
            batchnorm = self.modules.get(node.target) if node.op == "call_module" else None
            if not isinstance(batchnorm, nn.BatchNorm2d) or _has_hooks(batchnorm):
                continue
            source = node.all_input_nodes[0]
            conv = self.modules.get(source.target) if source.op == "call_module" else None
            if _is_plain(conv) and len(source.users) == uses[source.target] == uses[node.target] == 1:
                for name, module in ((source.target, torch.nn.utils.fuse_conv_bn_eval(conv, batchnorm)),
                                     (node.target, nn.Identity())):
                    replace_module(self.module, name, module)
                    self.modules[name] = module

    def _cut(self, layer: str) -> _Cut:
        calls = [n for n in self.nodes if n.op == "call_module" and n.target == layer]
        if len(calls) != 1:
            raise InputError(f"layer {layer!r}: expected to be used once in the network, got {len(calls)} uses.")
        swapped = node = self._follow(calls[0], _CHANNELWISE)
        between, norm = [], self._module(_only_user(node))
        if type(norm) is nn.LocalResponseNorm and not _has_hooks(norm):
            between.append(node := _only_user(node))
            end = self._follow(node, _ALIKE)
            while node is not end:
                between.append(node := _only_user(node))
        conv = self._module(following := _only_user(node))
        if _is_plain(conv) and conv.padding_mode == "zeros" and not isinstance(conv.padding, str):
            return _Cut(swapped, tuple(between), norm.size if between else 1, following)
        return _Cut(swapped, (), 1, None)

    def _follow(self, node: torch.fx.Node, kinds: tuple[type, ...]) -> torch.fx.Node:
        """The last value of the chain behind `node` of operations on each channel by itself."""
        while (user := _only_user(node)) is not None and (
                isinstance(self._module(user), kinds) or (user.op != "call_module" and user.target in _CHANNELWISE_CALLS)):
            node = user
        return node

    def _module(self, node: torch.fx.Node | None) -> nn.Module | None:
        return self.modules[node.target] if node is not None and node.op == "call_module" else None

    def _later(self, start: torch.fx.Node) -> list[torch.fx.Node]:
        reached = {start}
        for node in self.nodes:
            if any(source in reached for source in node.all_input_nodes):
                reached.add(node)
        for node in reversed(self.nodes):
            if node in self.free and not reached.isdisjoint(node.users):
                reached.add(node)
        return [n for n in self.nodes if n in reached and n is not start and n.op != "output"]


def _is_plain(module: nn.Module | None) -> bool:
    """A convolution that does with its weights what `nn.Conv2d` does and no more."""
    return type(module) is nn.Conv2d and not _has_hooks(module)


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _only_user(node: torch.fx.Node) -> torch.fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _window(f: torch.Tensor, size: int) -> torch.Tensor:
    """Indices [pairs, size] of the channels around each of f, in a tensor that `_beyond` widened."""
    return f.unsqueeze(1) + torch.arange(size, device=f.device)


def _beyond(channels: torch.Tensor, size: int) -> torch.Tensor:
    """Channels [N, C, H, W] with zeros before the first and behind the last, so that each has a window of `size`.

    A response normalisation of even size reaches one channel further back than forth: a channel reaches one forth.
    """
    return F.pad(channels, (0, 0, 0, 0, (size - 1) // 2, size // 2))


def _dense_weight(conv: nn.Conv2d, window: int) -> torch.Tensor:
    """Weights [out, in, k, k] of a convolution with or without groups; zero where a group does not reach, or beyond."""
    if conv.groups == 1:
        return _beyond(conv.weight, window)
    weight = conv.weight.new_zeros(conv.out_channels, conv.in_channels, *conv.kernel_size)
    outputs, inputs = conv.out_channels // conv.groups, conv.in_channels // conv.groups
    for g in range(conv.groups):
        rows, columns = slice(g * outputs, (g + 1) * outputs), slice(g * inputs, (g + 1) * inputs)
        weight[rows, columns] = conv.weight[rows]
    return _beyond(weight, window)
