"""Timing and result files that all benchmarks share."""

import json
import os
import re
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
    return {
        "name": name,
        "unit": unit,
        "median": statistics.median(per_item),
        "lowest": per_item[0],
        "highest": per_item[-1],
        "repeats": len(times),
        **more,
    }


def file_name(suite: str, made_on: dict) -> str:
    """A file's name by suite, processor and dclib's version, as `environment` has them; so files of two machines differ."""
    processor = re.sub(r"[^A-Za-z0-9.]+", "-", re.sub(r"\((R|TM)\)", "", made_on["device"])).strip("-")
    return f"{suite}-{processor}-dclib{made_on['dclib']}.json"


def write(suite: str, entries: list[dict], device: str, packages: tuple[str, ...] = (), **more) -> Path:
    """One JSON file per suite, processor and version: entries, machine, versions. Prints the table too."""
    FOLDER.mkdir(exist_ok=True)
    made_on = environment(device)
    path = FOLDER / file_name(suite, made_on)
    content = {
        "suite": suite,
        "environment": made_on,
        "cores": os.cpu_count(),
        "versions": {p: version(p) for p in ("torch", "numpy", *packages)},
        "entries": entries,
        **more,
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    for e in entries:
        extra = "".join(f"  {k} {v:.2f}" for k, v in e.items() if k.startswith("ratio"))
        print(f"{e['name']:60} {e['median']:10.4g} {e['unit']} ({e['lowest']:.4g} to {e['highest']:.4g}){extra}")
    print(f"Written to {path}.")
    return path


def _wait(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
