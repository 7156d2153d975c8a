"""The whole book against what a service for reproducible preprints allows: time, memory and disk of `make book`.

usage: python -m benchmarks.book [--profile miniature]
A clone of the last commit is built in an empty folder. The environment is the one that is there: its installation takes no
time here, but its disk counts. Beside the clone nothing else should run. Linux only: memory is what processes share counted
once (PSS).
"""

import argparse
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import psutil

from benchmarks.measure import entry, write

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
#: What such a service gives to one submission, on two cores; a gigabyte is 10^9 bytes.
LIMITS = {"s": 8 * 3600, "GB of memory": 7.5, "GB of disk": 10}


def disk(folder: Path) -> int:
    """The bytes that the files under a folder take, links not followed; files that vanish meanwhile count nothing."""
    total = 0
    for inside, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(inside, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def memory(process: psutil.Process) -> int:
    """The bytes of a process and of all that it started, shared pages once."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # it has just ended
            continue
    return total


class Peaks:
    """The highest `memory` of a process and the highest `disk` of a folder, while the `with` block lasts.

    Memory is looked at twice a second; disk, where only files that come and go could be missed, every tenth time.
    """

    def __init__(self, process: psutil.Process, folder: Path) -> None:
        self.memory = self.disk = 0
        self._process, self._folder, self._over = process, folder, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Peaks":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.disk = max(self.disk, disk(self._folder))

    def _look(self) -> None:
        looks = 0
        while not self._over.wait(0.5):
            try:
                self.memory = max(self.memory, memory(self._process))
            except psutil.NoSuchProcess:
                return
            if looks % 10 == 0:
                self.disk = max(self.disk, disk(self._folder))
            looks += 1


def build(profile: str, folder: Path) -> tuple[float, Peaks]:
    """Seconds and peaks of `make book` in a clone of the last commit under `folder`. Raises CalledProcessError."""
    clone, scratch = folder / "book", folder / "tmp"
    scratch.mkdir()
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", ROOT, clone], check=True)
    (clone / ".venv").symlink_to(ENVIRONMENT)
    # The environment was made for another checkout and is older than this one's pyproject.toml: take it as it is.
    command = ["make", "-o", ".venv/installed", "book", f"PROFILE={profile}"]
    started = time.perf_counter()
    running = subprocess.Popen(command, cwd=clone, env={**os.environ, "PYTHONPATH": str(clone), "TMPDIR": str(scratch)})
    with Peaks(psutil.Process(running.pid), folder) as peaks:
        if code := running.wait():
            raise subprocess.CalledProcessError(code, command)
    return time.perf_counter() - started, peaks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="miniature")
    profile = parser.parse_args().profile
    if changed := subprocess.run(
        ["git", "status", "--porcelain", "-uno"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip():
        raise SystemExit(f"Expected a checkout without changes, got {len(changed.splitlines())} changed files: commit them.")
    with tempfile.TemporaryDirectory() as folder:
        took, peaks = build(profile, Path(folder))
    found = {"s": took, "GB of memory": peaks.memory / 1e9, "GB of disk": (peaks.disk + disk(ENVIRONMENT)) / 1e9}
    entries = [
        entry(f"make book PROFILE={profile}, {unit}", [value], 1, unit, of_limit=value / LIMITS[unit])
        for unit, value in found.items()
    ]
    write("book", entries, "cpu")


if __name__ == "__main__":
    main()
