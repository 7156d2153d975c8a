"""Tensors in safetensors files, with a seal over them: what a disk or a cable damaged is not taken for weights."""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

_SEAL = "seal"
#: What reading a file that is damaged, forged or none raises.
UNREADABLE = (
    OSError,
    SafetensorError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
)


def checksum(tensors: Mapping[str, torch.Tensor], texts: Mapping[str, str] | None = None) -> str:
    """SHA-256 over names, types, shapes and contents of `tensors`, and over `texts`."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        if tensor.numel():
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    for name, text in sorted((texts or {}).items()):
        digest.update(f"{name} {text}".encode())
    return digest.hexdigest()


def sealed(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> dict[str, str]:
    """`metadata` for a file of `tensors`, with a seal over both, which `read` looks at."""
    metadata = dict(metadata or {})
    return metadata | {_SEAL: checksum(tensors, metadata)}


def read(path: str | Path) -> tuple[OrderedDict[str, torch.Tensor], dict[str, str]]:
    """All tensors of a safetensors file, and its metadata; files of others and of earlier versions carry no seal.

    Raises one of `UNREADABLE`, ValueError where the seal is broken.
    """
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata() or {})
        tensors = OrderedDict((name, file.get_tensor(name)) for name in file.keys())
    seal = metadata.pop(_SEAL, None)
    if seal is not None and seal != (found := checksum(tensors, metadata)):
        raise ValueError(f"a broken seal: {found[:12]}.. instead of {seal[:12]}..")
    return tensors, metadata


def reason(error: BaseException) -> str:
    """What an error says in its last line, no longer than a sentence bears; its kind where it says nothing."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip()[:200]
