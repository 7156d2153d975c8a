"""Figures 2, 10 and 11: how the features of classes cluster, and which classes gain."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dclib.errors import InputError
from dclib.figures.style import COLOURS, MARKERS, STYLE, WIDTH, short
from dclib.figures.words import NAMES, SYMBOLS, TITLES
from dclib.statistics import own_neighbours

#: Dark blue for gains, grey where nothing differs, light yellow for losses: told apart by every reader, and in print
#: without colour, because the lightness falls all the way.
DIFFERENCE = mpl.colormaps["cividis_r"]


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
        f"{names[most]} ({difference[most]:+.3f}) and least for {names[least]} ({difference[least]:+.3f})."
    )
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
    padded[: len(difference)] = difference
    image = axes.imshow(padded.reshape(side, side), cmap=DIFFERENCE, vmin=-limit, vmax=limit, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    figure.colorbar(image, ax=axes, label="gain in accuracy", shrink=0.85)
    return figure


def embeddings(
    points: Mapping[str, np.ndarray], labels: Sequence[int], classes: Sequence[str], distortion: str, sigmas: Sequence[float]
) -> Figure:
    """Figures 2 and 10: features in the plane, one row per network, one column per level, one point per image.

    Args:
        points: {network: coordinates [levels, images, 2]}, such as t-SNE's.
        labels: class of each image [images].
        classes: the names of the classes; they differ by colour and by marker.
        sigmas: per level, 0 for clean.
    """
    if not points:
        raise InputError("embeddings: expected the points of at least one network, got none.")
    labels = np.asarray(labels)
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(5.2, 1.75 * len(points) + 0.26 * -(-len(classes) // 3) + 0.3), layout="constrained")
        grid = figure.subplots(len(points), len(sigmas), squeeze=False)
    parts = []
    for row, (network, levels) in zip(grid, points.items()):
        shares = [own_neighbours(level, labels) for level in levels]
        for axes, level, share in zip(row, levels, shares, strict=True):
            _scatter(axes, np.asarray(level), labels, classes)
            axes.set_xlabel(f"{share:.0%} near\ntheir own", fontsize=9, labelpad=3)
        row[0].set_ylabel(network, fontsize=10)
        parts.append(
            f"{network}: "
            + ", ".join(f"{'clean' if sigma == 0 else f'σ = {sigma:g}'} {share:.0%}" for sigma, share in zip(sigmas, shares))
        )
    for axes, sigma in zip(grid[0], sigmas):
        axes.set_title("clean" if sigma == 0 else f"{SYMBOLS[distortion]} = {sigma:g}", fontsize=10, pad=4)
    figure.legend(
        *grid[0, 0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=9,
        handletextpad=0.1,
        columnspacing=0.8,
        markerscale=1.8,
    )
    figure.alt_text = (
        f"Scatter plots of {len(labels)} images of {len(classes)} classes by the features of a network, "
        f"under growing {NAMES[distortion]}. The share of points whose nearest neighbour is of their own "
        f"class: {'; '.join(parts)}."
    )
    return figure


def _scatter(axes: Axes, points: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> None:
    for number, name in enumerate(classes):
        own = points[labels == number]
        marker = MARKERS[(number + number // len(COLOURS)) % len(MARKERS)]  # no pair comes twice within 81 classes
        axes.scatter(
            own[:, 0], own[:, 1], s=9, marker=marker, color=COLOURS[number % len(COLOURS)], linewidths=0, label=short(name)
        )
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color="0.8")
