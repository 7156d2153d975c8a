"""CIFAR-100 in canonical order, from an array file or torchvision's download, checked either way (Section 3.1)."""

import hashlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from dclib.datasets.common import Dataset, canonical_order, data_folder, to_split
from dclib.errors import InputError

#: SHA-256 of CIFAR-100's uint8 arrays [N, 32, 32, 3], ordered by (fine label, original file name).
CIFAR100_SHA256 = {
    "train": "2aa2e92a742ec0fbd361b0b1386394899dfac5a05c448330d3371fd9b63b3e87",
    "test": "2716d826d85ee9ca7f948fb4dc3b3d7515225d1a436d1c4b7e6975855da3d9ee",
}
#: SHA-256 of cifar-100-python.tar.gz as its authors publish it.
CIFAR100_ARCHIVE_SHA256 = "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"


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
    everything = to_split(arrays["train_images"], arrays["train_labels"])
    if not 0 < validation < len(everything):
        raise InputError(f"validation: expected 1..{len(everything) - 1} images, got {validation}.")
    order = torch.from_numpy(np.random.RandomState(seed).permutation(len(everything)))
    return Dataset(
        "cifar100",
        everything.take(order[validation:]),
        everything.take(order[:validation]),
        to_split(arrays["test_images"], arrays["test_labels"]),
        tuple(str(c) for c in arrays["classes"]),
        "cifar100",
        cifar100_fingerprint(),
    )


def cifar100_fingerprint() -> str:
    """The fingerprint that every intact CIFAR-100 has: known without reading it."""
    return hashlib.sha256("".join(CIFAR100_SHA256.values()).encode()).hexdigest()


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    names = ("train_images", "train_labels", "test_images", "test_labels", "classes")
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except Exception as error:  # a damaged file makes NumPy and zipfile raise almost anything
        raise InputError(
            f"{path}: expected an array file with {', '.join(names)}, got {type(error).__name__} ({error}); make it again."
        ) from error


def _check_cifar100(arrays: dict[str, np.ndarray], folder: Path) -> None:
    """The published pixels, and the labels that canonical order gives them."""
    again = f"delete the files in {folder} and fetch them again."
    classes = len(arrays["classes"]) if arrays["classes"].ndim else 0
    for split, digest in CIFAR100_SHA256.items():
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (32, 32, 3):
            raise InputError(
                f"CIFAR-100 {split} images: expected uint8 [N, 32, 32, 3], got {images.dtype} {list(images.shape)}; {again}"
            )
        found = hashlib.sha256(images.tobytes()).hexdigest()
        if found != digest:
            raise InputError(f"CIFAR-100 {split} images: expected SHA-256 {digest[:12]}.., got {found[:12]}..; {again}")
        if classes != 100 or not np.array_equal(labels, np.repeat(np.arange(100), len(images) // 100)):
            raise InputError(
                f"CIFAR-100 {split} labels: expected 0..99 in this order, {len(images) // 100} of each, got others; {again}"
            )


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
        raise InputError(
            f"CIFAR-100: expected cifar100.npz in {folder} or a network to download it, got "
            f"{type(error).__name__} ({error}); set DCLIB_DATA to the folder that has it."
        ) from error
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
        raise InputError(
            f"{path.name}: expected SHA-256 {sha256[:12]}.., got {found[:12]}..; the file was deleted, download it again."
        )
