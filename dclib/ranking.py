"""Correction priority (Section 4.1, Eq. 1, Algorithm 1) and the selection of filters.

Algorithm 1 asks for one forward pass per filter. Here clean and distorted activations are computed once; a swap
re-runs only the layers behind it; and because a swap changes one channel, the next convolution is its distorted
output plus the contribution of that channel's difference, exactly. Where clean and distorted channel agree
for an image, its prediction cannot change and is not computed again.
"""

import copy
import operator
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.fx
from torch import nn
from torch.nn import functional as F

from dclib.errors import InputError, check_images
from dclib.models import named_conv, replace_module, trace

SCORES = ("priority", "relative_error")
#: Modules and functions that act on each channel by itself, so that a swap may be done behind them.
_CHANNELWISE = (nn.BatchNorm2d, nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid,
                nn.Tanh, nn.Hardswish, nn.Dropout, nn.Dropout2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d,
                nn.AdaptiveMaxPool2d)
_CHANNELWISE_CALLS = {torch.relu, torch.relu_, F.relu, F.relu_, F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d,
                      "relu", "relu_"}

_IN_PLACE_OPERATORS = {operator.iadd, operator.isub, operator.imul, operator.itruediv}
#: Attributes and methods of a tensor that give Python values.
_MEASURES = {"shape", "ndim", "dtype", "device", "size", "dim", "numel"}


def swap_accuracy(model: nn.Module, layers: Sequence[str], clean: torch.Tensor, distorted: torch.Tensor,
                  labels: torch.Tensor, *, batch_size: int = 500) -> dict[str, np.ndarray]:
    """Algorithm 1: top-1 accuracy after each single filter's distorted output was swapped for its clean one.

    Args:
        model: any network that torch.fx can trace; used as in evaluation, not changed.
        layers: names of convolutions.
        clean: the network's input [M, C, H, W], undistorted.
        distorted: the same images at each level, [levels, M, C, H, W].
        labels: int64 [M].
        batch_size: how many (image, filter) pairs run through the later layers at once.

    Returns:
        {layer: float64 array [filters, levels]}, accuracies in 0..1. Swapping before or behind BatchNorm, ReLU and
        pooling is the same, for they act on each channel by itself.

    Raises:
        InputError: shapes that do not fit, NaN, an unknown layer, a layer that is no convolution, a model that
            cannot be traced.
    """
    _check_pairs(clean, distorted, labels, batch_size)
    layers = tuple(dict.fromkeys(layers))
    network = _Network(model, layers)
    correct = {layer: torch.zeros(network.filters(layer), len(distorted), dtype=torch.int64) for layer in layers}
    chunk = min(len(clean), 250)
    with torch.inference_mode():
        for start in range(0, len(clean), chunk):
            rows = slice(start, start + chunk)
            undistorted = network.activations(clean[rows])
            for level, images in enumerate(distorted[:, rows]):
                activations = network.activations(images)
                for layer in layers:
                    correct[layer][:, level] += network.swap_each(layer, undistorted, activations, labels[rows],
                                                                  batch_size)
    return {layer: (counts.double() / len(clean)).numpy() for layer, counts in correct.items()}


def joint_swap_accuracy(model: nn.Module, layer: str, filters: Sequence[int], clean: torch.Tensor,
                        distorted: torch.Tensor, labels: torch.Tensor, *, batch_size: int = 500) -> np.ndarray:
    """Top-1 accuracy [levels] after swapping the outputs of all `filters` of `layer` together (Figures 4 and 5).

    Arguments as in `swap_accuracy`.
    """
    _check_pairs(clean, distorted, labels, batch_size)
    network = _Network(model, (layer,))
    index = _check_filters(filters, network.filters(layer)).to(clean.device)
    correct = torch.zeros(len(distorted), dtype=torch.float64)
    with torch.inference_mode():
        for start in range(0, len(clean), batch_size):
            rows = slice(start, start + batch_size)
            undistorted = network.activations(clean[rows])
            for level, images in enumerate(distorted[:, rows]):
                predicted = network.swap_together(layer, undistorted, network.activations(images), index)
                correct[level] += (predicted == labels[rows]).sum().cpu()
    return (correct / len(clean)).numpy()


def accuracy_per_level(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, *,
                       batch_size: int = 500) -> np.ndarray:
    """Top-1 accuracy [levels] of `model` on inputs [levels, M, C, H, W]: p_b of Algorithm 1 for each level."""
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        counts = [sum((model(level[i:i + batch_size]).argmax(1) == labels[i:i + batch_size]).sum().item()
                      for i in range(0, len(labels), batch_size)) for level in images]
    model.train(was_training)
    return np.array(counts) / len(labels)


