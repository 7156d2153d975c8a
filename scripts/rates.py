"""The table of the peak rates that were tried, from `benchmarks/results`: accuracy on held-out training images by rate."""

import json
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results"


def by_rate(trials: dict[str, float | None]) -> dict[float, float | None]:
    """{rate: mean accuracy over the networks of a family that tried it, None if one diverged}, lowest rate first."""
    found: dict[float, list[float | None]] = {}
    for name, accuracy in trials.items():
        found.setdefault(float(name.rpartition("peak ")[2]), []).append(accuracy)
    return {rate: None if None in found[rate] else float(np.mean(found[rate])) for rate in sorted(found)}


def table(results: Path = RESULTS) -> str:
    """One line for each family of networks of each file; the best rate in bold."""
    lines = []
    for path in sorted(results.glob("peak-rates-*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        for family, trials in content["families"].items():
            tried = by_rate(trials)
            best = max((rate for rate in tried if tried[rate] is not None), key=tried.get, default=None)
            cells = [_cell(rate, accuracy, rate == best) for rate, accuracy in tried.items()]
            lines.append(f"| {content['profile']}, {content['half']} | {family} | {', '.join(cells)} |")
    if not lines:
        return "*Not run yet.*\n"
    head = ["| profile, half | family | peak rate: accuracy |", "|---|---|---|"]
    words = "Peak rates that `benchmarks.peak_rates` tried: accuracy on held-out training images, mean over levels."
    return "\n".join([words, "", *head, *lines, ""])


def _cell(rate: float, accuracy: float | None, best: bool) -> str:
    said = f"{rate:g}: {'diverged' if accuracy is None else f'{accuracy:.3f}'}"
    return f"**{said}**" if best else said
