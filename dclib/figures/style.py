"""What all figures share: names, sizes, and the colour, marker and dash of lines.

A method keeps its look in every figure, whatever else is drawn beside it.
"""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dclib.errors import InputError

COLOURS = [sns.color_palette("colorblind")[i] for i in (0, 1, 2, 4, 7, 9, 3, 5, 8)]
MARKERS = "osD^vPX*h"
DASHES = ["-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)), (0, (8, 2))]
GREY = "0.45"
DEPTHS = (1, 3, 6, 9)  # the paper's k: each keeps its colour whatever else is drawn
#: So does each row of AlexNet's tables, where k hardly differs, and each kind of unit in a network of another depth.
ALEXNET_ROWS = (
    "Deepcorr-5",
    "Deepcorr-5c",
    "Deepcorr-5-no-bn",
    "Finetune-8",
    "BM3D",
    "NCSR",
    "Deepcorr-5-lite",
    "Deepcorr-5-bottleneck",
)
UNITS_OF_TABLE_10 = ("no-bn", "lite", "bottleneck")
SHARES = (6, 12, 24, 48)  # of Figure 9: filters of conv1 that are corrected
ORDERS = {"ranked": "-", "random": "--", "least": ":"}
WIDTH = 4.3
STYLE = {
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "legend.handlelength": 2.6,
    "legend.columnspacing": 1.2,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.88",
    "axes.axisbelow": True,
    "lines.markersize": 5,
    "lines.linewidth": 1.6,
    "svg.hashsalt": "dclib",
}
CAPTION = "color:inherit;font-weight:400;font-size:0.9rem;text-align:left;margin:0.4rem 0"


def look(i: int) -> dict:
    """Of the i-th line of a figure whose lines are no methods."""
    return {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)], "linestyle": DASHES[i % len(DASHES)]}


def _looks() -> dict[str, dict]:
    """The look of each method by its name in the paper.

    Finetune-k is dashed, Deepcorr-k solid, Deepcorr-kc dash-dotted, the baseline dotted; equal k share colour and marker.
    Of Figure 9's choices of filters equal numbers share colour and marker: ranked solid, random dashed, least dotted.
    """
    looks = {"Baseline": {"color": GREY, "linestyle": ":", "marker": "x"}}
    for k in range(1, 10):
        of_depth = look(DEPTHS.index(k) if k in DEPTHS else k)
        looks |= {
            f"Finetune-{k}": of_depth | {"linestyle": "--"},
            f"Deepcorr-{k}": of_depth | {"linestyle": "-"},
            f"Deepcorr-{k}c": of_depth | {"linestyle": "-."},
        }
        looks |= {f"Deepcorr-{k}-{unit}": look(ALEXNET_ROWS.index(f"Deepcorr-5-{unit}")) for unit in UNITS_OF_TABLE_10}
    looks |= {
        row: look(i) | ({"linestyle": "--"} if row.startswith("Finetune") else {}) for i, row in enumerate(ALEXNET_ROWS)
    }
    for i, share in enumerate(SHARES):
        for name, order in (
            (f"ranked_{share}", "ranked"),
            (f"random_{share}", "random"),
            (f"ranked_{share}_least", "least"),
        ):
            looks[name] = look(i) | {"linestyle": ORDERS[order]}
    return looks


def look_of(key: str, i: int) -> dict:
    """Of a method by its name in the paper; of the i-th line where that is no method's."""
    return dict(_LOOKS.get(key) or look(len(DEPTHS) + i))  # unlike any depth's


def panel(title: str, height: float = 3.5) -> tuple[Figure, Axes]:
    """One panel with its title at the left."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.subplots()
    axes.set_title(title, loc="left")
    return figure, axes


def course(values: Sequence[float], form: str = ".3f") -> str:
    """In words, from the first to the last value: "falls from 0.700 to 0.100"."""
    first, last = (f"{float(v):{form}}" for v in (values[0], values[-1]))
    if first == last:
        return f"ends where it starts, at {first}"
    return f"{'rises' if float(values[-1]) > float(values[0]) else 'falls'} from {first} to {last}"


def not_empty(curves: Mapping | Sequence) -> None:
    """`InputError` where there is nothing to draw."""
    if not len(curves):
        raise InputError("figure: expected at least one curve, got none; make the runs first.")


def with_alt(figure: Figure, text: str) -> Figure:
    """`figure` with its alt text."""
    figure.alt_text = text
    return figure


def short(name: str) -> str:
    """A class name for small print."""
    words = name.replace("_", " ").removesuffix(" left")
    return words if len(words) <= 14 else words[:13].rstrip() + "…"


_LOOKS = _looks()
