"""What samples have to be: bits, accuracies, groups; ValueError where they are not."""

import numpy as np


def accuracies(name, values) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.ndim != 1:
        raise ValueError(
            f"Expected accuracies [levels] in {name}, got shape {list(values.shape)}; average over seeds first."
        )
    if not np.all((values >= 0) & (values <= 1)):
        raise ValueError(f"Expected accuracies in 0..1 in {name}, got {values.tolist()}; give shares, not percent.")
    return values


def bits(name, values) -> np.ndarray:
    values = np.asarray(values)
    if values.dtype != np.bool_:
        raise ValueError(f"Expected boolean bits in {name}, got {values.dtype}; compare predictions with labels first.")
    if values.ndim not in (1, 2) or values.shape[-1] < 2 or values.shape[0] < 1:
        raise ValueError(
            f"Expected bits [images] or [levels, images] with at least 2 images in {name}, "
            f"got shape {list(values.shape)}; put images last."
        )
    return values


def same_shape(a, b) -> None:
    if a.shape != b.shape:
        raise ValueError(
            f"Expected bits of the same images, got shapes {list(a.shape)} and {list(b.shape)}; "
            "evaluate both networks on one test set."
        )


def members(groups) -> np.ndarray:
    """The groups [images], numbered from 0 without gaps."""
    groups = np.asarray(groups)
    if (
        groups.ndim != 1
        or groups.dtype.kind not in "iu"
        or len(found := np.unique(groups, return_inverse=True)[1]) == 0
        or found.max() == 0
    ):
        raise ValueError(
            f"Expected whole numbers [images] of at least 2 groups, got {groups.dtype} {list(groups.shape)}; "
            "give the number of the group of each image."
        )
    return found


def fits(groups, per_image) -> None:
    if np.shape(groups) != per_image.shape:
        raise ValueError(
            f"Expected the group of each of {len(per_image)} images, got groups of shape "
            f"{list(np.shape(groups))}; give one number per image."
        )


def level_counts(bits) -> np.ndarray:
    """Number of levels at which each image is right: int [images]."""
    return bits.astype(int) if bits.ndim == 1 else bits.sum(0)
