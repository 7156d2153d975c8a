"""Decoded image files, kept as one array file, so that no epoch waits for JPEG decoding.

Two files: ``<name>-<key>.npy`` holds the images and is mapped into memory, never read as a whole; ``<name>-<key>.json``
is its header, written last and protected by a checksum. The key is a hash over every file's name, size and time of
change, so that other files never meet an old cache.
"""

import hashlib
import io
import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from PIL import Image
from tqdm import tqdm

from dclib.datasets.common import cache_folder
from dclib.errors import InputError
from dclib.files import whole

#: Pixels per side: images are squashed to it without keeping their aspect ratio, as in the paper.
SIDE = 256
_FORMAT = 1
_AT_ONCE = 512  # decoded images that wait for being written: 100 MB
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decoded:
    """Images uint8 [N, 3, side, side], mapped into memory and read-only, and which of the files they come from.

    `files` are all names, `kept` the indices [N] of the files that could be decoded, `skipped` the names of the others.
    """

    images: torch.Tensor
    files: tuple[str, ...]
    kept: torch.Tensor
    skipped: tuple[str, ...]
    fingerprint: str


def decoded(name: str, root: Path, files: Sequence[str], side: int = SIDE) -> Decoded:
    """All `files` below `root`, decoded in parallel on the first call and read from the cache on later ones.

    side: pixels per side of the decoded images.

    A damaged file is named in the log and skipped. `fingerprint` is a SHA-256 over all pixels that were decoded.

    Raises:
        InputError: a file without permission to read it; a cache folder that is full or cannot be written.
    """
    stem = cache_folder() / f"{name}-{_key(root, files, side)}"
    header = _read_header(stem, side)
    if header is None:
        try:
            stem.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{stem}.lock"):  # who comes second reads what the first one made
                header = _read_header(stem, side) or _make(stem, name, root, files, side)
        except OSError as error:
            room = f"{len(files) * 3 * side**2 / 1e9:.1f} GB"
            raise InputError(
                f"{stem.parent}: expected a folder with {room} of room for decoded images, got {error}; "
                "choose another with DCLIB_CACHE."
            ) from error
    missing = set(header["skipped"])
    kept = torch.tensor([i for i, file in enumerate(files) if file not in missing], dtype=torch.int64)
    return Decoded(_mapped(stem), tuple(files), kept, tuple(header["skipped"]), header["fingerprint"])


def _key(root: Path, files: Sequence[str], side: int = SIDE) -> str:
    digest = hashlib.sha256(f"{_FORMAT} {side}".encode())
    for file in files:
        try:
            status = (root / file).stat()
        except OSError as error:
            raise InputError(f"{root / file}: expected a readable image, got {error}; repair or remove it.") from error
        # Caches of JPEG files stay valid: no other pixels than before are read from them.
        deep = "" if Path(file).suffix.lower() in (".jpg", ".jpeg") else " by depth"
        line = f"\n{file} {status.st_size} {status.st_mtime_ns}{deep}"
        digest.update(line.encode("utf-8", "surrogateescape"))  # a name may have other bytes than UTF-8's
    return digest.hexdigest()[:16]


def _make(stem: Path, name: str, root: Path, files: Sequence[str], side: int) -> dict:
    """Decode everything into the array file, then write and return the header."""
    digest, skipped, count = hashlib.sha256(), [], 0
    with whole(stem.with_name(f"{stem.name}.npy")) as path, path.open("wb") as array:
        array.write(_npy_header(len(files), side))
        for file, result in _decode_all(name, root, files, side):
            if isinstance(result, Exception):
                _log.warning("%s: damaged and skipped (%s)", _printable(root / file), result)
                skipped.append(file)
                continue
            image, own = result
            array.write(image.data)
            digest.update(own)
            count += 1
        array.seek(0)
        array.write(_npy_header(count, side))
        array.flush()
        os.fsync(array.fileno())
    header = {"format": _FORMAT, "images": count, "skipped": skipped, "fingerprint": digest.hexdigest()}
    with whole(stem.with_name(f"{stem.name}.json")) as path:
        path.write_text(json.dumps(header | {"checksum": _checksum(header)}))
    return header


def _printable(path: Path) -> str:
    """A name as it can be written anywhere: bytes that are no UTF-8 as escapes."""
    return str(path).encode(errors="backslashreplace").decode()


def _decode_all(
    name: str, root: Path, files: Sequence[str], side: int
) -> Iterator[tuple[str, tuple[np.ndarray, bytes] | Exception]]:
    """Every file with its image and the image's SHA-256, or with what was wrong, in order.

    Threads are enough: Pillow, NumPy and hashlib let go of the interpreter while they work.
    """
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(
            total=len(files), desc=f"decoding {name}", unit=" images", leave=False, disable=None, dynamic_ncols=True
        ) as bar,
    ):
        for start in range(0, len(files), _AT_ONCE):
            part = files[start : start + _AT_ONCE]
            for file, result in zip(part, pool.map(partial(_decode, side=side), [root / file for file in part])):
                bar.update()
                yield file, result


def _decode(path: Path, side: int = SIDE) -> tuple[np.ndarray, bytes] | Exception:
    """The image uint8 [3, side, side] and its SHA-256; the error when the file is no image that can be decoded."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected a readable image, got {error}; repair or remove it.") from error
    try:
        with Image.open(io.BytesIO(content)) as image:
            squashed = _in_bytes(image).convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    except Exception as error:  # a damaged file makes Pillow raise almost anything
        return error
    pixels = np.ascontiguousarray(np.asarray(squashed).transpose(2, 0, 1))
    return pixels, hashlib.sha256(pixels.data).digest()


def _in_bytes(image: Image.Image) -> Image.Image:
    """`image`, or its grey values on the scale 0..255 where they have more than 8 bits: Pillow itself would clip them.

    Raises ValueError where the file does not say what is white.
    """
    # Pillow reads portable graymaps of more than 8 bits as 0..65535, whatever their own maximum is.
    sixteen = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PPM", "PNG"))
    if not sixteen and image.mode not in ("I", "F"):
        return image
    values = np.asarray(image).astype(np.float64)
    white = 65535 if sixteen else 1
    if (image.mode == "I" and not sixteen) or not (values.min() >= 0 and values.max() <= white):
        raise ValueError(
            f"expected 8 or 16 bits, or floats in 0..1, got {values.min():g}..{values.max():g} in mode {image.mode}"
        )
    return Image.fromarray(np.rint(values * (255 / white)).astype(np.uint8))


def _npy_header(count: int, side: int) -> bytes:
    """The header of an .npy file with `count` images. NumPy pads it so that its length is the same for any count."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": (count, 3, side, side)})
    return buffer.getvalue()


def _read_header(stem: Path, side: int) -> dict | None:
    """The header of a whole cache; None where there is none, or one that cannot be trusted."""
    array, header = (stem.with_name(f"{stem.name}.{ending}") for ending in ("npy", "json"))
    try:
        found = json.loads(header.read_text())
        checksum = found.pop("checksum")
        expected = len(_npy_header(found["images"], side)) + found["images"] * 3 * side**2
        if checksum == _checksum(found) and array.stat().st_size == expected:
            return found
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        pass
    return None


def _mapped(stem: Path) -> torch.Tensor:
    """The array file as a tensor: shared and read-only, for a private mapping has to fit into memory as a whole."""
    images = np.load(stem.with_name(f"{stem.name}.npy"), mmap_mode="r", allow_pickle=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(images)


def _checksum(header: dict) -> str:
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()
