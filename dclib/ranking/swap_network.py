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
from dclib.models import FrozenBatchNorm2d, KerasBatchNorm2d, named_conv, trace, unwrapped
from dclib.ranking.probing import agree, answers, probe

#: What may be folded into the convolution before it, exactly: a subclass may do more.
_FOLDED = (nn.BatchNorm2d, KerasBatchNorm2d, FrozenBatchNorm2d)
#: Modules and functions that act on each channel by itself, so that a swap may be done behind them.
_CHANNELWISE = (*_FOLDED, nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid,
                nn.Tanh, nn.Hardswish, nn.Dropout, nn.Dropout2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d,
                nn.AdaptiveMaxPool2d)
_CHANNELWISE_CALLS = {torch.relu, torch.relu_, F.relu, F.relu_, F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d,
                      "relu", "relu_"}

#: Of these, what also acts on a few channels cut out of all, because it has no parameters of its own.
_ALIKE = tuple(kind for kind in _CHANNELWISE if kind not in _FOLDED)

#: Attributes and methods of a tensor that give Python values.
_MEASURES = {"shape", "ndim", "dtype", "device", "size", "dim", "numel", "nelement", "ndimension", "stride", "element_size",
             "get_device", "is_contiguous", "is_floating_point", "is_cuda", "itemsize", "nbytes", "layout"}
