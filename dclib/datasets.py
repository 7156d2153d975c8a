"""Images to train and test on: photographs (embedded) and CIFAR-100.

A `Dataset` keeps uint8 images [N, C, H, W] and int64 labels [N] in a canonical order with a fingerprint, so
that equal seeds give equal runs whatever the source of the files.
"""

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dclib.errors import InputError

#: SHA-256 of CIFAR-100's uint8 arrays [N, 32, 32, 3], ordered by (fine label, original file name).
CIFAR100_SHA256 = {"train": "2aa2e92a742ec0fbd361b0b1386394899dfac5a05c448330d3371fd9b63b3e87",
                   "test": "2716d826d85ee9ca7f948fb4dc3b3d7515225d1a436d1c4b7e6975855da3d9ee"}
#: SHA-256 of cifar-100-python.tar.gz as its authors publish it.
CIFAR100_ARCHIVE_SHA256 = "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"

#: Photographs that ship inside scikit-image's wheel, one class each; scikit-learn adds the last two.
PHOTOGRAPHS = ("astronaut", "brick", "camera", "cell", "chelsea", "coffee", "coins", "grass", "gravel",
               "hubble_deep_field", "ihc", "moon", "motorcycle_left", "page", "retina", "rocket", "text",
               "china", "flower")
_TILE, _PATCH = 48, 32


