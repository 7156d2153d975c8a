"""Figures 6 and 11: AlexNet's first filters, and which classes gain. Conventions as in `figures`."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from dclib.errors import InputError
from dclib.figures.curves import NAMES, STYLE, TITLES, WIDTH

#: Dark blue for gains, grey where nothing differs, light yellow for losses: told apart by every reader, and in print
#: without colour, because the lightness falls all the way.
DIFFERENCE = mpl.colormaps["cividis_r"]


def filters(weights: np.ndarray, order: Sequence[int], what: str, *, colour_specific: np.ndarray | None = None) -> Figure:
    """Filters as small pictures, row by row in `order` (Figure 6).

    Args:
        weights: [N, 3, k, k]; each is stretched to the whole range for the eye.
        order: indices of the filters to show, first at the top left.
        what: names the choice, for title and alt text.
        colour_specific: bool [N]; these get a frame.
    """
    if not len(order):
        raise InputError("filters: expected at least one filter to show, got none.")
    columns = 12
    rows = -(-len(order) // columns)
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(WIDTH, 0.36 * rows + 0.45), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
    figure.suptitle(what, fontsize=11, x=0.02, ha="left")
    for axes in grid:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for axes, number in zip(grid, order):
        picture = np.asarray(weights[number], dtype=float).transpose(1, 2, 0)
        low, high = picture.min(), picture.max()
        axes.imshow((picture - low) / max(high - low, 1e-12), interpolation="nearest")
        if colour_specific is not None and colour_specific[number]:
            axes.spines[:].set(visible=True, linewidth=1.6, color="#d55e00")
    counted = ""
    if colour_specific is not None:
        count = int(np.sum(np.asarray(colour_specific)[list(order)]))
        counted = f" {count} of them respond to colour and are framed; {len(order) - count} hardly do."
    figure.alt_text = (f"{what}: {len(order)} filters of {weights.shape[-1]} by {weights.shape[-2]} pixels as small "
                       f"pictures, in rows of {columns}.{counted}")
    return figure


def class_difference(difference: np.ndarray, names: Sequence[str], distortion: str, source: str) -> Figure:
    """Accuracy per class of one network minus that of another (Figure 11).

    Up to 40 classes are bars with their names, sorted; more are squares of a heat map in the order of labels, as in
    the paper.

    Args:
        difference: [classes], in -1..1; positive where the first network is better.
        names: of the classes.
    """
    difference = np.asarray(difference, dtype=float)
    better, worse = int((difference > 0).sum()), int((difference < 0).sum())
    limit = max(float(np.abs(difference).max()), 0.01)
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        if len(difference) <= 40:
            figure = _bars(difference, names, limit)
        else:
            figure = _squares(difference, limit)
    figure.suptitle(f"Deepcorr-5 against Finetune-8\n{TITLES[distortion]}: {source}", fontsize=11, x=0.02, ha="left")
    most, least = int(difference.argmax()), int(difference.argmin())
    figure.alt_text = (
        f"Per-class accuracy of Deepcorr-5 minus that of Finetune-8 under {NAMES[distortion]}, {source}: Deepcorr-5 is "
        f"better for {better} classes, worse for {worse}, equal for {len(difference) - better - worse}. It gains most for "
        f"{names[most]} ({difference[most]:+.3f}) and least for {names[least]} ({difference[least]:+.3f}).")
    return figure


def _bars(difference: np.ndarray, names: Sequence[str], limit: float) -> Figure:
    figure = Figure(figsize=(WIDTH, 0.21 * len(difference) + 0.9), layout="constrained")
    axes = figure.subplots()
    order = np.argsort(difference)
    colours = [DIFFERENCE(0.5 + 0.5 * np.sign(d)) for d in difference[order]]
    axes.barh(range(len(order)), difference[order], color=colours, edgecolor="0.3", linewidth=0.5)
    axes.set_yticks(range(len(order)), [names[i].replace("_", " ") for i in order], fontsize=9)
    axes.axvline(0, color="0.3", linewidth=0.8)
    axes.set(xlim=(-1.1 * limit, 1.1 * limit), xlabel="gain in accuracy")
    return figure


def _squares(difference: np.ndarray, limit: float) -> Figure:
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    axes = figure.subplots()
    side = int(np.ceil(np.sqrt(len(difference))))
    padded = np.full(side * side, np.nan)
    padded[:len(difference)] = difference
    image = axes.imshow(padded.reshape(side, side), cmap=DIFFERENCE, vmin=-limit, vmax=limit, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    figure.colorbar(image, ax=axes, label="gain in accuracy", shrink=0.85)
    return figure