def correction_priority(swap_accuracy: np.ndarray, baseline_accuracy: np.ndarray, *,
                        score: str = "priority") -> np.ndarray:
    """One score per filter, higher for more susceptible ones.

    Args:
        swap_accuracy: accuracy after each swap, [filters, levels].
        baseline_accuracy: accuracy without a swap, [levels].
        score: "priority" is Eq. 1, the gain in accuracy averaged over levels. "relative_error" is what the
            released code computes: ``|swapped error - baseline error| / baseline error``, averaged over levels, so
            that a filter whose swap hurts counts as susceptible too. A level without errors adds nothing to it.

    Returns:
        float64 array [filters].
    """
    swapped, before = (np.asarray(a, dtype=np.float64) for a in (swap_accuracy, baseline_accuracy))
    if swapped.ndim != 2 or before.shape != swapped.shape[1:] or not before.size:
        raise InputError(f"correction_priority: expected accuracies [filters, levels] and [levels], got "
                         f"{list(swapped.shape)} and {list(before.shape)}.")
    for values in (swapped, before):
        if not (np.isfinite(values).all() and values.min(initial=0) >= 0 and values.max(initial=0) <= 1):
            raise InputError("correction_priority: expected accuracies in 0..1, got values outside or NaN; divide "
                             "percentages by 100.")
    if score == "priority":
        return (swapped - before).mean(axis=1)
    if score == "relative_error":
        error = 1 - before
        change = np.abs(before - swapped)
        return np.divide(change, error, out=np.zeros_like(change), where=error > 0).mean(axis=1)
    raise InputError(f"score: expected one of {', '.join(SCORES)}, got {score!r}.")


def select_local(priorities: dict[str, np.ndarray], fractions: float | dict[str, float]) -> dict[str, np.ndarray]:
    """The most susceptible filters of each layer, ranked within the layer (beta_i N_i of Section 4.2).

    Args:
        priorities: {layer: scores [filters]}.
        fractions: beta in 0..1 per layer, or one for all; the count is rounded to the nearest filter.

    Returns:
        {layer: filter indices, most susceptible first}. Ties go to the lower index.
    """
    _check_priorities(priorities)
    per_layer = fractions if isinstance(fractions, dict) else dict.fromkeys(priorities, fractions)
    if set(per_layer) != set(priorities):
        raise InputError(f"fractions: expected one per layer ({', '.join(priorities)}), got {', '.join(per_layer)}.")
    if bad := [f for f in per_layer.values() if not 0 <= f <= 1]:
        raise InputError(f"fractions: expected values in 0..1, got {bad[0]}; divide percentages by 100.")
    return {layer: _descending(np.asarray(scores))[:round(per_layer[layer] * len(scores))]
            for layer, scores in priorities.items()}


