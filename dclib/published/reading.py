"""Files of arrays that Python 2.7 pickled, checked by their hash before they are read, by a reader that knows arrays alone.

`numpy.save` pickles a list of arrays of several shapes as one array of objects, with protocol 2 and byte strings.
"""

import hashlib
import io
import pickle
import re
from pathlib import Path

import numpy as np

from dclib.errors import InputError

_LFS_POINTER = b"version https://git-lfs"
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def git_blob(content: bytes) -> str:
    """The SHA-1 by which git knows a file with this content, 40 hexadecimal digits."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def checked_file(path: Path, blob: str) -> bytes:
    """The content of a file whose git blob hash is `blob`.

    Raises:
        InputError: no such file; a pointer of Git LFS or a web page in its place; another hash.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected a file of the authors, got {error.strerror}; fetch it again.") from error
    if content.startswith(_LFS_POINTER):
        raise InputError(
            f"{path}: expected the file itself, got a pointer of Git LFS to it; run `git lfs pull` in the clone."
        )
    if re.match(rb"\s*<(!doctype|html)", content[:200], re.IGNORECASE):
        raise InputError(f"{path}: expected arrays, got a web page; download the raw file, or clone the repository.")
    if (found := git_blob(content)) != blob:
        raise InputError(
            f"{path}: expected the git blob {blob[:12]}.., got {found[:12]}.. ({len(content):,} bytes), a truncated "
            "or another file; fetch it again."
        )
    return content


def read_arrays(content: bytes, name: str) -> list[np.ndarray]:
    """The arrays in a file that `numpy.save` wrote under Python 2.7, or in a bare pickle of their list.

    Nothing that the pickle names is looked up or called, but for what makes NumPy arrays of numbers.

    Args:
        name: of the file, for messages.

    Raises:
        InputError: no pickle, or a truncated one; one that names anything else; one of anything but arrays.
    """
    file = io.BytesIO(content)
    try:
        if content.startswith(np.lib.format.MAGIC_PREFIX):
            _, _, kind = _HEADERS[np.lib.format.read_magic(file)](file)
            if not kind.hasobject:
                raise ValueError(f"one array of {kind}")
        found = _ArrayUnpickler(file, encoding="latin1").load()
        if isinstance(found, np.ndarray) and found.dtype == object and found.ndim == 1:
            found = found.tolist()
        if not isinstance(found, list):
            raise ValueError(f"a {type(found).__name__}")
    except _ForbiddenError as error:
        raise InputError(
            f"{name}: expected NumPy arrays and nothing else, got a pickle that names {error}; do not use this file."
        ) from error
    except Exception as error:  # a damaged pickle makes pickle raise almost anything
        raise InputError(
            f"{name}: expected a pickled list of arrays, got {error or type(error).__name__}; fetch the file again."
        ) from error
    for number, array in enumerate(found):
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
            what = f"one of {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
            raise InputError(f"{name}: expected an array of numbers at place {number}, got {what}; fetch the file again.")
    return found


class _ForbiddenError(pickle.UnpicklingError):
    """A pickle names what does not make an array of numbers."""


def _empty_array(*_) -> np.ndarray:
    """What NumPy's pickles begin an array with; its state says all the rest."""
    return np.ndarray((0,), "b")


def _element(code: str, *_) -> np.dtype:
    if not re.fullmatch(r"[fiu][1248]|O[48]", code):
        raise _ForbiddenError(f"elements {code!r}")
    return np.dtype(code[0] if code[0] == "O" else code)


#: All that a pickle may name. The class itself is only named in these, never called: a word takes its place.
_NAMES = {("numpy", "ndarray"): "ndarray", ("numpy", "dtype"): _element} | {
    (module, "_reconstruct"): _empty_array for module in ("numpy.core.multiarray", "numpy._core.multiarray")
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _NAMES:
            raise _ForbiddenError(f"{module}.{name}")
        return _NAMES[module, name]
