"""Figures of the neighbouring studies: ROC curves, a matrix of accuracies, distances over layers, accuracy over images."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from dclib.errors import InputError
from dclib.figures.style import GREY, course, look, not_empty, panel, with_alt


def roc(curves: Mapping[str, tuple[np.ndarray, np.ndarray, float]], title: str) -> Figure:
    """ROC curves {label: false alarms [points], detected [points], area}."""
    not_empty(curves)
    figure, axes = panel(title, 4.0)
    for i, (label, (alarms, detected, area)) in enumerate(curves.items()):
        line = look(i) | {"marker": "", "drawstyle": "steps-post"}
        axes.plot(alarms, detected, label=f"{label}: {area:.3f}", **line)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="chance: 0.5")
    axes.set(xlabel="false alarms", ylabel="detected", xlim=(0, 1), ylim=(0, 1))
    figure.legend(loc="outside lower center", ncols=2, frameon=False, title="area below the curve")
    words = "; ".join(
        f"{label}: area {area:.3f}, {_at(alarms, detected, 0.05):.0%} detected at 5 % false alarms"
        for label, (alarms, detected, area) in curves.items()
    )
    return with_alt(figure, f"ROC curves, {title}: share of bad inputs detected over share of good ones refused. {words}.")


def _at(alarms: np.ndarray, detected: np.ndarray, share: float) -> float:
    """What is detected with at most that share of false alarms."""
    return float(np.asarray(detected)[np.asarray(alarms) <= share].max())


def matrix(values: np.ndarray, rows: Sequence[str], columns: Sequence[str], title: str, measure: str = "accuracy") -> Figure:
    """Numbers in 0..1 [rows, columns] as shades: what networks were tuned on, and what they are tested on."""
    values = np.asarray(values, dtype=float)
    if values.shape != (len(rows), len(columns)):
        raise InputError(f"matrix: expected {len(rows)}x{len(columns)} values, got {list(values.shape)}.")
    figure, axes = panel(title, 4.0)
    axes.imshow(values, cmap="cividis", vmin=0, vmax=max(values.max(), 1e-9), aspect="auto")
    axes.grid(False)
    for row, column in np.ndindex(values.shape):
        dark = values[row, column] < 0.6 * values.max()
        axes.text(
            column,
            row,
            f"{values[row, column]:.2f}"[1 if values[row, column] < 1 else 0 :],
            ha="center",
            va="center",
            color="white" if dark else "black",
            fontsize=10,
        )
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlabel="tested on", ylabel="tuned on")
    lines = "; ".join(
        f"{name}: " + ", ".join(f"{column} {value:.3f}" for column, value in zip(columns, line))
        for name, line in zip(rows, values)
    )
    return with_alt(
        figure, f"Matrix, {title}: {measure} of networks by what they were tuned on, and what they are tested on. {lines}."
    )


def over_layers(curves: Mapping[str, Sequence[float]], layers: Sequence[str], title: str) -> Figure:
    """{label: distance [layers]} between activations of sharp and blurred images."""
    not_empty(curves)
    figure, axes = panel(title)
    for i, (label, values) in enumerate(curves.items()):
        axes.plot(range(len(layers)), values, label=label, **look(i))
    axes.set_xticks(range(len(layers)), layers, rotation=45)
    axes.set(ylabel="distance, sharp to blurred", ylim=(0, None))
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    lines = "; ".join(f"{label} {course(values)}" for label, values in curves.items())
    return with_alt(
        figure,
        f"Line chart, {title}: distance between the activations of sharp and of blurred images, in "
        f"units of that between two different images, from {layers[0]} to {layers[-1]}. {lines}.",
    )


def over_images(curves: Mapping[str, Sequence[float]], images: Sequence[int], title: str, before: float) -> Figure:
    """{way: accuracy [numbers of images]} after a retraining on so many images; before: without any."""
    not_empty(curves)
    figure, axes = panel(title)
    for i, (label, values) in enumerate(curves.items()):
        axes.plot(images, values, label=label, **look(i))
    axes.axhline(before, color=GREY, linestyle=":", label="not retrained")
    axes.set(xlabel="training images", ylabel="mean top-1 accuracy", xscale="log")
    axes.set_xticks(images, [f"{n:,}" for n in images])
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    lines = "; ".join(f"{label} {course(values)}" for label, values in curves.items())
    return with_alt(
        figure,
        f"Line chart, {title}: accuracy, averaged over clean images and all levels, with {images[0]} to "
        f"{images[-1]:,} training images. {lines}. Before any retraining it is {before:.3f}.",
    )
