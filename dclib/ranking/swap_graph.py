"""The graph of a network, prepared for swaps: BatchNorm folded into the convolutions, and cut where a swap is done."""

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
_CHANNELWISE = (
    *_FOLDED,
    nn.Identity,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Sigmoid,
    nn.Tanh,
    nn.Hardswish,
    nn.Dropout,
    nn.Dropout2d,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
)
_CHANNELWISE_CALLS = {
    torch.relu,
    torch.relu_,
    F.relu,
    F.relu_,
    F.max_pool2d,
    F.avg_pool2d,
    F.adaptive_avg_pool2d,
    "relu",
    "relu_",
}
#: Of these, what also acts on a few channels cut out of all, because it has no parameters of its own.
_ALIKE = tuple(kind for kind in _CHANNELWISE if kind not in _FOLDED)
#: Attributes and methods of a tensor that give Python values.
_MEASURES = {
    "shape",
    "ndim",
    "dtype",
    "device",
    "size",
    "dim",
    "numel",
    "nelement",
    "ndimension",
    "stride",
    "element_size",
    "get_device",
    "is_contiguous",
    "is_floating_point",
    "is_cuda",
    "itemsize",
    "nbytes",
    "layout",
}


@dataclass
class Cut:
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


class SwapGraph:
    """A traced copy of a model, and what is known of its graph: where swaps are done, and what runs behind them."""

    def __init__(self, model: nn.Module, layers: tuple[str, ...]) -> None:
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

    def learn(self, images: torch.Tensor) -> None:
        """Find out from a few images [3, C, H, W] what the graph does not say, and cut it."""
        logits = answers(self.module, images)
        self.classes = logits.shape[1]
        self.seen = probe(self.nodes, self._call, images)
        if not agree(self.seen.output, logits):
            raise InputError(
                f"{type(self.module).__name__}: expected a network whose graph gives its own logits, got "
                "others; let its class's forward do all the work, without hooks on the whole network."
            )
        self.free = self._free_of_images()
        self._read_behind_in_place()
        self._fold_batchnorm()
        self.cuts = {layer: self._cut(layer) for layer in self.targets}
        self.later = {layer: self._later(cut.start) for layer, cut in self.cuts.items()}

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
            raise InputError(
                f"{name}: expected a network whose output is one tensor of logits, got "
                f"{type(self.output).__name__}; wrap it so that it returns the logits alone."
            )
        if sum(n.op == "placeholder" and len(n.users) > 0 for n in self.nodes) > 1:
            raise InputError(
                f"{name}: expected a network with one input, got several; wrap it so that it takes images alone."
            )
        for layer, module in self.modules.items():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.running_mean is None or module.training):
                raise InputError(
                    f"{name}: expected every BatchNorm to normalise by its running statistics, got {layer!r}, "
                    "which does not; its output depends on which images are in a batch."
                )

    def _read_behind_in_place(self) -> None:
        """Let who reads a value after an in-place operation read that operation's result: equal, but said aloud."""
        position = {node: number for number, node in enumerate(self.nodes)}
        for node in self.nodes:
            for change in self.seen.changes.get(node, ()):
                later = [user for user in change.node.users if position[user] > position[node]]
                if later and not change.returned:
                    raise InputError(
                        f"{type(self.module).__name__}: expected no in-place work on a part of a value that is "
                        f"read again, got {node.name!r}, which changes {change.node.name!r}, read by "
                        f"{later[0].name!r}; let it work on a copy."
                    )
                for user in later:
                    user.replace_input_with(change.node, node)
        self.output = self.nodes[-1].args[0]

    def _free_of_images(self) -> set[torch.fx.Node]:
        """Values that do not depend on pixels: parameters, constants, and the sizes of tensors.

        They have no axis of images to select from, so each batch of swaps computes them for itself.
        """
        free: set[torch.fx.Node] = set()
        for node in self.nodes:
            measures = (
                node in self.seen.python
                or (node.op == "call_function" and node.target is getattr and node.args[1] in _MEASURES)
                or (node.op == "call_method" and node.target in _MEASURES)
            )
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
                for name, module in (
                    (source.target, torch.nn.utils.fuse_conv_bn_eval(conv, batchnorm)),
                    (node.target, nn.Identity()),
                ):
                    self.modules[name] = module  # and the module itself stays as it is

    def _cut(self, layer: str) -> Cut:
        calls = [n for n in self.nodes if n.op == "call_module" and n.target == self.targets[layer]]
        if len(calls) != 1:
            raise InputError(f"layer {layer!r}: expected to be used once in the network, got {len(calls)} uses.")
        if len(self.seen.shapes.get(calls[0], ())) != 3:
            raise InputError(
                f"layer {layer!r}: expected outputs [images, filters, H, W], got others; its first axis must "
                "be that of the network's input."
            )
        swapped = node = self._follow(calls[0], _CHANNELWISE)
        between, norm = [], _only_user(node)
        if _is_exactly(self._module(norm), (nn.LocalResponseNorm,)):
            between.append(node := norm)
            end = self._follow(node, _ALIKE)
            while node is not end:
                between.append(node := _only_user(node))
        conv = self._module(following := _only_user(node))
        if (
            _is_plain(conv)
            and conv.padding_mode == "zeros"
            and not isinstance(conv.padding, str)
            and (len(self.seen.shapes[node]) == 3)
        ):
            return Cut(swapped, tuple(between), self._module(norm).size if between else 1, following)
        return Cut(swapped, (), 1, None)

    def _follow(self, node: torch.fx.Node, kinds: tuple[type, ...]) -> torch.fx.Node:
        """The last value of the chain behind `node` of operations on each channel by itself."""
        channels = self.seen.shapes[node][0]
        while (
            (user := _only_user(node)) is not None
            and len(user.all_input_nodes) == 1
            and (
                self._is_channelwise(user, kinds)
                and len(shape := self.seen.shapes.get(user, ())) == 3
                and (shape[0] == channels)
            )
        ):
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
                not reached.isdisjoint(node.users)
            ):
                reached.add(node)
        return [n for n in self.nodes if n in reached and n is not start and n.op != "output"]


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
        raise InputError(
            f"{type(model).__name__}: expected a network that copy.deepcopy can copy, got "
            f"{type(error).__name__} "
            f"({error}); take such attributes out of its modules."
        ) from error
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
