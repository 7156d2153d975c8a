"""What all data sets share: splits, canonical order, samples, and the folder where they lie."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import torch

from dclib.errors import InputError, check_labels
from dclib.files import default_folder, named_folder


class Subset:
    """Some rows of a tensor that stays where it is, such as most of an array file of 250 GB mapped into memory.

    Stands for ``images[index]`` without copying it: indexing reads just the rows asked for, as a tensor. On the
    tensor's own device `to` gives the same rows again; only another device or dtype gets a copy of all of them.
    """

    def __init__(self, images: torch.Tensor, index: torch.Tensor) -> None:
        self.images, self.index = images, index
        self.shape, self.ndim = torch.Size([len(index), *images.shape[1:]]), images.ndim
        self.device, self.dtype = images.device, images.dtype

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: int | slice | torch.Tensor) -> torch.Tensor:
        return self.images[self.index[rows]]

    @overload
    def to(self, device: torch.device | str) -> "Subset | torch.Tensor": ...

    @overload
    def to(self, device: torch.device | str, dtype: torch.dtype) -> torch.Tensor: ...

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Subset | torch.Tensor":
        device, dtype = torch.device(device), dtype or self.dtype
        if (device, dtype) == (self.device, self.dtype):
            return self
        copied = torch.empty(self.shape, dtype=dtype, device=device)
        for rows in torch.arange(len(self)).split(1024):  # never twice all of them at once
            copied[rows[0] : rows[-1] + 1] = self[rows].to(device)
        return copied


@dataclass(frozen=True)
class Split:
    """Images uint8 [N, C, H, W], as a tensor or as a `Subset` of one, and labels int64 [N].

    `tiles` int64 [N] numbers the part of a photograph that each image was cut from, where several may overlap: images of
    one tile are no independent ones. None where each image stands for itself. To train on, labels may be class
    probabilities, float [N, K].

    Raises `InputError` for others. Rows of features, float [N, D], may stand where images do (Section 5.3).
    """

    images: torch.Tensor | Subset
    labels: torch.Tensor
    tiles: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.images, (torch.Tensor, Subset)):
            raise InputError(
                f"images: expected a torch tensor uint8 [N, C, H, W], got {type(self.images).__name__}; "
                "convert them with torch.as_tensor."
            )
        count = len(self.images) if self.images.ndim else 0
        probabilities = isinstance(self.labels, torch.Tensor) and self.labels.is_floating_point() and self.labels.ndim == 2
        if not probabilities:
            check_labels(self.labels, count)
        elif len(self.labels) != count or not bool(self.labels.isfinite().all()):
            raise InputError(f"labels: expected probabilities [{count}, classes], got {list(self.labels.shape)} or NaN.")
        if not probabilities and self.labels.dtype != torch.int64:
            raise InputError(f"labels: expected int64, got {self.labels.dtype}; convert them with labels.long().")
        features = self.images.ndim == 2 and self.images.dtype.is_floating_point
        if not features and (self.images.ndim != 4 or self.images.dtype != torch.uint8 or 0 in self.images.shape[1:]):
            raise InputError(
                f"images: expected uint8 [N, C, H, W] in 0..255, got {self.images.dtype} "
                f"{list(self.images.shape)}; scale and round floats to 0..255, convert them with "
                "images.byte(), and put the channels before height and width."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: torch.Tensor) -> "Split":
        """The images at `index` [M], in that order."""
        return Split(self.images[index], self.labels[index], None if self.tiles is None else self.tiles[index])

    def to(self, device: torch.device | str) -> "Split":
        return Split(self.images.to(device), self.labels.to(device), self.tiles)


@dataclass(frozen=True)
class Dataset:
    """Train, validation and test images of one data set.

    `scale` names its table of distortion levels; `fingerprint` is a SHA-256 over every pixel and label, or of what else
    the data set is known by; `skipped` names the damaged files that were left out, by their place in its folder.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    scale: str
    fingerprint: str
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Collection:
    """All images of a data set that has no split of its own (Section 5.3); fields as in `Dataset`."""

    name: str
    images: Split
    classes: tuple[str, ...]
    scale: str
    fingerprint: str
    skipped: tuple[str, ...] = ()


def data_folder() -> Path:
    """Where downloads and array files lie: the environment variable DCLIB_DATA, else ~/.cache/dclib."""
    return named_folder("DCLIB_DATA") or default_folder("DCLIB_DATA")


def cache_folder() -> Path:
    """Where decoded images are kept: DCLIB_CACHE, else ``cache`` in the data folder, else ~/.cache/dclib.

    The last where the data folder is read-only. Whatever lies there may be deleted; it is made again.
    """
    if folder := named_folder("DCLIB_CACHE"):
        return folder
    data = data_folder()
    # The mode is asked too: it does not stop root, but it says what is wanted.
    writable = data.is_dir() and os.access(data, os.W_OK) and data.stat().st_mode & stat.S_IWUSR
    return data / "cache" if writable else default_folder("DCLIB_CACHE") / "cache"


def canonical_order(labels: np.ndarray, file_names: np.ndarray) -> np.ndarray:
    """Indices that sort images by (fine label, original file name)."""
    return np.lexsort((file_names, labels))


def per_class_sample(labels: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    """Indices of `count` random images of every class that has any, sorted by class; deterministic by `seed`.

    Raises:
        InputError: a class has fewer than `count` images, or `count` is not positive.
    """
    if count < 1:
        raise InputError(f"count: expected at least one image per class, got {count}.")
    rng = np.random.RandomState(seed)
    chosen = []
    for label in labels.unique().tolist():
        members = torch.nonzero(labels == label).flatten().numpy()
        if len(members) < count:
            raise InputError(f"class {label}: expected at least {count} images, got {len(members)}; ask for fewer.")
        chosen.append(rng.permutation(members)[:count])
    return torch.from_numpy(np.concatenate(chosen))


def to_split(images: np.ndarray, labels: np.ndarray, tiles: np.ndarray | None = None) -> Split:
    """Images [N, H, W, C] as they are decoded, labels [N] and tiles [N], if any, as a `Split`."""
    return Split(
        torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))),
        torch.from_numpy(labels.astype(np.int64)),
        None if tiles is None else torch.from_numpy(tiles.astype(np.int64)),
    )