def select_global(priorities: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """The `count` most susceptible filters of all layers together (Tables 5 and 9).

    Returns {layer: filter indices, most susceptible first}, with an empty array for a layer that has none among
    them. Ties go to the earlier layer, then to the lower index.
    """
    _check_priorities(priorities)
    total = sum(len(scores) for scores in priorities.values())
    if count != int(count) or not 0 <= count <= total:
        raise InputError(f"count: expected a whole number in 0..{total}, got {count}.")
    order = _descending(np.concatenate([np.asarray(scores) for scores in priorities.values()]))[:int(count)]
    chosen, start = {}, 0
    for layer, scores in priorities.items():
        inside = (order >= start) & (order < start + len(scores))
        chosen[layer] = order[inside] - start
        start += len(scores)
    return chosen


@dataclass
class _Cut:
    """Where a layer's swap is done: on the value `swapped`; `following` is the convolution it feeds alone."""

    swapped: torch.fx.Node
    following: torch.fx.Node | None

    @property
    def start(self) -> torch.fx.Node:
        """The first value that is computed anew."""
        return self.following or self.swapped


class _Network:
    """A traced copy of a model, BatchNorm folded into the convolutions, that can be run from the middle."""

    def __init__(self, model: nn.Module, layers: tuple[str, ...]) -> None:
        for layer in layers:
            named_conv(model, layer)
        self.module = copy.deepcopy(model).eval()
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
        needed |= {n for cut in self.cuts.values() for n in (cut.swapped, cut.start)}
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
        """How many images are classified correctly after each filter's swap: int64 [filters]."""
        cut = self.cuts[layer]
        difference = clean[cut.swapped] - distorted[cut.swapped]
        unchanged = (distorted[self.output].argmax(1) == labels)
        correct = unchanged.sum().cpu().repeat(difference.shape[1])
        # Pairs filter by filter: neighbouring pairs share weights.
        filters, images = torch.nonzero(difference.flatten(2).abs().amax(2).T, as_tuple=True)
        for start in range(0, len(filters), batch_size):
            f, m = filters[start:start + batch_size], images[start:start + batch_size]
            value = self._swapped_value(cut, clean, distorted, difference, f, m)
            predicted = self._run_from(layer, value, distorted, m).argmax(1)
            gained = (predicted == labels[m]).long() - unchanged[m].long()
            correct.index_add_(0, f.cpu(), gained.cpu())
        return correct

    def swap_together(self, layer: str, clean: dict, distorted: dict, index: torch.Tensor) -> torch.Tensor:
        """Predicted classes [B] after swapping all filters in `index` at once."""
        cut = self.cuts[layer]
        value = distorted[cut.swapped].clone()
        value[:, index] = clean[cut.swapped][:, index]
        if cut.following:
            value = self.modules[cut.following.target](value)
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
        patches = F.unfold(difference[m, f].unsqueeze(1), conv.kernel_size, conv.dilation, conv.padding, conv.stride)
        weight = _dense_weight(conv)[:, f].transpose(0, 1).flatten(2)
        return torch.baddbmm(before.flatten(2)[m], weight, patches).view(len(m), *before.shape[1:])

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
        node = calls[0]
        while len(node.users) == 1 and self._is_channelwise(following := next(iter(node.users))):
            node = following
        following = next(iter(node.users)) if len(node.users) == 1 else None
        conv = self.modules.get(following.target) if following is not None and following.op == "call_module" else None
        plain = _is_plain(conv) and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
        return _Cut(node, following if plain else None)

    def _is_channelwise(self, node: torch.fx.Node) -> bool:
        if node.op == "call_module":
            return isinstance(self.modules[node.target], _CHANNELWISE)
        return node.op in ("call_function", "call_method") and node.target in _CHANNELWISE_CALLS

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


def _dense_weight(conv: nn.Conv2d) -> torch.Tensor:
    """Weights [out, in, k, k] of a convolution with or without groups; zero where a group does not reach."""
    if conv.groups == 1:
        return conv.weight
    weight = conv.weight.new_zeros(conv.out_channels, conv.in_channels, *conv.kernel_size)
    outputs, inputs = conv.out_channels // conv.groups, conv.in_channels // conv.groups
    for g in range(conv.groups):
        rows, columns = slice(g * outputs, (g + 1) * outputs), slice(g * inputs, (g + 1) * inputs)
        weight[rows, columns] = conv.weight[rows]
    return weight


def _descending(scores: np.ndarray) -> np.ndarray:
    return np.argsort(-scores.astype(np.float64), kind="stable")


def _check_filters(chosen: Sequence[int], count: int) -> torch.Tensor:
    index = np.asarray(chosen)
    if index.ndim != 1 or (index.size and (index.dtype.kind not in "iu" or index.min() < 0 or index.max() >= count)):
        raise InputError(f"filters: expected indices in 0..{count - 1}, got {chosen!r}.")
    return torch.from_numpy(index.astype(np.int64))


def _check_pairs(clean: torch.Tensor, distorted: torch.Tensor, labels: torch.Tensor, batch_size: int) -> None:
    if batch_size < 1:
        raise InputError(f"batch_size: expected a positive number, got {batch_size}.")
    check_images(clean, "clean")
    if not isinstance(labels, torch.Tensor):
        raise InputError(f"labels: expected a torch tensor [{len(clean)}], got {type(labels).__name__}; convert them "
                         "with torch.as_tensor.")
    if not isinstance(distorted, torch.Tensor) or distorted.ndim != 5 or distorted.shape[1:] != clean.shape:
        raise InputError(f"distorted: expected a tensor [levels, {', '.join(map(str, clean.shape))}], got "
                         f"{list(getattr(distorted, 'shape', []))}; stack one copy of the images per level.")
    if labels.shape != clean.shape[:1] or labels.is_floating_point():
        raise InputError(f"labels: expected {len(clean)} whole numbers, got {labels.dtype} {list(labels.shape)}.")
    for name, images in (("clean", clean), ("distorted", distorted)):
        if not bool(torch.isfinite(images).all()):
            raise InputError(f"{name}: expected finite values, got NaN or infinity; repair or drop those images.")


def _check_priorities(priorities: dict[str, np.ndarray]) -> None:
    if not priorities:
        raise InputError("priorities: expected scores of at least one layer, got none.")
    for layer, scores in priorities.items():
        values = np.asarray(scores)
        if values.ndim != 1 or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
            raise InputError(f"priorities of {layer!r}: expected finite scores [filters], got {values.dtype} "
                             f"{list(values.shape)}.")
