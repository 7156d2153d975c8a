"""dclib: the library behind the re-executable companion to DeepCorrect.

Borkar and Karam, "DeepCorrect: Correcting DNN Models against Image Distortions" (arXiv:1705.02406).
The rooms in reading order: ``distortions``, ``models``, ``ranking``, ``correction``, ``datasets``, ``evaluation``,
``published``, ``restoration``, ``transfer``, ``neighbours``, ``training``, ``experiments``, ``results``, ``execution``, ``verdicts``,
``figures``, ``tables``, ``zoo``, ``notebook``, ``cli``. Each imports only from those before it; tests/test_layers.py has the whole plan.

What a network of one's own needs is here at the door, and comes when it is asked for: to distort (`gaussian_blur`,
`additive_white_gaussian_noise`), to test (`accuracy_per_level`), to choose filters (`rank_filters`, `select_local`, `select_global`), to
correct them (`correct`, `UnitDesign`, `fit`, `save`, `load`), and the networks of the paper (`load_model`).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a type checker does not ask for names one by one
    from dclib.correction import UnitDesign, correct, load, save
    from dclib.distortions import additive_white_gaussian_noise, gaussian_blur
    from dclib.ranking import accuracy_per_level, rank_filters, select_global, select_local
    from dclib.training import fit
    from dclib.zoo import load_model

__version__ = "0.1.0"
_ROOMS = {
    "gaussian_blur": "distortions",
    "additive_white_gaussian_noise": "distortions",
    "accuracy_per_level": "ranking",
    "rank_filters": "ranking",
    "select_local": "ranking",
    "select_global": "ranking",
    "correct": "correction",
    "UnitDesign": "correction",
    "fit": "training",
    "save": "correction",
    "load": "correction",
    "load_model": "zoo",
}
__all__ = [
    "UnitDesign",
    "accuracy_per_level",
    "additive_white_gaussian_noise",
    "correct",
    "fit",
    "gaussian_blur",
    "load",
    "load_model",
    "rank_filters",
    "save",
    "select_global",
    "select_local",
]


def __getattr__(name: str) -> object:
    """A name of the face, from the room where it lives (PEP 562): so that `import dclib` waits for nothing."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
    except ModuleNotFoundError as error:
        from dclib.errors import without_extra

        raise without_extra(name, error) from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
