"""The machine and the versions that a record was made with."""

import datetime
import platform
import resource
import subprocess
from functools import lru_cache
from pathlib import Path

import torch

import dclib
from dclib.errors import InputError


def environment(device: str = "cpu") -> dict:
    """What the outcome may depend on besides the description."""
    name = torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else _processor()
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__,
            "python": platform.python_version(), "dclib": dclib.__version__, "commit": commit(),
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}


@lru_cache
def commit() -> str:
    """The checkout's commit, with "+" behind it if dclib was changed since; "unknown" outside of a checkout."""
    root = Path(__file__).parent
    try:
        head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=root, capture_output=True, text=True)
        changed = subprocess.run(["git", "status", "--porcelain", "."], cwd=root, capture_output=True, text=True)
    except OSError:
        return "unknown"
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "") if head.returncode == 0 else "unknown"


def check_device(device: str) -> None:
    """`InputError` unless torch can compute on `device` ("cpu", "cuda", "cuda:1")."""
    try:
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"device: expected one that this machine has, got {device!r} "
                         f"({str(error).splitlines()[0]}); use cpu.") from error


def peak_bytes(device: str) -> int:
    """The most memory that this process has held: on the graphics card where `device` is one, else of the machine."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
