"""The paper's tables dressed as records, so that the paper's text can be judged by its own tables."""

from dataclasses import dataclass

import numpy as np

from dclib import paper
from dclib.verdicts.source import Measure, Sourced, Swaps

WORDS = {"cifar100", "imagenet", "caltech101", "caltech256", "sun397", "blur", "awgn"}


@dataclass(frozen=True)
class PaperRecord(Sourced):
    accuracy: np.ndarray
    correct: None = None
    id: str = "paper"
    seed: int = 0
    choice: None = None
    draws: None = None
    test_images: None = None
    classes: None = None


def lookup(table: int, method: str) -> list[PaperRecord]:
    """One record per printed row; Table 6 prints p-values only, so its methods have none."""
    if table == 6:
        return []
    row = _row(table, method)
    return [PaperRecord(np.array(row.get("accuracy", [row["average"]])))]


def parameters(table: int, method: str) -> int | None:
    """Trained parameters as the table prints them; the ImageNet half gives millions."""
    row = _row(table, method)
    millions = row.get("parameters_millions")
    return row.get("parameters") or (round(millions * 1e6) if millions else None)


def _row(table: int, method: str) -> dict:
    name, _, word = method.rpartition(" ")
    if not name:
        name, word = method, ""
    where = {"dataset" if word not in ("blur", "awgn") else "distortion": word} if word in WORDS else {}
    return paper.row(table, name, **where)


def swaps(dataset: str, distortion: str) -> Swaps:
    return Swaps(paper.swap_fractions(dataset, distortion))


def run_to_run(table: int, level: int | None) -> None:
    """Nothing but the authors' spread."""


def measure(name: str) -> Measure | None:
    """Numbers of Figure 11 and Table 10 that the paper prints, and what the authors' published swaps say."""
    if name.startswith("susceptible_imagenet_"):
        gains = paper.single_swaps()["gain"][name.rpartition("_")[2]].values()
        positive = [sorted((max(sum(levels), 0) for levels in gain), reverse=True) for gain in gains]
        return Measure(min(sum(p[: len(p) // 4]) / sum(p) for p in positive), exact=True)
    counts = {"figure11_net_classes_blur": (865, 121), "figure11_net_classes_awgn": (707, 257)}
    if name in counts:
        better, worse = counts[name]
        return Measure((better - worse) / 1000)
    if name.startswith("table10_operations_saved_"):
        fewer, _, than = name.removeprefix("table10_operations_saved_").partition("_of_")
        than = f"Deepcorr-5-{than}" if than else "Deepcorr-5"
        return Measure(1 - _operations(f"Deepcorr-5-{fewer}") / _operations(than))
    return None


def _operations(method: str) -> float:
    return sum(unit["flops"] for unit in paper.row(10, method)["units"])
