"""Figures 1 and 6, and images at all levels: what a network sees and says, and its first filters."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from dclib.errors import InputError
from dclib.figures.style import STYLE, WIDTH, course, not_empty, short, with_alt
from dclib.figures.words import NAMES, SYMBOLS, TITLES

#: Dark enough to be read as small print; right and wrong also differ by their sign.
RIGHT, WRONG = "#0b5394", "#a63603"


def predictions(
    images: np.ndarray,
    classes: Sequence[str],
    predicted: Sequence[Sequence[str]],
    confidence: np.ndarray,
    distortion: str,
    sigmas: Sequence[float],
    source: str,
) -> Figure:
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
            axes.set_xlabel(
                f"{'✓' if right else '✗'} {short(name)}\n{share:.0%}",
                fontsize=9,
                labelpad=3,
                color=RIGHT if right else WRONG,
                fontweight="normal" if right else "bold",
            )
        row[0].set_ylabel(short(truth), fontsize=9)
        said = ", ".join(
            f"{'clean' if sigma == 0 else f'σ = {sigma:g}'} {'right' if name == truth else short(name)} {share:.0%}"
            for sigma, name, share in zip(sigmas, names, shares)
        )
        stories.append(f"{short(truth)}: {said}")
    for axes, sigma in zip(grid[0], sigmas):
        axes.set_title("clean" if sigma == 0 else f"{SYMBOLS[distortion]} = {sigma:g}", fontsize=10, pad=4)
    for axes in grid.ravel():
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    figure.alt_text = (
        f"Pictures under growing {NAMES[distortion]}, one row for each, with the first choice of the network "
        f"and its confidence; {source}. {'; '.join(stories)}."
    )
    return figure


def distortion_strip(strips: Mapping[str, np.ndarray], sigmas: Mapping[str, Sequence[float]], what: str) -> Figure:
    """One image at every level: {distortion: values in 0..255 [1 + levels, 3, H, W]}, level 0 clean.

    Values outside 0..255 are clipped for the screen only. `what` names the image.
    """
    not_empty(strips)
    columns = max(len(s) for s in strips.values())
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(5.2, 1.12 * len(strips)), layout="constrained")
        grid = figure.subplots(len(strips), columns, squeeze=False)
    for row, (distortion, images) in zip(grid, strips.items()):
        shown = np.clip(np.asarray(images, dtype=float) / 255, 0, 1).transpose(0, 2, 3, 1)
        for axes, image, sigma in zip(row, shown, [0, *sigmas[distortion]], strict=True):
            axes.imshow(image, interpolation="nearest")
            axes.set_title("clean" if sigma == 0 else f"{sigma:g}", fontsize=9, pad=3)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        row[0].set_ylabel(f"{TITLES[distortion]}, {SYMBOLS[distortion]}", fontsize=9)
    changes = []
    for distortion, images in strips.items():
        contrast = np.asarray(images, dtype=float).std(axis=(1, 2, 3))
        changes.append(
            f"under {NAMES[distortion]} up to σ = {sigmas[distortion][-1]:g} the standard deviation of its "
            f"pixels {course(contrast, '.0f')}"
        )
    return with_alt(figure, f"{what} at {columns} levels, clean first: {'; '.join(changes)}.")


def gallery(images: np.ndarray, names: Sequence[str]) -> Figure:
    """One image per class, values in 0..255 [classes, 3, H, W], with its name below."""
    columns = 5
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(5.2, 1.15 * -(-len(names) // columns)), layout="constrained")
        grid = figure.subplots(-(-len(names) // columns), columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, image, name in zip(grid, np.asarray(images), names):
        axes.imshow(image.transpose(1, 2, 0).astype(np.uint8), interpolation="nearest")
        axes.set_title(
            name.replace("_", " ").replace("hubble deep field", "hubble").removesuffix(" left"), fontsize=9, pad=3
        )
    return with_alt(
        figure,
        f"{len(names)} small patches, one of each photograph: {', '.join(names)}. They are grey "
        "with a tint, and differ in texture.",
    )


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
    figure.alt_text = (
        f"{what}: {len(order)} filters of {weights.shape[-1]} by {weights.shape[-2]} pixels as small "
        f"pictures, in rows of {columns}.{counted}"
    )
    return figure
