"""The paper's tables dressed as records, so that the paper's text can be judged by its own tables."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dclib import paper
from dclib.verdicts.source import Measure, Sourced, Swaps

WORDS = {"cifar100", "imagenet", "caltech101", "caltech256", "sun397", "blur", "awgn"}


@dataclass(frozen=True)
class PaperRecord(Sourced):
    accuracy: np.ndarray
    hits: None = None
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


def measure(test: Mapping) -> Measure | None:
    """Numbers of Figure 11 and Table 10 that the paper prints, and what the authors' published swaps say."""
    if test["quantity"] == "susceptible" and test["dataset"] == "imagenet":
        gains = paper.single_swaps()["gain"][test["distortion"]].values()
        positive = [sorted((max(sum(levels), 0) for levels in gain), reverse=True) for gain in gains]
        return Measure(min(sum(p[: len(p) // 4]) / sum(p) for p in positive), exact=True)
    if test["quantity"] == "net_classes":
        better, worse = {"blur": (865, 121), "awgn": (707, 257)}[test["distortion"]]
        return Measure((better - worse) / 1000)
    if test["quantity"] == "operations_saved":
        return Measure(1 - _operations(test["units"]) / _operations(test["reference"]))
    return None


def _operations(method: str) -> float:
    return sum(unit["flops"] for unit in paper.row(10, method)["units"])
