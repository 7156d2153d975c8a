"""Records and arrays -> figures, each with an alt text that is made from the same data."""

from dclib.figures.classes import DIFFERENCE, class_difference, filters
from dclib.figures.curves import (
           CAPTION,
           NAMES,
           STYLE,
           SVG_LIMIT,
           SYMBOLS,
           TITLES,
           UNITS,
           WIDTH,
           accuracy_over_levels,
           blur_windows,
           distortion_strip,
           gallery,
           learning_curves,
           priorities,
           show,
           swap_fractions,
           swap_layers,
           training_curves,
)
from dclib.figures.images import embeddings, predictions

__all__ = ["CAPTION", "DIFFERENCE", "NAMES", "STYLE", "SVG_LIMIT", "SYMBOLS", "TITLES", "UNITS", "WIDTH",
           "accuracy_over_levels", "blur_windows", "class_difference", "distortion_strip", "embeddings", "filters",
           "gallery", "learning_curves", "predictions", "priorities", "show", "swap_fractions", "swap_layers",
           "training_curves"]
