"""Images to train and test on: photographs (embedded), CIFAR-100, ImageNet, Caltech-101 and SUN-397.

A `Dataset` keeps uint8 images [N, C, H, W] and int64 labels [N] in a canonical order with a fingerprint, so
that equal seeds give equal runs whatever the source of the files.
"""

from dclib.datasets.cifar import CIFAR100_ARCHIVE_SHA256, CIFAR100_SHA256, cifar100, cifar100_fingerprint
from dclib.datasets.common import (
    Collection,
    Dataset,
    Rows,
    Split,
    cache_folder,
    canonical_order,
    data_folder,
    per_class_sample,
)
from dclib.datasets.embedded import PHOTOGRAPHS, photograph_file, photographs
from dclib.datasets.folders import (
    IMAGENET20_FINGERPRINT,
    IMAGENET20_OF_1000_FINGERPRINT,
    IMAGENET_FINGERPRINT,
    SELECTION_FINGERPRINTS,
    VALIDATION,
    caltech101,
    collection,
    imagenet,
    imagenet_of_1000,
    sun397,
    whole_fingerprint,
)
from dclib.errors import InputError

__all__ = ["CIFAR100_ARCHIVE_SHA256", "CIFAR100_SHA256", "IMAGENET20_FINGERPRINT", "IMAGENET20_OF_1000_FINGERPRINT",
           "IMAGENET_FINGERPRINT", "PHOTOGRAPHS", "SELECTION_FINGERPRINTS", "VALIDATION", "Collection", "Dataset", "Rows", "Split",
           "cache_folder", "caltech101", "canonical_order", "cifar100", "collection", "data_folder", "fingerprint_of",
           "imagenet", "imagenet_of_1000", "load", "per_class_sample", "photograph_file", "photographs", "sun397", "whole_fingerprint"]


def load(name: str, seed: int = 0) -> Dataset:
    """The data set called `name`: cifar100, photographs, imagenet20, imagenet, imagenet20-of-1000, or that at-256 pixels.

    `seed` decides its train/validation split.
    """
    if name == "cifar100":
        return cifar100(seed=seed)
    if name == "photographs":
        return photographs()
    if name in VALIDATION:
        return imagenet(name, seed=seed)
    if name == "imagenet20-of-1000":
        return imagenet_of_1000("imagenet20", seed=seed)
    if name == "imagenet20-of-1000-at-256":
        return imagenet_of_1000("imagenet20", seed=seed, side=256)
    raise InputError(f"data set: expected cifar100, photographs, {', '.join(VALIDATION)}, imagenet20-of-1000 or "
                     f"imagenet20-of-1000-at-256, got {name!r}.")


def fingerprint_of(name: str) -> str:
    """The fingerprint of a data set, without reading it where it is known beforehand."""
    known = {"cifar100": cifar100_fingerprint(), "imagenet20": IMAGENET20_FINGERPRINT, "imagenet": IMAGENET_FINGERPRINT,
             "imagenet20-of-1000": IMAGENET20_OF_1000_FINGERPRINT, "imagenet20-of-1000-at-256": IMAGENET20_FINGERPRINT}
    return known[name] if name in known else load(name).fingerprint