@dataclass(frozen=True)
class Split:
    """Images uint8 [N, C, H, W] and labels int64 [N]."""

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: torch.Tensor) -> "Split":
        """The images at `index` [M], in that order."""
        return Split(self.images[index], self.labels[index])

    def to(self, device: torch.device | str) -> "Split":
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Dataset:
    """Train, validation and test images of one data set.

    `scale` names its table of distortion levels; `fingerprint` is a SHA-256 over every pixel and label.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    scale: str
    fingerprint: str


def data_folder() -> Path:
    """Where downloads and array files lie: the environment variable DCLIB_DATA, else ~/.cache/dclib."""
    return Path(os.environ.get("DCLIB_DATA") or Path.home() / ".cache" / "dclib").expanduser()


def load(name: str, seed: int = 0) -> Dataset:
    """The data set called `name` ("cifar100" or "photographs"); `seed` decides its train/validation split."""
    if name == "cifar100":
        return cifar100(seed=seed)
    if name == "photographs":
        return photographs()
    raise InputError(f"data set: expected cifar100 or photographs, got {name!r}.")


def fingerprint_of(name: str) -> str:
    """The fingerprint of a data set, without reading it where it is known beforehand."""
    return _cifar100_fingerprint() if name == "cifar100" else load(name).fingerprint


def cifar100(folder: str | Path | None = None, seed: int = 0, validation: int = 5000) -> Dataset:
    """CIFAR-100 in canonical order, 45,000 / 5,000 / 10,000 images (Section 3.1).

    Read from ``cifar100.npz`` in `folder` (default: `data_folder()`) or else from torchvision's checked download
    there. Either way the decoded images must have the published SHA-256.

    Raises:
        InputError: no file and no network, a truncated or altered file, or a wrong `validation` size.
    """
    folder = Path(folder) if folder is not None else data_folder()
    archive = folder / "cifar100.npz"
    arrays = _read_npz(archive) if archive.exists() else _read_torchvision(folder)
    _check_cifar100(arrays, folder)
    everything = _split(arrays["train_images"], arrays["train_labels"])
    if not 0 < validation < len(everything):
        raise InputError(f"validation: expected 1..{len(everything) - 1} images, got {validation}.")
    order = torch.from_numpy(np.random.RandomState(seed).permutation(len(everything)))
    return Dataset("cifar100", everything.take(order[validation:]), everything.take(order[:validation]),
                   _split(arrays["test_images"], arrays["test_labels"]),
                   tuple(str(c) for c in arrays["classes"]), "cifar100", _cifar100_fingerprint())


@lru_cache(maxsize=2)
def photographs(train: int = 250, validation: int = 50, test: int = 100, seed: int = 0) -> Dataset:
    """Which photograph is this patch from? 19 classes of 32x32 patches, made from installed packages.

    Each photograph is cut into tiles; a tile belongs to train, validation or test, so that no two splits share a
    pixel. Patches are grey with a random tint: texture decides, not colour. `train`, `validation`, `test` count
    patches per class.

    Raises:
        InputError: scikit-image or scikit-learn lacks one of the photographs.
    """
    if min(train, validation, test) < 1:
        raise InputError("photographs: expected at least one patch per class and split, "
                         f"got {(train, validation, test)}.")
    counts = (train, validation, test)
    patches: list[list[np.ndarray]] = [[], [], []]
    for label, name in enumerate(PHOTOGRAPHS):
        rng = np.random.RandomState([seed, label])
        tiles = rng.permutation(_tiles(_grey_photograph(name)))
        ends = np.cumsum([round(0.6 * len(tiles)), round(0.15 * len(tiles))])
        for split, (region, count) in enumerate(zip(np.split(tiles, ends), counts)):
            patches[split].append(_patches(region, count, rng))
    labels = [np.repeat(np.arange(len(PHOTOGRAPHS)), count) for count in counts]
    arrays = [(np.concatenate(p), y) for p, y in zip(patches, labels)]
    digest = hashlib.sha256(b"".join(a.tobytes() for pair in arrays for a in pair)).hexdigest()
    return Dataset("photographs", *(_split(*pair) for pair in arrays), PHOTOGRAPHS, "cifar100", digest)


def photograph_file(name: str) -> Path:
    """Where the installed packages keep one of `PHOTOGRAPHS`; `InputError` when they do not have it."""
    package, folder = ("sklearn", "datasets/images") if name in ("china", "flower") else ("skimage", "data")
    spec = find_spec(package)  # the packages themselves take seconds to import; only their images are needed
    files = sorted((Path(spec.origin).parent / folder).glob(f"{name}.*")) if spec else []
    if not files:
        raise InputError(f"photograph {name!r}: expected it inside the package {package}, got no such file; "
                         "reinstall scikit-image >= 0.26 and scikit-learn.")
    return files[0]


def canonical_order(labels: np.ndarray, file_names: np.ndarray) -> np.ndarray:
    """Indices that sort images by (fine label, original file name)."""
    return np.lexsort((file_names, labels))


def per_class_sample(labels: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    """Indices of `count` random images of every class, sorted by class; deterministic by `seed`.

    Raises:
        InputError: a class has fewer than `count` images, or `count` is not positive.
    """
    if count < 1:
        raise InputError(f"count: expected at least one image per class, got {count}.")
    rng = np.random.RandomState(seed)
    chosen = []
    for label in range(int(labels.max()) + 1):
        members = torch.nonzero(labels == label).flatten().numpy()
        if len(members) < count:
            raise InputError(f"class {label}: expected at least {count} images, got {len(members)}; ask for fewer.")
        chosen.append(rng.permutation(members)[:count])
    return torch.from_numpy(np.concatenate(chosen))


def _cifar100_fingerprint() -> str:
    return hashlib.sha256("".join(CIFAR100_SHA256.values()).encode()).hexdigest()


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
    return Split(torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))),
                 torch.from_numpy(labels.astype(np.int64)))


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    names = ("train_images", "train_labels", "test_images", "test_labels", "classes")
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except Exception as error:  # a damaged file makes NumPy and zipfile raise almost anything
        raise InputError(f"{path}: expected an array file with {', '.join(names)}, got {type(error).__name__} ({error}); "
                         "make it again.") from error


def _check_cifar100(arrays: dict[str, np.ndarray], folder: Path) -> None:
    """The published pixels, and the labels that canonical order gives them."""
    again = f"delete the files in {folder} and fetch them again."
    classes = len(arrays["classes"]) if arrays["classes"].ndim else 0
    for split, digest in CIFAR100_SHA256.items():
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (32, 32, 3):
            raise InputError(f"CIFAR-100 {split} images: expected uint8 [N, 32, 32, 3], got {images.dtype} "
                             f"{list(images.shape)}; {again}")
        found = hashlib.sha256(images.tobytes()).hexdigest()
        if found != digest:
            raise InputError(f"CIFAR-100 {split} images: expected SHA-256 {digest[:12]}.., got {found[:12]}..; {again}")
        if classes != 100 or not np.array_equal(labels, np.repeat(np.arange(100), len(images) // 100)):
            raise InputError(f"CIFAR-100 {split} labels: expected 0..99 in this order, {len(images) // 100} of each, got "
                             f"others; {again}")


def _read_torchvision(folder: Path) -> dict[str, np.ndarray]:
    """Images of torchvision's CIFAR100; the archive is checked before anything in it is opened."""
    from http.client import HTTPException

    from torchvision.datasets import CIFAR100
    from torchvision.datasets.utils import check_integrity, download_url
    try:
        folder.mkdir(parents=True, exist_ok=True)
        extracted = folder / CIFAR100.base_folder
        parts = [*CIFAR100.train_list, *CIFAR100.test_list, [CIFAR100.meta["filename"], CIFAR100.meta["md5"]]]
        if not all(check_integrity(str(extracted / name), md5) for name, md5 in parts):
            download_url(CIFAR100.url, str(folder), CIFAR100.filename, CIFAR100.tgz_md5)
            _check_file(folder / CIFAR100.filename, CIFAR100_ARCHIVE_SHA256)
        train, test = (CIFAR100(str(folder), train=flag, download=True) for flag in (True, False))
    except (OSError, RuntimeError, HTTPException) as error:
        archive = folder / CIFAR100.filename
        with suppress(OSError):
            if not check_integrity(str(archive), CIFAR100.tgz_md5):
                archive.unlink(missing_ok=True)  # torchvision leaves what came before the connection broke
        raise InputError(f"CIFAR-100: expected cifar100.npz in {folder} or a network to download it, got "
                         f"{type(error).__name__} ({error}); set DCLIB_DATA to the folder that has it.") from error
    arrays = {"classes": np.array(train.classes)}
    for name, source, file in (("train", train, extracted / "train"), ("test", test, extracted / "test")):
        labels = np.asarray(source.targets)
        order = canonical_order(labels, _file_names(file))
        arrays[f"{name}_images"], arrays[f"{name}_labels"] = source.data[order], labels[order]
    return arrays