#: How many pairs of filter and image run again at once, and how many images are kept, where they fit into `_BYTES` each.
_PAIRS, _IMAGES, _BYTES = 500, 250, 2 * 2**30


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

    def __init__(self, model: nn.Module, layers: tuple[str, ...], images: torch.Tensor) -> None:
        """`images` [3, C, H, W], made by `trial_images`, are what the network is tried on."""
        convs = [named_conv(model, layer) for layer in layers]
        self.module, copies = _evaluation_copy(unwrapped(model), convs)
        self.graph = trace(self.module)
        self.modules = dict(self.module.named_modules())
        # The graph has one name for a module, the user perhaps another.
        names = {module: name for name, module in self.modules.items()}
        self.targets = {layer: names[conv] for layer, conv in zip(layers, copies)}
        self.nodes = list(self.graph.nodes)
        self.output = self.nodes[-1].args[0]
        self._check_graph()
        with torch.inference_mode(False), torch.no_grad():
            self._try(images.clone())

    def _try(self, images: torch.Tensor) -> None:
        """Learn from a few images what the graph does not say, and check that swaps give what the network itself gives."""
        logits = answers(self.module, images)
        self.classes = logits.shape[1]
        self.seen = probe(self.nodes, self._call, images)
        if not agree(self.seen.output, logits):
            raise InputError(f"{type(self.module).__name__}: expected a network whose graph gives its own logits, got "
                             "others; let its class's forward do all the work, without hooks on the whole network.")
        self.free = self._free_of_images()
        self._read_behind_in_place()
        self._fold_batchnorm()
        self.cuts = {layer: self._cut(layer) for layer in self.targets}
        self.later = {layer: self._later(cut.start) for layer, cut in self.cuts.items()}
        needed = {n for layer, later in self.later.items() for node in later for n in node.all_input_nodes
                  if n not in later}
        needed |= {n for cut in self.cuts.values() for n in (cut.swapped, *cut.between[-1:], cut.start)}
        self.kept = needed
        self.spent = {layer: self._last_uses(layer) for layer in self.cuts}
        self.pairs = {layer: max(1, min(_PAIRS, _BYTES // self._bytes_per_pair(layer))) for layer in self.cuts}
        kept = sum(self.seen.sizes.get(node, 0) for node in needed)
        self.images = max(1, min(_IMAGES, _BYTES // (2 * kept + 4 * max(self.seen.sizes.values()))))
        for layer in self.cuts:
            self._check_swaps(layer, images)

    def filters(self, layer: str) -> int:
        return self.modules[self.targets[layer]].out_channels

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

    def swap_each(self, layer: str, clean: dict, distorted: dict, labels: torch.Tensor,
                  batch_size: int | None) -> torch.Tensor:
        """Which images are classified correctly after each filter's swap: bool [filters, B] on the CPU."""
        cut, batch_size = self.cuts[layer], batch_size or self.pairs[layer]
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
        if conv.groups > 1 and not cut.between:
            return _add_to_group(conv, before.flatten(2)[m], f, patches).view(len(m), *before.shape[1:])
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
            for used in self.spent[layer][node]:
                del values[used]
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
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.running_mean is None or module.training):
                raise InputError(f"{name}: expected every BatchNorm to normalise by its running statistics, got {layer!r}, "
                                 "which does not; its output depends on which images are in a batch.")

    def _check_swaps(self, layer: str, images: torch.Tensor) -> None:
        """Swap three filters of one image, here and in the network as it is, and compare the logits."""
        conv, count = self.module.get_submodule(self.targets[layer]), self.filters(layer)
        filters = torch.tensor([0, count // 2, count - 1], device=images.device)
        clean, distorted = (self.activations(image) for image in images[:2].split(1))
        image, cut = torch.zeros_like(filters), self.cuts[layer]
        difference = clean[cut.swapped] - distorted[cut.swapped]
        value = self._swapped_value(cut, clean, distorted, difference, filters, image)
        found = self._run_from(layer, value, distorted, image)
        outputs: list[torch.Tensor] = []

        def swap(module: nn.Module, inputs: tuple, output: torch.Tensor) -> torch.Tensor:
            outputs.append(output.clone())
            output = output.clone()
            if len(outputs) == 2:
                output[range(len(filters)), filters] = outputs[0][0, filters]
            return output

        handle = conv.register_forward_hook(swap)
        self.module(images[:1].clone())
        expected = self.module(images[1].repeat(len(filters), 1, 1, 1))
        handle.remove()
        if not agree(found, expected):
            raise InputError(f"layer {layer!r}: expected a network that can be run from here on, got other logits than "
                             "its own; take in-place work and hooks out of the modules behind it.")

    def _read_behind_in_place(self) -> None:
        """Let who reads a value after an in-place operation read that operation's result: equal, but said aloud."""
        position = {node: number for number, node in enumerate(self.nodes)}
        for node in self.nodes:
            for change in self.seen.changes.get(node, ()):
                later = [user for user in change.node.users if position[user] > position[node]]
                if later and not change.returned:
                    raise InputError(f"{type(self.module).__name__}: expected no in-place work on a part of a value that is "
                                     f"read again, got {node.name!r}, which changes {change.node.name!r}, read by "
                                     f"{later[0].name!r}; let it work on a copy.")
                for user in later:
                    user.replace_input_with(change.node, node)
        self.output = self.nodes[-1].args[0]

    def _free_of_images(self) -> set[torch.fx.Node]:
        """Values that do not depend on pixels: parameters, constants, and the sizes of tensors.

        They have no axis of images to select from, so each batch of swaps computes them for itself.
        """
        free: set[torch.fx.Node] = set()
        for node in self.nodes:
            measures = node in self.seen.python or (
                node.op == "call_function" and node.target is getattr and node.args[1] in _MEASURES) or (
                node.op == "call_method" and node.target in _MEASURES)
            if measures or (node.op not in ("placeholder", "output") and free.issuperset(node.all_input_nodes)):
                free.add(node)
        return free

    def _fold_batchnorm(self) -> None:
        """Fold each BatchNorm into the convolution before it: the same function, one pass over memory less."""
        uses = Counter(node.target for node in self.nodes if node.op == "call_module")
        for node in self.nodes:
            batchnorm = self.modules.get(node.target) if node.op == "call_module" else None
            if not _is_exactly(batchnorm, _FOLDED):
                continue
            source = node.all_input_nodes[0]
            conv = self.modules.get(source.target) if source.op == "call_module" else None
            if _is_plain(conv) and len(source.users) == uses[source.target] == uses[node.target] == 1:
                for name, module in ((source.target, torch.nn.utils.fuse_conv_bn_eval(conv, batchnorm)),
                                     (node.target, nn.Identity())):
                    self.modules[name] = module  # and the module itself stays as it is

    def _cut(self, layer: str) -> _Cut:
        calls = [n for n in self.nodes if n.op == "call_module" and n.target == self.targets[layer]]
        if len(calls) != 1:
            raise InputError(f"layer {layer!r}: expected to be used once in the network, got {len(calls)} uses.")
        if len(self.seen.shapes.get(calls[0], ())) != 3:
            raise InputError(f"layer {layer!r}: expected outputs [images, filters, H, W], got others; its first axis must "
                             "be that of the network's input.")
        swapped = node = self._follow(calls[0], _CHANNELWISE)
        between, norm = [], _only_user(node)
        if _is_exactly(self._module(norm), (nn.LocalResponseNorm,)):
            between.append(node := norm)
            end = self._follow(node, _ALIKE)
            while node is not end:
                between.append(node := _only_user(node))
        conv = self._module(following := _only_user(node))
        if _is_plain(conv) and conv.padding_mode == "zeros" and not isinstance(conv.padding, str) and (
                len(self.seen.shapes[node]) == 3):
            return _Cut(swapped, tuple(between), self._module(norm).size if between else 1, following)
        return _Cut(swapped, (), 1, None)

    def _follow(self, node: torch.fx.Node, kinds: tuple[type, ...]) -> torch.fx.Node:
        """The last value of the chain behind `node` of operations on each channel by itself."""
        channels = self.seen.shapes[node][0]
        while (user := _only_user(node)) is not None and len(user.all_input_nodes) == 1 and (
                self._is_channelwise(user, kinds) and len(shape := self.seen.shapes.get(user, ())) == 3 and (
                shape[0] == channels)):
            node = user
        return node

    def _is_channelwise(self, node: torch.fx.Node, kinds: tuple[type, ...]) -> bool:
        if (module := self._module(node)) is None:
            return node.op in ("call_function", "call_method") and node.target in _CHANNELWISE_CALLS
        depthwise = _is_plain(module) and module.groups == module.in_channels == module.out_channels
        return _is_exactly(module, kinds) or (depthwise and kinds is _CHANNELWISE)

    def _module(self, node: torch.fx.Node | None) -> nn.Module | None:
        return self.modules[node.target] if node is not None and node.op == "call_module" else None

    def _later(self, start: torch.fx.Node) -> list[torch.fx.Node]:
        reached = {start}
        for node in self.nodes:
            if any(source in reached for source in node.all_input_nodes):
                reached.add(node)
        # What has no row per image cannot be selected from what is kept: it is computed anew for each batch.
        for node in reversed(self.nodes):
            if (node in self.free or (node.op not in ("placeholder", "output") and node not in self.seen.shapes)) and (
                    not reached.isdisjoint(node.users)):
                reached.add(node)
        return [n for n in self.nodes if n in reached and n is not start and n.op != "output"]

    def _last_uses(self, layer: str) -> dict[torch.fx.Node, list[torch.fx.Node]]:
        """What is not needed any more after each of the layer's later nodes has run."""
        last: dict[torch.fx.Node, torch.fx.Node] = {}
        for node in self.later[layer]:
            last |= dict.fromkeys((*node.all_input_nodes, node), node)
        last.pop(self.output, None)
        spent: dict[torch.fx.Node, list[torch.fx.Node]] = {node: [] for node in self.later[layer]}
        for node, user in last.items():
            spent[user].append(node)
        return spent

    def _bytes_per_pair(self, layer: str) -> int:
        """The most that one pair of filter and image needs while the layers behind its cut run again."""
        cut, sizes = self.cuts[layer], self.seen.sizes
        peak = 2 * sizes[cut.start]
        if cut.following:  # the patches of the channels that changed, and their weights
            conv, shape = self.modules[cut.following.target], self.seen.shapes[cut.following]
            taps = cut.window * conv.kernel_size[0] * conv.kernel_size[1]
            peak += 2 * taps * (shape[0] + shape[1:].numel()) * sizes[cut.start] // shape.numel()
        alive = {cut.start}
        for node in self.later[layer]:
            alive |= {node, *node.all_input_nodes}
            peak = max(peak, sum(sizes.get(n, 0) for n in alive) + sizes.get(node, 0))
            alive -= set(self.spent[layer][node])
        return max(peak, 1)


def trial_images(clean: torch.Tensor, distorted: torch.Tensor) -> torch.Tensor:
    """Three images [3, C, H, W] to try a network on: a clean one, and how its last and first level distort it."""
    moved = int((distorted[-1, :_IMAGES] - clean[:_IMAGES]).flatten(1).abs().amax(1).argmax())
    return torch.stack([clean[moved], distorted[-1, moved], distorted[0, moved]])


def _evaluation_copy(model: nn.Module, parts: list[nn.Module]) -> tuple[nn.Module, list[nn.Module]]:
    """A copy of `model` in evaluation mode, and of some of its modules therein.

    It has modules of its own, but the model's tensors: AlexNet's alone take 240 MB. Weights that a hook computes anew at
    every call (weight norm, spectral norm, pruning) are plain attributes, and could not be copied.
    """
    tensors = [*model.parameters(), *model.buffers()]
    tensors += [value for module in model.modules() for value in vars(module).values() if isinstance(value, torch.Tensor)]
    try:
        copied, parts = copy.deepcopy((model, parts), {id(tensor): tensor for tensor in tensors})
    except Exception as error:  # whatever the attributes of the user's modules raise
        raise InputError(f"{type(model).__name__}: expected a network that copy.deepcopy can copy, got "
                         f"{type(error).__name__} "
                         f"({error}); take such attributes out of its modules.") from error
    for module in list(copied.modules()):
        for name, child in module.named_children():
            module._modules[name] = unwrapped(child)  # a compiled part would not hear the hooks of a check
    return copied.eval(), parts


def _is_exactly(module: nn.Module | None, kinds: tuple[type, ...]) -> bool:
    """One of `kinds`, which does what its class does and no more."""
    return type(module) in kinds and not _has_hooks(module) and "forward" not in vars(module)


def _is_plain(module: nn.Module | None) -> bool:
    """A convolution that does with its weights what `nn.Conv2d` does and no more."""
    return _is_exactly(module, (nn.Conv2d,))


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


def _add_to_group(conv: nn.Conv2d, value: torch.Tensor, f: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
    """Outputs `value` [pairs, out, H * W] of a grouped convolution plus what channel f's patches add in its group."""
    inputs = conv.in_channels // conv.groups
    weight = conv.weight.view(conv.groups, -1, inputs, conv.weight[0, 0].numel())[f // inputs, :, f % inputs]
    groups = value.view(len(value), conv.groups, -1, value.shape[-1])
    groups[torch.arange(len(f), device=f.device), f // inputs] += weight @ patches
    return value


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
