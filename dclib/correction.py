"""Correction units (Section 4.2, Figure 7, Table 10) and the networks that carry them."""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from dclib.errors import InputError
from dclib.files import whole
from dclib.models import (
    AllConvNet,
    KerasBatchNorm2d,
    batchnorm_behind,
    deep_copy,
    evaluation_mode,
    filter_index,
    modules_by_name,
    named_conv,
    replace_module,
    trainable_copy,
    unwrapped,
)
from dclib.models.norms import normalised
from dclib.tensors import UNREADABLE, read, reason, sealed

#: How fresh weights of a unit are drawn: normal with variance 2 / fan-in, or uniform with variance 2 / (fan-in + fan-out).
INITIALISATIONS: dict[str, Callable] = {
    "he_normal": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "glorot_uniform": nn.init.xavier_uniform_,
}


@dataclass(frozen=True)
class UnitDesign:
    """The design of a correction unit for n filters; the last convolution always has n outputs.

    Args:
        width: filters of the inner convolutions (D_i in Figure 7); n when None ("critically wide").
        kernels: odd kernel sizes of all convolutions, first to last.
        dilations: one per kernel; all 1 when empty.
        input_batchnorm: BatchNorm on the unit's input.
        batchnorm: BatchNorm after every convolution but the last.
        batchnorm_momentum: weight of a mini-batch in their running statistics; released is Keras's 0.01, which takes some
            hundred iterations to settle. Shorter trainings take more.
        initialisation: of the convolutions' weights, one of `INITIALISATIONS`: he_normal as released, or Keras 1's default.
        begins_at_zero: the last convolution begins at 0, so that a fresh unit passes its filters on as they are.

    >>> from dclib import UnitDesign, correct
    >>> from dclib.models import AllConvNet, count_parameters
    >>> units = [UnitDesign(width=width, kernels=(1, 3, 3, 1)) for width in (None, 8)]
    >>> [count_parameters(correct(AllConvNet(100, width=32), {"conv1": range(16)}, unit)) for unit in units]
    [5312, 1528]
    """

    width: int | None = None
    kernels: tuple[int, ...] = (1, 3, 3, 1)
    dilations: tuple[int, ...] = ()
    input_batchnorm: bool = False
    batchnorm: bool = True
    batchnorm_momentum: float = 0.01
    initialisation: str = "he_normal"
    begins_at_zero: bool = False

    def __post_init__(self) -> None:
        numbers = (*([] if self.width is None else [self.width]), *self.kernels, *self.dilations)
        if any(type(number) is not int for number in numbers):
            raise InputError(f"width, kernels, dilations: expected whole numbers, got {list(numbers)}.")
        if self.width is not None and self.width < 1:
            raise InputError(f"width: expected a positive number of filters or None, got {self.width}.")
        if len(self.kernels) < 2 or any(k < 1 or k % 2 == 0 for k in self.kernels):
            raise InputError(f"kernels: expected two or more odd sizes, got {self.kernels}.")
        if self.dilations and len(self.dilations) != len(self.kernels):
            raise InputError(f"dilations: expected {len(self.kernels)} numbers, one per kernel, got {self.dilations}.")
        if any(d < 1 for d in self.dilations):
            raise InputError(f"dilations: expected positive numbers, got {self.dilations}.")
        if not 0 < self.batchnorm_momentum <= 1:
            raise InputError(f"batchnorm_momentum: expected a number in 0..1, got {self.batchnorm_momentum}.")
        if self.initialisation not in INITIALISATIONS:
            raise InputError(f"initialisation: expected one of {', '.join(INITIALISATIONS)}, got {self.initialisation!r}.")


#: The released CIFAR-100 unit: only with width 64 do the parameter counts of Tables 3 and 4 come out.
RELEASED_CIFAR100 = UnitDesign(width=64, input_batchnorm=True)
#: The unit of the paper's text (Figure 7): as wide as it has filters.
CRITICALLY_WIDE = UnitDesign()


