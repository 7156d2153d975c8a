"""Corrected networks as files: weights, and how they were corrected."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from dclib.correction.correcting import correct
from dclib.correction.units import CorrectionUnit, UnitDesign
from dclib.errors import InputError
from dclib.files import whole
from dclib.models import shapes_alone
from dclib.tensors import UNREADABLE, read, reason, sealed


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
            with shapes_alone():
                unit = CorrectionUnit(len(filters.get(layer, ())), design)
            described = {name: value.shape for name, value in unit.state_dict().items()}
        if len(design.kernels) > len(held) or described != held:
            raise ValueError(f"weights of another unit for {layer}")
