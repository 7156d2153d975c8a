"""The machine and the versions that a record was made with."""

import datetime
import os
import platform
import re
import subprocess
import sys
import tomllib
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import torch

import dclib
from dclib.errors import InputError


def environment(device: str = "cpu") -> dict:
    """What the outcome may depend on besides the description."""
    return {
        "device": device_name(device),
        # One name stands for several kinds of processors, of which each rounds by its own widest instructions.
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "dclib": dclib.__version__,
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def device_name(device: str) -> str:
    """The graphics card's name, or the processor's."""
    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else _processor()


#: What tells graphics cards by their names in torch from processors, of which some are "with Radeon Graphics"; a record's
#: environment names no more than the device.
_CARD = re.compile(r"NVIDIA|GeForce|Quadro|Tesla|Instinct|(?<!with )Radeon")


def is_graphics_card(name: str) -> bool:
    """Whether a `device_name` is that of a graphics card, and not of a processor."""
    return _CARD.search(name) is not None


@lru_cache
def commit() -> str:
    """The checkout's commit, with "+" behind it if dclib was changed since; "unknown" outside of a checkout of dclib.

    A repository that holds an environment in which dclib is installed, or a copy of it, is not a checkout of it.
    """
    package = Path(__file__).resolve().parents[1]
    root = package.parent
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8")).get("project", {}).get("name")
        top = _git(root, "rev-parse", "--show-toplevel")
        if project != "dclib" or top is None or not Path(top).samefile(root):
            return "unknown"
        head, changed = _git(root, "rev-parse", "--short=12", "HEAD"), _git(root, "status", "--porcelain", package.name)
    except (OSError, ValueError):
        return "unknown"
    return "unknown" if head is None else head + ("+" if changed else "")


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says in `folder`, whatever repository the variables of a hook name; None where it fails."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, errors="replace", env=variables)
    return done.stdout.strip() if done.returncode == 0 else None


def check_device(device: str) -> None:
    """`InputError` unless torch can compute on `device` ("cpu", "cuda", "cuda:1")."""
    try:
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(
            f"device: expected one that this machine has, got {device!r} ({str(error).splitlines()[0]}); use cpu."
        ) from error


def peak_bytes(device: str) -> int | None:
    """The most memory that this process has held since `forget_peak`, on the graphics card where `device` is one.

    None where the system does not say.
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError, StopIteration, ValueError, IndexError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # Windows
        return None
    return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)  # macOS counts bytes


def forget_peak(device: str) -> None:
    """Let `peak_bytes` count from now on, where the system can; else it goes on counting from the process's start."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def free_bytes(device: str) -> int | None:
    """Memory that new processes can have, on the graphics card where `device` is one; None where the system does not say."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = []
    with suppress(OSError, StopIteration, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free.append(int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024)
    for limit, used in (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")):
        with suppress(OSError, ValueError):  # no limit: "max"
            folder = Path("/sys/fs/cgroup")
            free.append(int((folder / limit).read_text()) - int((folder / used).read_text()))
    return min(free, default=None)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
