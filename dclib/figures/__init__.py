"""Records and arrays -> figures, each with an alt text that is made from the same data. Nothing is computed here but means.

Every function returns one matplotlib `Figure` with an attribute `alt_text`. A figure is one panel, narrow enough for a
telephone; `notebook.show` sets several side by side where there is room. Lines differ by marker and dash as well as colour.
"""

from dclib.figures.classes import DIFFERENCE, class_difference, embeddings
from dclib.figures.curves import (
    accuracy_over_levels,
    blur_windows,
    learning_curves,
    priorities,
    swap_fractions,
    swap_layers,
    swap_orders,
    training_curves,
)
from dclib.figures.images import distortion_strip, filters, gallery, predictions
from dclib.figures.neighbours import matrix, over_images, over_layers, roc
from dclib.figures.style import NAMES, STYLE, SYMBOLS, TITLES, UNITS, WIDTH

__all__ = [
    "DIFFERENCE",
    "NAMES",
    "STYLE",
    "SYMBOLS",
    "TITLES",
    "UNITS",
    "WIDTH",
    "accuracy_over_levels",
    "blur_windows",
    "class_difference",
    "distortion_strip",
    "embeddings",
    "filters",
    "gallery",
    "learning_curves",
    "matrix",
    "over_images",
    "over_layers",
    "predictions",
    "priorities",
    "roc",
    "swap_fractions",
    "swap_layers",
    "swap_orders",
    "training_curves",
]
