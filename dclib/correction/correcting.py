"""Networks with correction units behind some of their filters, and what the units add (Section 4.2)."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import cast

import numpy as np
import torch
from torch import nn

from dclib.correction.units import CRITICALLY_WIDE, RELEASED_CIFAR100, CorrectedConv2d, PartialBatchNorm2d, UnitDesign
from dclib.errors import InputError
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
