"""Every kind of file that is kept, written once under strace; and what the calls say about a power cut between any two.

A power cut may leave any part of what was not yet synchronised: data without their name, a name without its data. So

1. a file is synchronised between the last write to it and the call that gives it its name;
2. the folder is synchronised after that and before anything else is deleted, as a checkpoint is when its record is there;
3. nothing is written to a file under its own name.

usage: python -m benchmarks.power_cuts FOLDER      (under strace, by benchmarks.faults)
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_LINE = re.compile(r"^\d+\s+(?P<name>\w+)\((?P<arguments>.*)\)\s+=\s+(?P<result>-?\d+)")
_QUOTED = re.compile(r'"([^"]*)"')
_FILE = re.compile(r"^(?:AT_FDCWD<[^>]*>|\d+<(?P<path>[^>]*)>)")
_WRITES = {"write", "pwrite64", "writev", "ftruncate"}
_SYNCS = {"fsync", "fdatasync"}


@dataclass(frozen=True)
class Call:
    """A call that succeeded: "write", "sync", "rename" (`source` becomes `path`) or "delete"."""

    name: str
    path: str
    source: str = ""


def calls_in(log: Path, folder: Path) -> list[Call]:
    """What a log of strace (-f -y) says of files in `folder`, in order."""
    found = []
    for line in log.read_text(errors="replace").splitlines():
        if (match := _LINE.match(line)) is None or int(match["result"]) < 0:
            continue
        name, arguments = match["name"], match["arguments"]
        quoted, file = _QUOTED.findall(arguments), _FILE.match(arguments)
        path = (file and file["path"]) or ""
        if name.startswith("rename"):
            found.append(Call("rename", quoted[1], quoted[0]))
        elif name.startswith("unlink"):
            found.append(Call("delete", quoted[0]))
        elif name in _WRITES or name in _SYNCS:
            found.append(Call("write" if name in _WRITES else "sync", path))
        elif name == "mmap" and "MAP_SHARED" in arguments and "PROT_WRITE" in arguments:
            inside = re.search(r"\d+<([^>]*)>", arguments)
            found.append(Call("write", inside[1] if inside else ""))
    return [call for call in found if str(folder) in call.path]


def _temporary(name: str) -> bool:
    """Whether nobody looks for a file under its name: a lock, our own unfinished files and those of safetensors."""
    return name.endswith((".partial", ".lock")) or name.startswith(".tmp")


def violations(calls: Sequence[Call]) -> list[str]:
    """Where the three rules are broken, in words."""
    broken, unsynced, unnamed = [], set(), {}
    for call in calls:
        name = Path(call.path).name
        if call.name == "write":
            unsynced.add(call.path)
            if not _temporary(name):
                broken.append(f"{name} is written under its own name")
        elif call.name == "sync":
            unsynced.discard(call.path)
            unnamed = {path: folder for path, folder in unnamed.items() if folder != call.path}
        elif call.name == "rename":
            waiting = call.source in unsynced
            unsynced.discard(call.source)
            if _temporary(name):
                unsynced |= {call.path} if waiting else set()
                continue
            if waiting:
                broken.append(f"{name} gets its name before its contents are on the disk")
            unnamed[call.path] = str(Path(call.path).parent)
        elif call.name == "delete" and unnamed and not _temporary(name):
            broken.append(f"{name} is deleted while the name of {', '.join(Path(p).name for p in unnamed)} may be lost")
    return broken


def write_everything(folder: Path) -> None:
    """A run with its checkpoints, record and weights; an archive out and in; a corrected network; decoded images; a figure."""
    import numpy as np
    import torch
    from matplotlib.figure import Figure
    from PIL import Image

    from dclib import correction
    from dclib.datasets.cache import decoded
    from dclib.execution import obtain
    from dclib.execution.checkpoint import Parts
    from dclib.experiments import baseline, profile
    from dclib.figures.files import write
    from dclib.results import Store

    torch.set_num_threads(1)
    store, run = Store(folder / "results"), baseline(profile("smoke"))
    parts = Parts(run, store.checkpoint(run))
    parts.write()
    store.checkpoint(run).unlink()
    obtain(run, store)
    store.export(folder / "all.zip", "all")
    Store(folder / "imported").import_(folder / "all.zip")
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten())
    correction.save(correction.correct(model, {"0": [0]}), folder / "n.safetensors")
    (folder / "images").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(folder.parent / "a.png")
    decoded("d", folder.parent, ["a.png"])
    write([Figure()], folder / "figure.png")


if __name__ == "__main__":
    import os

    where = Path(sys.argv[1])
    where.mkdir(parents=True)
    os.environ["DCLIB_CACHE"] = str(where / "cache")
    write_everything(where)
