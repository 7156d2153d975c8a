"""Folders that environment variables name."""

import os
from pathlib import Path

from dclib.errors import InputError


def folder(name: str) -> Path | None:
    """The folder that the environment variable `name` names, ``~`` for a home among it; None where it is not set."""
    if not (value := os.environ.get(name)):
        return None
    try:
        return Path(value).expanduser()
    except RuntimeError as error:
        raise InputError(f"{name}: expected a folder, got {value!r}, and no home folder for its ~; name it in full."
                         ) from error


def home(name: str) -> Path:
    """~/.cache/dclib, where no environment variable `name` names another folder."""
    try:
        return Path.home() / ".cache" / "dclib"
    except RuntimeError as error:
        raise InputError(f"{name}: expected a folder, got none, and no home folder that could hold it; set {name}."
                         ) from error