class CorrectionUnit(nn.Module):
    """x + stack of convolutions of x: the residual block of Figure 7 for `channels` filters (Eq. 2).

    Input and output [N, channels, H, W]: outputs of the filters to correct, before BatchNorm and ReLU. Fresh weights are
    he_normal, as released: normal with variance 2 / fan-in; biases are 0.
    """

    def __init__(self, channels: int, design: UnitDesign = CRITICALLY_WIDE) -> None:
        super().__init__()
        width = design.width or channels
        dilations = design.dilations or (1,) * len(design.kernels)
        momentum = design.batchnorm_momentum
        stack: list[nn.Module] = []
        if design.input_batchnorm:
            stack.append(KerasBatchNorm2d(channels, eps=1e-3, momentum=momentum))
        inputs = channels
        for i, (kernel, dilation) in enumerate(zip(design.kernels, dilations), start=1):
            last = i == len(design.kernels)
            outputs = channels if last else width
            conv = nn.Conv2d(inputs, outputs, kernel, padding=dilation * (kernel // 2), dilation=dilation)
            INITIALISATIONS[design.initialisation](conv.weight)
            if last and design.begins_at_zero:
                nn.init.zeros_(conv.weight)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
            stack.append(conv)
            if not last:
                stack += [KerasBatchNorm2d(width, eps=1e-3, momentum=momentum)] if design.batchnorm else []
                stack.append(nn.ReLU(inplace=True))
            inputs = outputs
        self.residual = nn.Sequential(*stack)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.residual(x)

    def correct_among(self, y: torch.Tensor, selection: torch.Tensor) -> torch.Tensor:
        """y + S^T F(S y): all channels of y [N, C, H, W], those of the one-hot selection S [channels, C] corrected.

        Choosing and putting back are products with S, not gathers: convolutions keep the layout of their library, forward
        and backward. S^T is put into the last convolution, whose output then has all channels at once.
        """
        *stack, last = cast(list[Any], self.residual)
        x = F.conv2d(y, selection[..., None, None])
        for module in stack:
            x = module(x)
        weight = (selection.mT @ last.weight.flatten(1)).view(-1, last.in_channels, *last.kernel_size)
        return y + F.conv2d(x, weight, selection.mT @ last.bias, padding=last.padding, dilation=last.dilation)


class CorrectedConv2d(nn.Module):
    """A frozen convolution with a `CorrectionUnit` behind some of its filters (Eq. 4); the others pass."""

    index: torch.Tensor

    def __init__(self, conv: nn.Conv2d, index: torch.Tensor, design: UnitDesign) -> None:
        super().__init__()
        self.conv = conv
        self.unit = CorrectionUnit(len(index), design)
        self.register_buffer("index", index.clone())  # safetensors refuses tensors that share memory

    @property
    def selection(self) -> torch.Tensor:
        """S, float [corrected filters, filters]: row i is 1 at the i-th corrected filter, else 0."""
        filters = torch.arange(self.conv.out_channels, device=self.index.device)
        return (self.index[:, None] == filters).to(cast(nn.Conv2d, self.unit.residual[-1]).weight.dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.unit.correct_among(self.conv(x), self.selection)


class PartialBatchNorm2d(nn.Module):
    """BatchNorm of which only some channels' scale and shift are trained.

    These are the "+100" in Table 3's 80,954 parameters: scale and shift of the 50 corrected channels.

    Args:
        batchnorm: the whole BatchNorm, `nn.BatchNorm2d` or `KerasBatchNorm2d`; it becomes a part of this module.
        index: the channels to train.
        batch_statistics: in training the other channels are normalised by the mini-batch too, as released; else by their
            running statistics, which then stand still, as in the paper's text.
    """

    index: torch.Tensor

    def __init__(self, batchnorm: nn.BatchNorm2d, index: torch.Tensor, *, batch_statistics: bool = False) -> None:
        super().__init__()
        self.batchnorm, self.batch_statistics = batchnorm.requires_grad_(False), batch_statistics
        mean = cast(torch.Tensor, batchnorm.running_mean)
        whole = [torch.ones_like(mean), torch.zeros_like(mean)]
        if batchnorm.affine:
            whole = [batchnorm.weight, batchnorm.bias]
        self.weight, self.bias = (nn.Parameter(values.detach()[index].clone()) for values in whole)
        self.register_buffer("index", index.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, bias, whole = self._composed(1.0, self.weight), self._composed(0.0, self.bias), self.batchnorm
        if not self.training:
            return F.batch_norm(x, whole.running_mean, whole.running_var, weight, bias, False, 0.0, whole.eps)
        y, mean, variance = normalised(whole, x, weight, bias)
        if not self.batch_statistics:
            before = whole.running_mean.clone(), whole.running_var.clone()
            chosen = torch.zeros_like(mean, dtype=torch.bool).index_fill(0, self.index, True)
            still = F.batch_norm(x, *before, weight, bias, False, 0.0, whole.eps)
            y = torch.where(chosen[:, None, None], y, still)
            mean, variance = (torch.where(chosen, new, old) for new, old in zip((mean, variance), before))
        whole.running_mean.copy_(mean)
        whole.running_var.copy_(variance)
        whole.num_batches_tracked.add_(1)
        return y

    def _composed(self, default: float, trained: torch.Tensor) -> torch.Tensor:
        """The whole scale (default 1) or shift (default 0): frozen values, and the trained ones in their places."""
        frozen = self.batchnorm.weight if default else self.batchnorm.bias
        if frozen is None:
            frozen = torch.full_like(self.batchnorm.running_mean, default)
        return frozen.index_copy(0, self.index, trained)


def correct(
    model: nn.Module,
    filters: Mapping[str, Sequence[int] | np.ndarray],
    design: UnitDesign | dict[str, UnitDesign] | None = None,
    *,
    train_batchnorm: bool = True,
    also_train: list[str] | tuple[str, ...] = (),
    batch_statistics: bool = False,
    seed: int = 0,
) -> nn.Module:
    """A new network with a `CorrectionUnit` behind each named layer; `model` is not changed (Section 4.2).

    Args:
        model: any torch model whose named layers are `nn.Conv2d`. Where a module has several names, any of them will do.
        filters: {layer name: indices of the filters to correct}, as `ranking.select_local` and `select_global` give
            them; a layer without any gets no unit.
        design: the unit, for all layers or per layer. Default: the released layout (`RELEASED_CIFAR100`) for an
            `AllConvNet`, else critically wide units without a BatchNorm at the input.
        train_batchnorm: train scale, shift and statistics of the corrected channels of a BatchNorm that
            directly follows the layer, as released for CIFAR-100.
        also_train: further layers to train whole, with the BatchNorm behind them: the -c variants.
        batch_statistics: let every frozen BatchNorm normalise by the mini-batch in training and update its running
            statistics, as the released code does; see `models.trainable_copy`.
        seed: of the units' initial weights.

    Returns:
        A copy in which only units, those BatchNorm channels and `also_train` require gradients. It can be
        saved (`save`), copied, compiled and exported.

    Raises:
        InputError: a layer that is unknown or no convolution; a filter that the layer does not have.

    >>> import torch
    >>> from dclib import correct
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 2))
    >>> corrected = correct(network, {"0": [3, 1]})
    >>> sorted({name.rpartition(".")[0] for name, p in corrected.named_parameters() if p.requires_grad})[:2]
    ['0.unit.residual.0', '0.unit.residual.1']
    """
    if not isinstance(filters, dict):
        raise InputError(f"filters: expected {{layer: indices}}, got {type(filters).__name__}.")
    model = unwrapped(model)
    _check_names(model, filters)
    indices = {
        layer: filter_index(layer, chosen, named_conv(model, layer).out_channels) for layer, chosen in filters.items()
    }
    indices = {layer: index for layer, index in indices.items() if len(index)}
    if not indices:
        raise InputError("filters: expected at least one filter to correct, got none.")
    if design is None:
        design = RELEASED_CIFAR100 if isinstance(model, AllConvNet) else CRITICALLY_WIDE
    designs = design if isinstance(design, dict) else dict.fromkeys(indices, design)
    if missing := set(indices) - set(designs):
        raise InputError(f"design: expected one entry per corrected layer, got none for {', '.join(sorted(missing))}.")
    behind = batchnorm_behind(model, tuple(indices)) if train_batchnorm else {}
    corrected = trainable_copy(model, also_train, batch_statistics=batch_statistics)
    trained_whole = batchnorm_behind(model, tuple(also_train)).values() if also_train else ()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # units are made on the CPU: equal weights on every device
        for layer, index in indices.items():
            conv = named_conv(corrected, layer)
            index = index.to(conv.weight.device)
            new = CorrectedConv2d(conv, index, designs[layer])
            replace_module(corrected, layer, new.to(conv.weight.device, conv.weight.dtype))
            whole = model.get_submodule(behind[layer]) if layer in behind and behind[layer] not in trained_whole else None
            if type(whole) in (nn.BatchNorm2d, KerasBatchNorm2d) and whole.running_mean is not None:
                partial = PartialBatchNorm2d(
                    copy.deepcopy(cast(nn.BatchNorm2d, whole)), index, batch_statistics=batch_statistics
                )
                replace_module(corrected, behind[layer], partial)
    plan = {
        "filters": {k: v.tolist() for k, v in indices.items()},
        "design": {k: asdict(designs[k]) for k in indices},
        "train_batchnorm": train_batchnorm,
        "also_train": list(also_train),
        "batch_statistics": batch_statistics,
    }
    setattr(corrected, "correction", plan)
    return corrected.train(model.training)


def uncorrected(network: nn.Module) -> nn.Module:
    """A copy of a corrected network as it was before: without its units, and with the scale and shift that were there.

    A network without units is copied as it is; layers that `also_train` trained keep what they have learnt.
    """
    bare = deep_copy(network)
    for name, module in list(bare.named_modules(remove_duplicate=False)):
        if isinstance(module, (CorrectedConv2d, PartialBatchNorm2d)):
            replace_module(bare, name, module.conv if isinstance(module, CorrectedConv2d) else module.batchnorm)
    return bare


def unit_shares(network: nn.Module, images: torch.Tensor) -> dict[str, float]:
    """How much each unit adds: root mean square of its residual, divided by that of the outputs that it corrects.

    Near 0 the unit passes its filters on unchanged (Eq. 2 with F = 0), whatever it was trained for.

    Args:
        network: made by `correct`; used in evaluation mode.
        images: float [N, C, H, W] in 0..255, on the network's device.

    Returns:
        {layer name: share}, 0 for no correction.
    """
    shares: dict[str, float] = {}
    handles = []
    for name, layer in network.named_modules():
        if isinstance(layer, CorrectedConv2d):

            def note(
                conv: nn.Module, inputs: tuple, output: torch.Tensor, name: str = name, layer: CorrectedConv2d = layer
            ) -> None:
                outputs = output[:, layer.index]
                shares[name] = (layer.unit.residual(outputs).square().mean() / outputs.square().mean()).sqrt().item()

            handles.append(layer.conv.register_forward_hook(note))
    try:
        with evaluation_mode(network), torch.inference_mode():
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    return shares


def save(network: nn.Module, path: str | Path) -> Path:
    """Write a corrected network as one safetensors file: all weights, and how it was corrected.

    The file is written whole or not at all. Returns its path.

    >>> import torch
    >>> from dclib import correct, save
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 2))
    >>> save(correct(network, {"0": [3, 1]}), "corrected.safetensors").name
    'corrected.safetensors'
    """
    network = getattr(network, "_orig_mod", network)  # behind torch.compile
    plan = getattr(network, "correction", None)
    if plan is None:
        raise InputError(f"save: expected a network made by correct(), got {type(network).__name__}.")
    path, state = Path(path), network.state_dict()
    own, shared = _own_tensors(state)
    metadata = {
        "correction": json.dumps(plan),
        "shared": json.dumps(shared),
        "versions": json.dumps(getattr(state, "_metadata", {})),
    }
    try:
        with whole(path) as temporary:
            save_file(own, temporary, metadata=sealed(own, metadata))
    except (OSError, SafetensorError) as error:
        raise InputError(f"save: expected a folder that can be written, got {error} for {path}.") from error
    return path


def _own_tensors(state: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Every tensor once, and which names share one: safetensors refuses tied weights."""
    own: dict[str, torch.Tensor] = {}
    shared: dict[str, str] = {}
    seen: dict[object, str] = {}
    for name, value in state.items():
        place = (value.device, value.data_ptr(), value.dtype, value.shape, value.stride()) if value.numel() else name
        if (first := seen.setdefault(place, name)) != name:
            shared[name] = first
        else:
            own[name] = value.contiguous()
    storages: dict[int, str] = {}
    for name, value in own.items():  # parts of one memory, but not the same part
        if storages.setdefault(value.untyped_storage().data_ptr(), name) != name and value.numel():
            own[name] = value.clone()
    return own, shared


def load(model: nn.Module, path: str | Path) -> nn.Module:
    """The corrected network that `save` wrote, rebuilt around `model` (the same architecture as then).

    Raises `InputError` for a file that is none of `save`, is damaged, or is another network's.

    >>> import torch
    >>> from dclib import correct, load, save
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 2))
    >>> corrected, images = correct(network, {"0": [3, 1]}), 255 * torch.rand(5, 3, 8, 8)
    >>> again = load(network, save(corrected, "corrected.safetensors"))
    >>> torch.equal(again.eval()(images), corrected.eval()(images))
    True
    """
    try:
        state, metadata = read(path)
        plan, shared, versions = (
            json.loads(metadata.get(key, default))
            for key, default in (("correction", "null"), ("shared", "{}"), ("versions", "{}"))
        )
        state |= {name: state[first] for name, first in shared.items()}
        setattr(state, "_metadata", versions)  # some networks of torchvision read their own version out of it
    except UNREADABLE as error:
        raise InputError(
            f"load: expected a safetensors file at {path}, got {reason(error)}; save the network again."
        ) from error
    if plan is None:
        raise InputError(f"load: expected a file written by correction.save, got {path} without its description.")
    try:
        designs = {}
        for layer, described in plan["design"].items():
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in described.items()}
            designs[layer] = UnitDesign(**fields)
        options = {name: plan[name] for name in ("filters", "train_batchnorm", "also_train")}
        options["batch_statistics"] = plan.get("batch_statistics", False)
    except UNREADABLE as error:
        raise InputError(
            f"load: expected a file written by correction.save, got {path} with a description that lacks "
            f"something ({reason(error)})."
        ) from error
    try:
        _check_units(designs, plan["filters"], state)
        network = correct(model, design=designs, **options)
        network.load_state_dict(state)
    except InputError:
        raise
    except UNREADABLE as error:
        raise InputError(
            f"load: expected weights for {type(model).__name__}, got others in {path} ({reason(error)})."
        ) from error
    return network


def _check_units(designs: dict[str, UnitDesign], filters: dict[str, list[int]], state: dict[str, torch.Tensor]) -> None:
    """ValueError unless the file holds the units that it describes: a forged description may ask for any amount of memory."""
    for layer, design in designs.items():
        prefix = f"{layer}.unit."
        held = {name.removeprefix(prefix): value.shape for name, value in state.items() if name.startswith(prefix)}
        if len(design.kernels) <= len(held):
            with torch.device("meta"):
                unit = CorrectionUnit(len(filters.get(layer, ())), design)
            described = {name: value.shape for name, value in unit.state_dict().items()}
        if len(design.kernels) > len(held) or described != held:
            raise ValueError(f"weights of another unit for {layer}")


def _check_names(model: nn.Module, filters: Mapping) -> None:
    """`InputError` where two of the names are one module's: which filters are meant cannot be known."""
    modules = modules_by_name(model)
    seen: dict[int, str] = {}
    for layer in filters:
        other = seen.setdefault(id(modules.get(layer, layer)), layer)
        if other != layer:
            raise InputError(
                f"filters: expected every convolution once, got {other!r} and {layer!r}, which are one module; "
                "leave one of the names out."
            )
