"""Figures 1, 2 and 10: what a network says of single images, and how its features cluster. Conventions as in `figures`."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dclib.errors import InputError
from dclib.figures.curves import NAMES, STYLE, SYMBOLS
from dclib.figures.style import COLOURS, MARKERS
from dclib.statistics import own_neighbours

#: Dark enough to be read as small print; right and wrong also differ by their sign.
RIGHT, WRONG = "#0b5394", "#a63603"


def predictions(images: np.ndarray, classes: Sequence[str], predicted: Sequence[Sequence[str]], confidence: np.ndarray,
                distortion: str, sigmas: Sequence[float], source: str) -> Figure:
    """Figure 1: images along the levels, each with the network's first choice and its confidence.

    Args:
        images: values in 0..255 [images, levels, 3, H, W]; outside of it they are clipped for the screen only.
        classes: what each image shows.
        predicted: the first choice per image and level.
        confidence: its softmax probability [images, levels].
        sigmas: per level, 0 for clean. Four levels leave the names room.
        source: whose network it is.
    """
    if not len(images):
        raise InputError("predictions: expected at least one image, got none.")
    shown = np.clip(np.asarray(images, dtype=float) / 255, 0, 1).transpose(0, 1, 3, 4, 2)
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(5.2, 1.62 * len(shown) + 0.3), layout="constrained")
        grid = figure.subplots(*shown.shape[:2], squeeze=False)
    stories = []
    for row, pictures, truth, names, shares in zip(grid, shown, classes, predicted, np.asarray(confidence)):
        for axes, picture, name, share in zip(row, pictures, names, shares, strict=True):
            right = name == truth
            axes.imshow(picture, interpolation="nearest")
            axes.set_xlabel(f"{'✓' if right else '✗'} {_short(name)}\n{share:.0%}", fontsize=9, labelpad=3,
                            color=RIGHT if right else WRONG, fontweight="normal" if right else "bold")
        row[0].set_ylabel(_short(truth), fontsize=9)
        said = ", ".join(f"{'clean' if sigma == 0 else f'σ = {sigma:g}'} {'right' if name == truth else _short(name)} "
                         f"{share:.0%}" for sigma, name, share in zip(sigmas, names, shares))
        stories.append(f"{_short(truth)}: {said}")
    for axes, sigma in zip(grid[0], sigmas):
        axes.set_title("clean" if sigma == 0 else f"{SYMBOLS[distortion]} = {sigma:g}", fontsize=10, pad=4)
    for axes in grid.ravel():
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    figure.alt_text = (f"Pictures under growing {NAMES[distortion]}, one row for each, with the first choice of the network "
                       f"and its confidence; {source}. {'; '.join(stories)}.")
    return figure


def embeddings(points: Mapping[str, np.ndarray], labels: Sequence[int], classes: Sequence[str], distortion: str,
               sigmas: Sequence[float]) -> Figure:
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
        parts.append(f"{network}: " + ", ".join(f"{'clean' if sigma == 0 else f'σ = {sigma:g}'} {share:.0%}"
                                                for sigma, share in zip(sigmas, shares)))
    for axes, sigma in zip(grid[0], sigmas):
        axes.set_title("clean" if sigma == 0 else f"{SYMBOLS[distortion]} = {sigma:g}", fontsize=10, pad=4)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=9,
                  handletextpad=0.1, columnspacing=0.8, markerscale=1.8)
    figure.alt_text = (f"Scatter plots of {len(labels)} images of {len(classes)} classes by the features of a network, "
                       f"under growing {NAMES[distortion]}. The share of points whose nearest neighbour is of their own "
                       f"class: {'; '.join(parts)}.")
    return figure


def _scatter(axes: Axes, points: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> None:
    for number, name in enumerate(classes):
        own = points[labels == number]
        marker = MARKERS[(number + number // len(COLOURS)) % len(MARKERS)]  # no pair comes twice within 81 classes
        axes.scatter(own[:, 0], own[:, 1], s=9, marker=marker, color=COLOURS[number % len(COLOURS)], linewidths=0,
                     label=_short(name))
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color="0.8")


def _short(name: str) -> str:
    """A class name for small print."""
    words = name.replace("_", " ").removesuffix(" left")
    return words if len(words) <= 14 else words[:13].rstrip() + "…"
