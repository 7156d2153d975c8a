"""Images to train and test on: photographs (embedded), CIFAR-100, ImageNet, Caltech-101 and SUN-397.

A `Dataset` keeps uint8 images [N, C, H, W] and int64 labels [N] in a canonical order with a fingerprint, so
that equal seeds give equal runs whatever the source of the files.
"""

from importlib import import_module

from dclib.datasets.common import (
    Collection,
    Dataset,
    Split,
    Subset,
    cache_folder,
    canonical_order,
    data_folder,
    per_class_sample,
)
from dclib.errors import InputError

#: What reads files, by module: it comes when it is asked for, because training on tensors needs none of its packages.
_READERS = {
    "cifar": ("CIFAR100_ARCHIVE_SHA256", "CIFAR100_SHA256", "cifar100", "cifar100_fingerprint"),
    "embedded": ("PHOTOGRAPHS", "photograph_file", "photographs"),
    "folders": (
        "IMAGENET20_FINGERPRINT",
        "IMAGENET20_OF_1000_FINGERPRINT",
        "IMAGENET_FINGERPRINT",
        "SELECTION_FINGERPRINTS",
        "VALIDATION",
        "caltech101",
        "collection",
        "imagenet",
        "imagenet_of_1000",
        "sun397",
        "whole_fingerprint",
    ),
}
_MODULE_OF = {name: module for module, names in _READERS.items() for name in names}
__all__ = [
    "Collection",
    "Dataset",
    "Split",
    "Subset",
    "cache_folder",
    "canonical_order",
    "data_folder",
    "fingerprint_of",
    "load",
    "per_class_sample",
    *(name for name in _MODULE_OF if name != "cifar100_fingerprint"),
]


def __getattr__(name: str) -> object:
    """A reader of files, from its module (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def load(name: str, seed: int = 0) -> Dataset:
    """The data set called `name`: cifar100, photographs, imagenet20, imagenet, imagenet20-of-1000, or that at-256 pixels.

    `seed` decides its train/validation split.
    """
    from dclib.datasets import cifar, embedded, folders

    if name == "cifar100":
        return cifar.cifar100(seed=seed)
    if name == "photographs":
        return embedded.photographs()
    if name in folders.VALIDATION:
        return folders.imagenet(name, seed=seed)
    if name == "imagenet20-of-1000":
        return folders.imagenet_of_1000("imagenet20", seed=seed)
    if name == "imagenet20-of-1000-at-256":
        return folders.imagenet_of_1000("imagenet20", seed=seed, side=256)
    raise InputError(
        f"data set: expected cifar100, photographs, {', '.join(folders.VALIDATION)}, imagenet20-of-1000 or "
        f"imagenet20-of-1000-at-256, got {name!r}."
    )


def fingerprint_of(name: str) -> str:
    """The fingerprint of a data set, without reading it where it is known beforehand."""
    from dclib.datasets import cifar, folders

    known = {
        "cifar100": cifar.cifar100_fingerprint(),
        "imagenet20": folders.IMAGENET20_FINGERPRINT,
        "imagenet": folders.IMAGENET_FINGERPRINT,
        "imagenet20-of-1000": folders.IMAGENET20_OF_1000_FINGERPRINT,
        "imagenet20-of-1000-at-256": folders.IMAGENET20_FINGERPRINT,
    }
    return known[name] if name in known else load(name).fingerprint
