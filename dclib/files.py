"""Files that are written whole or not at all, the one way in which this package writes; and the folders that users name."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dclib.errors import InputError


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary file to write, which takes the place of `path` in one step at the end of the block.

    Its name is unlike any other, so that several processes may write to one path: the last wins. It is on the disk before
    it gets its name, so that a power cut leaves the old file or the new one, and its name is there when the block ends, so
    that what is deleted next, as the checkpoint of a run that has its record, cannot be gone alone. After an error or an
    interrupt nothing is left. Errors pass on.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except BaseException:  # also when the user interrupts
        with suppress(OSError):  # the folder itself may be the trouble; the first error says so
            temporary.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    """Names of files on the disk; not every system lets a folder be opened, and those order names by themselves."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def write_whole(path: Path, content: bytes, advice: str = "choose another with DCLIB_RESULTS or --results") -> None:
    """Write `content` to `path` in one step, in a folder that is made where it is missing.

    Raises `InputError` where that cannot be; `advice` says what to do then.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise InputError(
            f"{path.parent}: expected a folder with room that can be written, got {error}; {advice}."
        ) from error


def named_folder(name: str) -> Path | None:
    """The folder that the environment variable `name` names, ``~`` for a home among it; None where it is not set."""
    if not (value := os.environ.get(name)):
        return None
    try:
        return Path(value).expanduser()
    except RuntimeError as error:
        raise InputError(
            f"{name}: expected a folder, got {value!r}, and no home folder for its ~; name it in full."
        ) from error


def default_folder(name: str) -> Path:
    """~/.cache/dclib, where no environment variable `name` names another folder."""
    try:
        return Path.home() / ".cache" / "dclib"
    except RuntimeError as error:
        raise InputError(
            f"{name}: expected a folder, got none, and no home folder that could hold it; set {name}."
        ) from error
