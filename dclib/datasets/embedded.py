"""The embedded data set: patches of photographs that ship inside installed packages."""

import hashlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from dclib.datasets.common import Dataset, to_split
from dclib.errors import InputError

#: Photographs that ship inside scikit-image's wheel, one class each; scikit-learn adds the last two.
PHOTOGRAPHS = (
    "astronaut",
    "brick",
    "camera",
    "cell",
    "chelsea",
    "coffee",
    "coins",
    "grass",
    "gravel",
    "hubble_deep_field",
    "ihc",
    "moon",
    "motorcycle_left",
    "page",
    "retina",
    "rocket",
    "text",
    "china",
    "flower",
)
_TILE, _PATCH = 48, 32


@lru_cache(maxsize=2)
def photographs(
    train: int = 250, validation: int = 50, test: int = 100, seed: int = 0, classes: int | None = None
) -> Dataset:
    """Which photograph is this patch from? 19 classes of 32x32 patches, made from installed packages.

    Each photograph is cut into tiles; a tile belongs to train, validation or test, so that no two splits share a
    pixel. Patches are grey with a random tint: texture decides, not colour. Patches of one tile overlap: `Split.tiles`
    says which they are, for tests whose unit is the tile. `train`, `validation`, `test` count patches per class;
    `classes` takes the first so many photographs only, with the same patches.

    Raises:
        InputError: scikit-image or scikit-learn lacks one of the photographs.
    """
    if min(train, validation, test) < 1:
        raise InputError(f"photographs: expected at least one patch per class and split, got {(train, validation, test)}.")
    if classes is not None and not 2 <= classes <= len(PHOTOGRAPHS):
        raise InputError(f"photographs: expected 2 to {len(PHOTOGRAPHS)} classes, got {classes}.")
    names, counts = PHOTOGRAPHS[:classes], (train, validation, test)
    patches: list[list[np.ndarray]] = [[], [], []]
    numbers: list[list[np.ndarray]] = [[], [], []]
    first = 0  # number of the first tile of a region, counted over all photographs
    for label, name in enumerate(names):
        rng = np.random.RandomState([seed, label])
        tiles = rng.permutation(_tiles(_grey_photograph(name)))
        ends = np.cumsum([round(0.6 * len(tiles)), round(0.15 * len(tiles))])
        for split, (region, count) in enumerate(zip(np.split(tiles, ends), counts)):
            cut, which = _patches(region, count, rng)
            patches[split].append(cut)
            numbers[split].append(first + which)
            first += len(region)
    labels = [np.repeat(np.arange(len(names)), count) for count in counts]
    arrays = [(np.concatenate(p), y) for p, y in zip(patches, labels)]
    digest = hashlib.sha256(b"".join(a.tobytes() for pair in arrays for a in pair)).hexdigest()
    splits = (to_split(*pair, np.concatenate(tiles)) for pair, tiles in zip(arrays, numbers))
    return Dataset("photographs", *splits, names, "cifar100", digest)


def photograph_file(name: str) -> Path:
    """Where the installed packages keep one of `PHOTOGRAPHS`; `InputError` when they do not have it."""
    package, folder = ("sklearn", "datasets/images") if name in ("china", "flower") else ("skimage", "data")
    spec = find_spec(package)  # the packages themselves take seconds to import; only their images are needed
    files = sorted((Path(spec.origin).parent / folder).glob(f"{name}.*")) if spec else []
    if not files:
        raise InputError(
            f"photograph {name!r}: expected it inside the package {package}, got no such file; "
            "reinstall scikit-image >= 0.26 and scikit-learn."
        )
    return files[0]


def _grey_photograph(name: str) -> np.ndarray:
    """A photograph as float grey values [H, W] in 0..255."""
    photograph = np.asarray(Image.open(photograph_file(name)), dtype=np.float64)
    return photograph if photograph.ndim == 2 else photograph[..., :3] @ np.array([0.299, 0.587, 0.114])


def _tiles(photograph: np.ndarray) -> np.ndarray:
    rows, columns = (size // _TILE for size in photograph.shape)
    cut = photograph[: rows * _TILE, : columns * _TILE].reshape(rows, _TILE, columns, _TILE)
    return cut.swapaxes(1, 2).reshape(rows * columns, _TILE, _TILE)


def _patches(tiles: np.ndarray, count: int, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """`count` tinted patches uint8 [count, 32, 32, 3], each from inside one tile, and which tile [count]."""
    which = rng.randint(len(tiles), size=count)
    offsets = rng.randint(_TILE - _PATCH + 1, size=(count, 2))
    grey = np.stack([tiles[i, r : r + _PATCH, c : c + _PATCH] for i, (r, c) in zip(which, offsets)])
    tint = rng.uniform(0.6, 1.0, size=(count, 1, 1, 3))
    return np.clip(np.rint(grey[..., None] * tint), 0, 255).astype(np.uint8), which
