"""Records and arrays -> figures, each with an alt text that is made from the same data. Nothing is computed here but means.

Every function returns one matplotlib `Figure` with an attribute `alt_text`. A figure is one panel, narrow enough for a
telephone; `notebook.show` sets several side by side where there is room. Lines differ by marker and dash as well as colour.
"""

from importlib import import_module

#: What is drawn, by module: it comes when it is asked for, because tables need none of what draws.
_MODULES = {
    "classes": (
        "DIFFERENCE",
        "class_difference",
        "embeddings",
    ),
    "curves": (
        "accuracy_over_levels",
        "blur_windows",
        "learning_curves",
        "priorities",
        "swap_fractions",
        "swap_layers",
        "swap_orders",
        "training_curves",
    ),
    "images": (
        "distortion_strip",
        "filters",
        "gallery",
        "predictions",
    ),
    "neighbours": (
        "matrix",
        "over_images",
        "over_layers",
        "roc",
    ),
    "style": (
        "STYLE",
        "WIDTH",
    ),
    "words": (
        "NAMES",
        "SYMBOLS",
        "TITLES",
        "UNITS",
    ),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> object:
    """A name of a module of this room (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
