"""Timing and result files that all benchmarks share."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch

from dclib.execution.environment import environment

FOLDER = Path(__file__).parent / "results"


def seconds(work: Callable[[], object], device: str = "cpu", repeats: int = 7, *, warm_up: bool = True) -> list[float]:
    """Wall-clock seconds of `repeats` calls, after one call that does not count."""
    if warm_up:
        work()
    times = []
    for _ in range(repeats):
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        times.append(time.perf_counter() - start)
    return times


def taking_turns(work: dict[str, Callable[[], object]], device: str = "cpu", repeats: int = 3) -> dict[str, list[float]]:
    """`seconds` of several works in turn, so that a change in the machine's load meets all of them; no warm-up."""
    rounds = [{name: seconds(call, device, 1, warm_up=False)[0] for name, call in work.items()} for _ in range(repeats)]
    return {name: [times[name] for times in rounds] for name in work}


def entry(name: str, times: list[float], count: int, unit: str, **more) -> dict:
    """Median and spread of `times`, per item where `count` items were worked on in each."""
    per_item = sorted(t / count for t in times)
    return {"name": name, "unit": unit, "median": statistics.median(per_item), "lowest": per_item[0],
            "highest": per_item[-1], "repeats": len(times), **more}


def write(suite: str, entries: list[dict], device: str, packages: tuple[str, ...] = (), **more) -> Path:
    """One JSON file per suite and kind of machine: entries, machine, versions. Prints the table too."""
    machine = f"{platform.machine()}-{os.cpu_count()}cores" if device == "cpu" else environment(device)["device"]
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{suite}-{machine.replace(' ', '-')}.json"
    content = {"suite": suite, "environment": environment(device), "cores": os.cpu_count(),
               "versions": {p: version(p) for p in ("torch", "numpy", *packages)}, "entries": entries, **more}
    path.write_text(json.dumps(content, indent=1) + "\n")
    for e in entries:
        extra = "".join(f"  {k} {v:.2f}" for k, v in e.items() if k.startswith("ratio"))
        print(f"{e['name']:60} {e['median']:10.4g} {e['unit']} ({e['lowest']:.4g} to {e['highest']:.4g}){extra}")
    print(f"Written to {path}.")
    return path


def _wait(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
