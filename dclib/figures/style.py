"""Colour, marker and dash of lines: a method keeps its own in every figure, whatever else is drawn beside it."""

import re

import seaborn as sns

COLOURS = [sns.color_palette("colorblind")[i] for i in (0, 1, 2, 4, 7, 9, 3, 5, 8)]
MARKERS = "osD^vPX*h"
DASHES = ["-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)), (0, (8, 2))]
GREY = "0.45"
DEPTHS = (1, 3, 6, 9)  # the paper's k: each keeps its colour whatever else is drawn
#: So does each row of AlexNet's tables, where k hardly differs, and each kind of unit in a network of another depth.
ALEXNET_ROWS = ("Deepcorr-5", "Deepcorr-5c", "Deepcorr-5-no-bn", "Finetune-8", "BM3D", "NCSR", "Deepcorr-5-lite",
                "Deepcorr-5-bottleneck")
SHARES = (6, 12, 24, 48)  # of Figure 9: filters of conv1 that are corrected
ORDERS = {"ranked": "-", "random": "--", "least": ":"}


def look(i: int) -> dict:
    """Of the i-th line of a figure whose lines are no methods."""
    return {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)],
            "linestyle": DASHES[i % len(DASHES)]}


def look_of(method: str, i: int) -> dict:
    """Of a method by its name in the paper; of the i-th line where the name says nothing.

    Finetune-k is dashed, Deepcorr-k solid, Deepcorr-kc dash-dotted, the baseline dotted; equal k share colour and marker.
    Of Figure 9's choices of filters equal numbers share colour and marker: ranked solid, random dashed, least dotted.
    """
    if method == "Baseline":
        return {"color": GREY, "linestyle": ":", "marker": "x"}
    row = re.sub(r"^Deepcorr-\d+-", "Deepcorr-5-", method.rpartition("for ")[2])
    if row in ALEXNET_ROWS:
        return look(ALEXNET_ROWS.index(row)) | ({"linestyle": "--"} if row.startswith("Finetune") else {})
    if k := _depth(method):
        dash = "--" if method.startswith("Finetune") else "-." if method.endswith("c") else "-"
        return look(DEPTHS.index(k) if k in DEPTHS else k) | {"linestyle": dash}
    if chosen := re.fullmatch(r"(ranked|random)_(\d+)(_least)?", method):
        order, share = "least" if chosen[3] else chosen[1], int(chosen[2])
        return look(SHARES.index(share) if share in SHARES else share) | {"linestyle": ORDERS[order]}
    return look(len(DEPTHS) + i)  # unlike any depth's


def _depth(method: str) -> int | None:
    """k of Finetune-k, Deepcorr-k and Deepcorr-kc."""
    match = re.fullmatch(r"(?:Finetune|Deepcorr)-(\d+)c?", method)
    return int(match[1]) if match else None