def _file_names(path: Path) -> np.ndarray:
    """The original file names inside one of CIFAR-100's pickles, which torchvision has just checked."""
    import pickle
    with path.open("rb") as file:
        return np.asarray(pickle.load(file, encoding="latin1")["filenames"])


def _check_file(path: Path, sha256: str) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        path.unlink()
        raise InputError(f"{path.name}: expected SHA-256 {sha256[:12]}.., got {found[:12]}..; the file was deleted, "
                         "download it again.")


def _grey_photograph(name: str) -> np.ndarray:
    """A photograph as float grey values [H, W] in 0..255."""
    photograph = np.asarray(Image.open(photograph_file(name)), dtype=np.float64)
    return photograph if photograph.ndim == 2 else photograph[..., :3] @ np.array([0.299, 0.587, 0.114])


def _tiles(photograph: np.ndarray) -> np.ndarray:
    rows, columns = (size // _TILE for size in photograph.shape)
    cut = photograph[:rows * _TILE, :columns * _TILE].reshape(rows, _TILE, columns, _TILE)
    return cut.swapaxes(1, 2).reshape(rows * columns, _TILE, _TILE)


def _patches(tiles: np.ndarray, count: int, rng: np.random.RandomState) -> np.ndarray:
    """`count` tinted patches uint8 [count, 32, 32, 3], each from inside one tile."""
    which = rng.randint(len(tiles), size=count)
    offsets = rng.randint(_TILE - _PATCH + 1, size=(count, 2))
    grey = np.stack([tiles[i, r:r + _PATCH, c:c + _PATCH] for i, (r, c) in zip(which, offsets)])
    tint = rng.uniform(0.6, 1.0, size=(count, 1, 1, 3))
    return np.clip(np.rint(grey[..., None] * tint), 0, 255).astype(np.uint8)
