"""What ranking and correction do to any torch network: find its layers, freeze them, replace them, count them."""

import copy
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
import torch
import torch.fx
from torch import nn
from torch.nn.utils import parametrize

from dclib.errors import InputError
from dclib.models.norms import KerasBatchNorm2d
from dclib.models.running import evaluation_mode, unwrapped


def multiply_adds(module: nn.Module, *shape: int) -> int:
    """Multiply-adds of the convolutions and dense layers of `module` for one input of `shape` [C, H, W].

    Biases count one each, as in Table 10, which calls the sum FLOPs.
    """
    counted = 0

    def count(layer: nn.Conv2d | nn.Linear, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal counted
        per_output = layer.weight[0].numel() + (layer.bias is not None)
        counted += per_output * output[0].numel()

    layers = [m for m in module.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    handles = [layer.register_forward_hook(count) for layer in layers]
    try:
        with evaluation_mode(module), torch.no_grad():
            module(torch.zeros(1, *shape, device=next(module.parameters()).device))
    finally:
        for handle in handles:
            handle.remove()
    return counted


def count_parameters(model: nn.Module, trainable: bool = True) -> int:
    """How many parameters `model` has; only those that require a gradient when `trainable`."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)


class _Frozen(nn.Module):
    def train(self, mode: bool = True) -> Self:
        return super().train(False)


class FrozenBatchNorm2d(_Frozen, nn.BatchNorm2d):
    """BatchNorm that always normalises with its running statistics and never updates them.

    A frozen filter keeps its output only if the statistics behind it stay too; ``train()`` does not undo that.
    """


class FrozenBatchNorm1d(_Frozen, nn.BatchNorm1d):
    """`FrozenBatchNorm2d` for the dense layers of a classifier."""


def modules_by_name(model: nn.Module) -> dict[str, nn.Module]:
    """All modules of `model` under every name that they have: a module may be registered in several places."""
    return dict(model.named_modules(remove_duplicate=False))


def named_conv(model: nn.Module, layer: str) -> nn.Conv2d:
    """The convolution called `layer` in `model`, by any of its names, or `InputError` naming what is there instead."""
    model = unwrapped(model)
    if isinstance(model, torch.jit.ScriptModule):
        raise InputError(
            f"layer {layer!r}: expected a network of Python modules, got one made by TorchScript; give the "
            "module that it was made from."
        )
    modules = modules_by_name(model)
    convolutions = [name for name, m in modules.items() if isinstance(m, nn.Conv2d)]
    if layer not in modules:
        raise InputError(
            f"layer {layer!r}: expected the name of a convolution of {type(model).__name__}, "
            f"which has {', '.join(convolutions) or 'none'}."
        )
    if not isinstance(found := modules[layer], nn.Conv2d):
        raise InputError(
            f"layer {layer!r}: expected an nn.Conv2d, got {type(found).__name__}; "
            f"the convolutions are {', '.join(convolutions) or 'none'}."
        )
    return found


def batchnorm_behind(model: nn.Module, layers: list[str] | tuple[str, ...]) -> dict[str, str]:
    """Which BatchNorm directly follows each of `layers`: {layer name: BatchNorm name}, without the others.

    Read off the traced graph, so it does not depend on names. A model that torch.fx cannot trace has to be
    wrapped so that it can.
    """
    modules = modules_by_name(model)
    found: dict[str, str] = {}
    for node in trace(model).nodes:
        if node.op == "call_module" and isinstance(modules.get(node.target), (nn.BatchNorm1d, nn.BatchNorm2d)):
            source = node.all_input_nodes[0]
            if source.op == "call_module" and len(source.users) == 1:
                found |= {name: node.target for name in layers if modules.get(name) is modules[source.target]}
    return found


def trace(model: nn.Module) -> torch.fx.Graph:
    """The torch.fx graph of `model` in evaluation, its nn modules as leaves; without wrappers such as ``torch.compile``."""
    model = unwrapped(model)
    try:
        return LeafTracer().trace(model)
    except Exception as error:  # whatever the model's own code raises under tracing
        raise InputError(
            f"{type(model).__name__}: expected a model that torch.fx can trace, got "
            f"{type(error).__name__} ({error}); take data-dependent branches out of forward."
        ) from error


class LeafTracer(torch.fx.Tracer):
    """Keeps every module without children whole, so that each convolution stays one node of the graph."""

    def is_leaf_module(self, m: nn.Module, qualified_name: str) -> bool:
        return not any(True for _ in m.children()) or super().is_leaf_module(m, qualified_name)

    def call_module(self, m: nn.Module, forward: Callable, args: tuple, kwargs: dict) -> object:
        """Inside of a part that is compiled or spread over devices the module itself is traced."""
        inner = unwrapped(m)
        return inner(*args, **kwargs) if inner is not m else super().call_module(m, forward, args, kwargs)


def trainable_copy(model: nn.Module, layers: list[str] | tuple[str, ...], *, batch_statistics: bool = False) -> nn.Module:
    """A copy of `model` in which only `layers` and the BatchNorm behind them require gradients.

    This is Finetune-k when `layers` are the first k convolutions (Section 5.1.1).

    Args:
        layers: names of convolutions or dense layers; where a module has several names, any of them.
        batch_statistics: False freezes every other module with running statistics: ``train()`` does not reach it, and
            its statistics stand still. That is the paper's text, which keeps everything else fixed. True freezes only its
            scale and shift: in training it normalises by the mini-batch and updates its statistics. That is what Keras 1
            does with a frozen layer, and so what the released code trained.

    Raises:
        InputError: a layer that is unknown or neither kind; a network that cannot be copied.
    """
    model = unwrapped(model)
    modules = modules_by_name(model)
    for layer in layers:
        if not isinstance(modules.get(layer), nn.Linear):
            named_conv(model, layer)
    behind = batchnorm_behind(model, layers) if layers else {}
    trained_names = {*layers, *behind.values()}
    copied = deep_copy(model)
    trained = {module for name, module in modules_by_name(copied).items() if name in trained_names}
    for module in list(copied.modules()):
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(module in trained)
    for name, module in list(copied.named_modules()):
        if module not in trained and not batch_statistics and _has_running_statistics(module):
            if type(module) in _FROZEN:
                replace_module(copied, name, frozen_batchnorm(module))
            else:  # a class of the user's own: who knows what else it does
                module.register_forward_pre_hook(_in_evaluation)
    return copied


def deep_copy(model: nn.Module) -> nn.Module:
    """A deep copy; `InputError` for a network that cannot be copied."""
    try:
        return copy.deepcopy(model)
    except Exception as error:  # whatever the attributes of the user's modules raise
        raise InputError(
            f"{type(model).__name__}: expected a network that copy.deepcopy can copy, got "
            f"{type(error).__name__} ({str(error).splitlines()[0]}); weights that a hook computes are made permanent "
            "by torch.nn.utils.remove_weight_norm, remove_spectral_norm or prune.remove."
        ) from error


def _has_running_statistics(module: nn.Module) -> bool:
    return getattr(module, "track_running_stats", False) is True and module.running_mean is not None


def _in_evaluation(module: nn.Module, inputs: tuple) -> None:
    module.eval()


def selected_copy(model: nn.Module, filters: dict[str, Sequence[int]]) -> nn.Module:
    """A copy of `model` in which only the named filters' own weights and biases require gradients.

    This is the fine-tuning of selected filters (Bianchi et al., 2019): no filter is added and the network keeps its
    size. Every BatchNorm is frozen.

    Args:
        filters: {layer name: indices of the filters to train}; a layer without any is frozen.

    Raises:
        InputError: a layer that is unknown or no convolution, or whose weights are computed from others; filters that are
            no distinct whole numbers, or that the layer does not have.
    """
    model = unwrapped(model)
    if not isinstance(filters, dict):
        raise InputError(f"filters: expected {{layer: indices}}, got {type(filters).__name__}.")
    convs = {layer: _own_weights(model, layer) for layer in filters}
    if len(set(convs.values())) < len(convs):
        raise InputError(f"filters: expected each convolution once, got two names of one among {', '.join(filters)}.")
    indices = {layer: filter_index(layer, chosen, convs[layer].out_channels) for layer, chosen in filters.items()}
    copied = trainable_copy(model, ())
    for layer, index in indices.items():
        conv = named_conv(copied, layer)
        for name in ("weight", "bias") if len(index) else ():
            if (parameter := getattr(conv, name)) is not None:
                selected = _SelectedRows(parameter.detach(), index.to(parameter.device))
                parametrize.register_parametrization(conv, name, selected)
                conv.parametrizations[name].original.requires_grad_(True)  # type: ignore[index]
    return copied


def filter_index(layer: str, chosen: Sequence[int] | np.ndarray, count: int) -> torch.Tensor:
    """`chosen` as int64 [n], or `InputError` unless they are distinct whole numbers below `count`."""
    try:
        index = torch.as_tensor(chosen)
    except (TypeError, ValueError, RuntimeError):
        index = torch.empty(0, 0)
    if index.ndim == 1 and not len(index):
        return torch.empty(0, dtype=torch.int64)
    if index.ndim != 1 or index.is_floating_point() or index.is_complex() or index.dtype == torch.bool:
        raise InputError(f"filters of {layer!r}: expected a list of whole numbers, got {chosen!r}.")
    if int(index.min()) < 0 or int(index.max()) >= count:
        raise InputError(
            f"filters of {layer!r}: expected indices in 0..{count - 1}, got {int(index.min())}..{int(index.max())}."
        )
    if len(index.unique()) != len(index):
        raise InputError(f"filters of {layer!r}: expected distinct indices, got some twice.")
    return index.long()


def _own_weights(model: nn.Module, layer: str) -> nn.Conv2d:
    """The convolution called `layer`, or `InputError` where its weights are computed, as by weight norm or pruning."""
    conv = named_conv(model, layer)
    if "weight" not in conv._parameters or (conv.bias is not None and "bias" not in conv._parameters):
        raise InputError(
            f"layer {layer!r}: expected a convolution whose weights are its own parameters, got one that "
            "computes them (weight norm, spectral norm, pruning); make them permanent first, with "
            "torch.nn.utils.parametrize.remove_parametrizations, torch.nn.utils.remove_weight_norm, "
            "remove_spectral_norm or prune.remove."
        )
    return conv


class _SelectedRows(nn.Module):
    """A parametrisation: some rows of a tensor are trained, the others stay as they are."""

    frozen: torch.Tensor
    index: torch.Tensor

    def __init__(self, frozen: torch.Tensor, index: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("frozen", frozen.clone())
        self.register_buffer("index", index.clone())  # safetensors writes no tensor twice

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.frozen.index_copy(0, self.index, rows)

    def right_inverse(self, whole: torch.Tensor) -> torch.Tensor:
        return whole[self.index]


_FROZEN = {nn.BatchNorm1d: FrozenBatchNorm1d, nn.BatchNorm2d: FrozenBatchNorm2d, KerasBatchNorm2d: FrozenBatchNorm2d}


def frozen_batchnorm(batchnorm: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.modules.batchnorm._BatchNorm:
    """The frozen twin of `batchnorm` with its state, none of it trainable."""
    frozen = _FROZEN[type(batchnorm)](batchnorm.num_features, batchnorm.eps, batchnorm.momentum, batchnorm.affine)
    frozen.load_state_dict(batchnorm.state_dict())
    example = batchnorm.running_mean
    return frozen.to(example.device, example.dtype).requires_grad_(False).eval()


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put `module` where `model` has the submodule `name`, and under every other name that this has."""
    old = model.get_submodule(name)
    for parent in list(model.modules()):
        for attribute in [attribute for attribute, child in parent._modules.items() if child is old]:
            setattr(parent, attribute, module)
