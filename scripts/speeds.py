"""The tables of benchmarks/README.md: every ratio that a result file in benchmarks/results holds, losses first."""

import json
from collections.abc import Iterator
from pathlib import Path

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results"
#: What an entry may be compared with, and how its table begins.
KINDS = {
    ("ratio", "ratio_to_one_process_of_all_threads"): (
        "How many times as long the named way takes as `dclib`'s. Below 1 `dclib` is slower. Entries with *processes* are the "
        "images a second of two processes beside those of one with two threads.",
        "the other way",
    ),
    ("of_limit",): (
        "The whole book, built from a clone, as a share of what a service for reproducible preprints allows: 8 hours on two "
        "cores, 7.5 GB of memory, 10 GB of disk, of which the environment takes the most.",
        "build",
    ),
    ("of_operations",): (
        "Images a second as a share of what the count of operations allows at the rate of the first network of its group.",
        "training",
    ),
}


def entries(keys: tuple[str, ...], results: Path = RESULTS) -> Iterator[tuple[float, str, dict, dict]]:
    """(ratio, suite, entry, environment) of every entry that has one of these keys."""
    for path in sorted(results.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        for entry in content.get("entries", ()):
            for key in keys:
                if key in entry:
                    yield entry[key], content["suite"], entry, content["environment"]


def tables(results: Path = RESULTS) -> str:
    """One table for each of `KINDS`, the smallest ratio first, with median, spread, processor and commit."""
    lines = []
    for keys, (words, other) in KINDS.items():
        found = sorted(entries(keys, results), key=lambda row: row[:2])
        if not found:
            continue
        below = sum(ratio < 1 for ratio, *_ in found)
        lines += [
            words,
            "",
            f"{below} of {len(found)} below 1.",
            "",
            f"| ratio | suite | {other} | median (lowest to highest) | processor, commit |",
            "|---:|---|---|---|---|",
            *(_row(*row) for row in found),
            "",
        ]
    return "\n".join(lines) or "*Not run yet.*\n"


def _row(ratio: float, suite: str, entry: dict, made_on: dict) -> str:
    spread = f"{entry['median']:.4g} ({entry['lowest']:.4g} to {entry['highest']:.4g}) {entry['unit']}"
    processor = made_on["device"].replace("(R)", "")
    return f"| {ratio:.2f} | {suite} | {entry['name']} | {spread} | {processor}, `{made_on['commit']}` |"
