"""The paper's published numbers, read from data/paper of a checkout, or as they were installed with the package.

Borkar and Karam, "DeepCorrect: Correcting DNN models against Image Distortions", 2017. One JSON file per
table, one for Figures 4 and 5, one for Figure 12, one with every claim of the text and one with the places where the paper
disagrees with itself. Nothing is computed here. A digit that turned into another one would be a number of the paper that it
does not have: what is read has the SHA-256 in the folder's SHA256SUMS, which `sha256sum -c SHA256SUMS` checks too.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from dclib.errors import InputError

_PLACES = [folder / "data" / "paper" for folder in Path(__file__).resolve().parents[:2]]
FOLDER = next((place for place in _PLACES if place.is_dir()), _PLACES[-1])
TABLES = range(1, 16)
_SEALS = "SHA256SUMS"


def table(number: int) -> dict:
    """One of Tables 1-15: title, data set, distortion, sigma per level, metric and rows.

    Rows of accuracy tables have method, accuracy [7] (clean, then levels 1..6) and average. Tables 1 and 2
    name the data set in each row, Tables 5 and 9 the distortion, Tables 13-15 the data set.
    Raises InputError for another number.
    """
    if number not in TABLES and not _path(number).exists():
        raise InputError(f"Expected a table number from 1 to 15, got {number!r}; the paper has no other tables.")
    found = _read(_path(number).name)
    rows = found.get("rows") if isinstance(found, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) and isinstance(row.get("method"), str) for row in rows):
        raise InputError(f"Expected rows with their method in {_path(number)}, got others; restore the file with git.")
    return found


def _path(number: int) -> Path:
    return FOLDER / f"table{number:0>2}.json"


def row(number: int, method: str, *, dataset: str | None = None, distortion: str | None = None) -> dict:
    """The one row of a table with this method, such as row(3, "Deepcorr-1").

    dataset and distortion choose among rows of one method: row(1, "Baseline", dataset="cifar100"),
    row(5, "global", distortion="awgn"), row(14, "Deepcorr-5", dataset="sun397").
    Raises InputError if no row fits or several do.
    """
    rows = table(number)["rows"]
    found = [
        r
        for r in rows
        if r["method"] == method
        and (dataset is None or r.get("dataset") == dataset)
        and (distortion is None or r.get("distortion") == distortion)
    ]
    if len(found) == 1:
        return found[0]
    asked = ", ".join(repr(a) for a in (method, dataset, distortion) if a is not None)
    keys = [" ".join(filter(None, (r["method"], r.get("dataset"), r.get("distortion")))) for r in rows]
    raise InputError(
        f"Expected one row of Table {number}, got {len(found)} for {asked}; "
        f"name the method, and dataset or distortion where needed, from: {', '.join(keys)}."
    )


def swap_data() -> dict:
    """Figures 4 and 5 whole: fractions, sigma, clean accuracy and accuracy[dataset][distortion][layer]."""
    return _read("figure04_05.json")


def swap_fractions(dataset: str, distortion: str) -> dict[str, np.ndarray]:
    """Figures 4 and 5: accuracy [fractions, levels] per layer name, levels 1..6 (no clean level).

    dataset: "cifar100" or "imagenet"; distortion: "blur" or "awgn". Raises InputError for others.
    """
    accuracy = swap_data()["accuracy"]
    if dataset not in accuracy or distortion not in accuracy[dataset]:
        raise InputError(
            f"Expected cifar100 or imagenet and blur or awgn, got {dataset!r} and {distortion!r}; "
            "Figures 4 and 5 show no other curves."
        )
    return {layer: np.array(rows) for layer, rows in accuracy[dataset][distortion].items()}


def training_curves(distortion: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Figure 12: iterations [50], and accuracy [50] on validation images of Finetune-8, Deepcorr-5 and Deepcorr-5-no-bn.

    Read off the picture that the authors publish, to within `reading_error` of data/paper/figure12.json; it lacks the
    curves of -lite and -bottleneck. distortion: "blur" or "awgn". Raises InputError for others.
    """
    figure = training_data()
    if distortion not in figure["accuracy"]:
        raise InputError(f"Expected blur or awgn, got {distortion!r}; Figure 12 shows no other curves.")
    curves = {method: np.array(values) for method, values in figure["accuracy"][distortion].items()}
    return figure["step"] * np.arange(1, 1 + len(next(iter(curves.values())))), curves


def training_data() -> dict:
    """Figure 12 whole: accuracy[distortion][method] after every `step` iterations, its source and how it was read."""
    return _read("figure12.json")


def single_swaps() -> dict:
    """The authors' published accuracies of AlexNet after each single swap, behind its ranking (Section 4.1).

    images, clean and before[distortion] [levels] are numbers of images, gain[distortion][layer] [filters, levels] how many
    more of them are right after the swap; levels 1..6, distortions "blur" and "awgn".
    """
    return _read("single_swaps.json")


def claims() -> list[dict]:
    """Every claim of the text with its place, number, test and, where there is one, its disagreement."""
    return _read("claims.json")["claims"]


def disagreements() -> dict:
    """Where the paper disagrees with itself or with the released code: keys averages, statements."""
    return _read("disagreements.json")


def neighbours() -> dict:
    """Published numbers of neighbouring works by their key in the bibliography, each with its source."""
    return _read("neighbours.json")


def _read(name: str) -> dict:
    path = FOLDER / name
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"Expected the paper's numbers in {path}, found no such file; run from a checkout of the project."
        ) from None
    found, sealed = hashlib.sha256(content).hexdigest(), _seal(name)
    if found != sealed:
        raise InputError(
            f"Expected the SHA-256 {sealed[:12]} for {path}, got {found[:12]}; restore the file with git or, if it was changed "
            f"on purpose, write {_SEALS} anew: sha256sum *.json > {_SEALS}."
        )
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"Expected JSON in {path}, could not read it ({error}); restore the file with git.") from None


def _seal(name: str) -> str:
    """The SHA-256 of a file as it was written; "none" where nothing says so."""
    path = FOLDER / _SEALS
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    return next((line.split()[0] for line in lines if line.split()[1:] == [name]), "none")
