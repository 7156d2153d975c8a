"""What methods cost in time and memory, as Markdown for a page, from the files that the benchmarks wrote.

`folder` is that of the files. Where none is there, the text says so, with the command that makes it.
"""

import json
from collections.abc import Callable
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks" / "results"


def restoration(folder: Path = BENCHMARKS) -> str:
    """Seconds an image of the rivals in Tables 7 and 8, beside a corrected network's forward pass."""
    return _text(
        "What restoration costs",
        "Seconds an image of 227×227 pixels, medians; restoration comes on top of "
        "AlexNet's forward pass, correction is inside of its own.",
        "restoration",
        folder,
        _restoration_lines,
    )


def ranking(folder: Path = BENCHMARKS) -> str:
    """Seconds and bytes of Algorithm 1 over AlexNet's 1376 filters, beside one forward pass per filter."""
    return _text(
        "What the ranking costs",
        "All 1376 filters at one level, beside one full forward pass per filter at equal "
        "batch size; nothing is kept on disk.",
        "alexnet_ranking",
        folder,
        _ranking_lines,
    )


def _text(title: str, what: str, benchmark: str, folder: Path, lines_of: Callable[[dict], list[str]]) -> str:
    command = f"python -m benchmarks.{benchmark}"
    found = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob(f"{benchmark.replace('_', '-')}-*.json"))
    ]
    if not found:
        return f"**{title}.** *Not run yet*; measure it with `{command}`."
    text = [f"**{title}.** {what} Measured with `{command}`."]
    for result in found:
        threads = result["environment"]["threads"]
        text += [
            "",
            f"{result['environment']['device']}, {result['cores']} cores, PyTorch on {threads}:",
            "",
            *lines_of(result),
        ]
    return "\n".join(text)


def _restoration_lines(result: dict) -> list[str]:
    lines = ["| what is timed | seconds an image | of Deepcorr-5's |", "|---|---:|---:|"]
    for entry in result["entries"]:
        ratio = f"{entry['ratio']:.3g} times" if "ratio" in entry else "–"  # times of Deepcorr-5's own seconds
        lines.append(f"| {entry['name']} | {entry['median']:.3g} | {ratio} |")
    return lines


def _ranking_lines(result: dict) -> list[str]:
    seconds = {tuple(entry["name"].split(": ")): entry["median"] for entry in result["entries"]}
    layers = dict.fromkeys(layer for layer, _ in seconds)
    lines = [
        f"| layer | seconds here, {result['images']} images | seconds naively | times as fast |",
        "|---|---:|---:|---:|",
    ]
    rows = [(layer, seconds[layer, "shortcut"], seconds[layer, "naive"]) for layer in layers]
    rows.append(("all", sum(ours for _, ours, _ in rows), sum(naive for _, _, naive in rows)))
    lines += [f"| {name} | {ours:.3g} | {naive:.3g} | {naive / ours:.2f} |" for name, ours, naive in rows]
    ours, naive = (result["peak_bytes"][way] / 1e9 for way in ("shortcut", "naive"))
    return [*lines, "", f"Peak memory {ours:.2f} GB here and {naive:.2f} GB naively."]
