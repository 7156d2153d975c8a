"""Folders of image files, squashed to 256x256: ImageNet and its stand-in, Caltech-101, SUN-397 (Sections 3.1, 5.3)."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from dclib.datasets.cache import SIDE, Decoded, decoded
from dclib.datasets.common import Collection, Dataset, Split, Subset, data_folder, per_class_sample
from dclib.errors import InputError

#: Training images a class that are held out for the choice of a model, by data set.
VALIDATION = {"imagenet20": 25, "imagenet": 10}
#: The fingerprint of the selection of ImageNet's images behind the published records.
IMAGENET20_FINGERPRINT = "79bfe64047189b41263c6596e666a3fb26cce9131767e8d58ea18df56fdd32e4"
#: And of the same files at 224x224 pixels.
IMAGENET20_OF_1000_FINGERPRINT = "02f22552fcc64a55ab9e64aee962c5a63fdff417713ba90f58f9a1c8e548954b"
#: ILSVRC-2012 is known by its counts of images, so that its runs have names where its 140 GB are not.
IMAGENET_COUNTS = {"classes": 1000, "train": 1_281_167, "val": 50_000}
#: Images and classes of the whole collections, known by their counts in the same way.
COLLECTION_COUNTS = {"caltech101": (8_677, 101), "caltech256": (29_780, 256), "sun397": (108_754, 397)}
#: The fingerprints of all selections behind the published records: of Caltech-101 at most 40 images a class, of SUN-397
#: 18 classes.
SELECTION_FINGERPRINTS = {
    "imagenet20": IMAGENET20_FINGERPRINT,
    "caltech101": "ff0b01357ce45a791ab866d1dbaf53783ff3030048e8cd95fd50f7c06563835f",
    "sun397": "40fc6d83eec070087bc70766bc8c206963198fefb0dde5034f814dda63a7278e",
}
#: SHA-256 over the names of those selections' files: they are known by them where a file is damaged.
SELECTION_FILES = {
    "imagenet20": "8064f3f71381b05b564fffb8fade5ef547fdd23a8c3a4e726c4d8bef43b3995f",
    "caltech101": "93892188f9d781a8c541e42ce8755aafbe4658be4ac3f63e426e73c309650ca1",
    "sun397": "bad6432beeee5f3408ec6258b412a6d0ab4507bca74a9e8ce3ce26d5942c8199",
}
IMAGENET_FINGERPRINT = hashlib.sha256(f"ILSVRC-2012 {IMAGENET_COUNTS}".encode()).hexdigest()


def imagenet(
    name: str = "imagenet", folder: str | Path | None = None, seed: int = 0, validation: int | None = None, side: int = SIDE
) -> Dataset:
    """ImageNet (ILSVRC-2012), or "imagenet20", a selection of 20 of its classes: images uint8 [N, 3, side, side].

    Read from ``<name>/train/<synset>/*.JPEG`` and ``<name>/val/<synset>/*.JPEG`` in `folder` (default:
    `data_folder()`), decoded once and then mapped into memory: read-only, and `train.images` is a `Subset`. The test set
    is all of ``val``, in the order of synset and file name. The released code chooses models by 10 of each class's 50
    *test* images. Here the choice never sees a test image: `validation` training images of every class, drawn by
    `seed`, are held out for it (default: `VALIDATION`). Classes have their names from ``imagenet_synsets.txt`` beside
    ``train`` (lines "n01440764_tench") where it is there, else the synsets.

    A damaged image is left out and named in `skipped`. It counts as one of the folder's files all the same, so that the
    whole of ImageNet, and the selection behind the published records, keep their fingerprints.

    Raises:
        InputError: a missing folder, an empty class, other classes in ``val`` than in ``train``, a class with no more
            than `validation` training images, files that cannot be read.
    """
    root = (Path(folder) if folder is not None else data_folder()) / name
    where = f"{name}/train and {name}/val, each with one folder of images per synset"
    synsets = _classes(root / "train", where)
    if other := set(synsets).symmetric_difference(_classes(root / "val", where)):
        raise InputError(
            f"{root}: expected the same classes in train and val, got {', '.join(sorted(other)[:5])} in "
            "one of them only; copy both from one source."
        )
    parts = {part: _read(f"{name}-{part}", root / part, synsets, side) for part in ("train", "val")}
    (train, labels), (test, test_labels) = parts.values()
    count = VALIDATION[name] if validation is None else validation
    if count >= labels.bincount().min():
        raise InputError(
            f"validation: expected fewer images than every class has for training ({labels.bincount().min()}), got {count}."
        )
    held_out = per_class_sample(labels, count, seed)
    rest = torch.ones(len(labels), dtype=torch.bool).index_fill(0, held_out, False).nonzero().flatten()
    counts = {"classes": len(synsets), "train": len(train.files), "val": len(test.files)}
    complete = name == "imagenet" and counts == IMAGENET_COUNTS
    return Dataset(
        name,
        Split(Subset(train.images, rest), labels[rest]),
        Split(train.images[held_out], labels[held_out]),
        Split(test.images, test_labels),
        _names(root / "imagenet_synsets.txt", synsets),
        "imagenet",
        IMAGENET_FINGERPRINT if complete else _fingerprint(name, parts),
        tuple(f"{part}/{file}" for part, (found, _) in parts.items() for file in found.skipped),
    )


def imagenet_of_1000(name: str = "imagenet20", folder: str | Path | None = None, seed: int = 0, side: int = 224) -> Dataset:
    """`imagenet` for a network of all 1,000 classes: images uint8 [N, 3, side, side], labels 0..999 in ILSVRC's order.

    The order of the synsets is that of ``<name>/imagenet_synsets.txt`` (1,000 lines "n01440764_tench"), the names are
    torchvision's. Raises `InputError` as `imagenet`, and where a class is none of these lines.
    """
    data = imagenet(name, folder, seed, side=side)
    root = (Path(folder) if folder is not None else data_folder()) / name
    listed = root / "imagenet_synsets.txt"
    lines = listed.read_text(encoding="utf-8", errors="replace").split() if listed.exists() else []
    places = {line.split("_", 1)[0]: place for place, line in enumerate(lines)}
    found = [places.get(synset) for synset in _classes(root / "train", "one folder of images per synset")]
    if len(places) != 1000 or None in found:
        raise InputError(
            f"{listed}: expected the 1,000 synsets of ILSVRC-2012 in the order of their labels, one a line, got "
            f"{len(places)} lines and {found.count(None)} classes that are none of them; put the list there."
        )
    parts = (Split(part.images, torch.tensor(found)[part.labels]) for part in (data.train, data.validation, data.test))
    from torchvision.models._meta import _IMAGENET_CATEGORIES  # torchvision takes seconds to import

    return Dataset(data.name, *parts, tuple(_IMAGENET_CATEGORIES), data.scale, data.fingerprint, data.skipped)


def caltech101(folder: str | Path | None = None) -> Collection:
    """Caltech-101's images of objects without its background class: uint8 [N, 3, 256, 256], read-only.

    Read from torchvision's layout, ``caltech101/101_ObjectCategories/<class>/*.jpg`` in `folder` (default:
    `data_folder()`). Any number of images a class will do. Raises `InputError` as `imagenet`.
    """
    # torchvision's class counts files and makes up their names, so that one missing file spoils a category.
    root = (Path(folder) if folder is not None else data_folder()) / "caltech101" / "101_ObjectCategories"
    classes = _classes(root, "caltech101/101_ObjectCategories with one folder of images per class")
    return _collection("caltech101", root, [name for name in classes if name != "BACKGROUND_Google"])


def sun397(folder: str | Path | None = None) -> Collection:
    """SUN-397's scenes: uint8 [N, 3, 256, 256], read-only.

    Read from torchvision's layout, ``SUN397/a/abbey/*.jpg`` in `folder` (default: `data_folder()`), with the classes of
    ``SUN397/ClassName.txt`` (lines "/a/abbey"); a selection of classes lists only its own. Raises `InputError` as
    `imagenet`.
    """
    root = (Path(folder) if folder is not None else data_folder()) / "SUN397"
    try:
        # Read as Python reads the names of folders.
        lines = (root / "ClassName.txt").read_text(encoding="utf-8", errors="surrogateescape").split()
    except OSError as error:
        raise _missing(root, "SUN397/ClassName.txt and the folders that it lists", error) from error
    return _collection("sun397", root, sorted(line.strip("/") for line in lines))


def _collection(name: str, root: Path, classes: Sequence[str]) -> Collection:
    found, labels = _read(name, root, classes)
    complete = (len(found.files), len(classes)) == COLLECTION_COUNTS[name]
    return Collection(
        name,
        Split(found.images, labels),
        tuple(classes),
        "imagenet",
        whole_fingerprint(name) if complete else _fingerprint(name, {"": (found, labels)}),
        found.skipped,
    )


def whole_fingerprint(name: str) -> str:
    """The fingerprint of a whole collection, which is known by its counts."""
    return hashlib.sha256(f"{name} {COLLECTION_COUNTS[name]}".encode()).hexdigest()


def collection(name: str) -> Collection:
    """The images of Section 5.3's data set called `name`: caltech101 or sun397."""
    found = {"caltech101": caltech101, "sun397": sun397}
    if name not in found:
        raise InputError(f"collection: expected one of {', '.join(found)}, got {name!r}; it has no reader yet.")
    return found[name]()


def _read(name: str, root: Path, classes: Sequence[str], side: int = SIDE) -> tuple[Decoded, torch.Tensor]:
    """The decoded images of all classes, by class and file name, and their labels [N]."""
    if not classes:
        raise InputError(f"{root}: expected at least one class, got none; put a folder of images there for each class.")
    from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

    index = {label: number for number, label in enumerate(classes)}
    samples = make_dataset(str(root), index, extensions=IMG_EXTENSIONS, allow_empty=True)
    samples.sort(key=lambda sample: (sample[1], sample[0]))
    labels = torch.tensor([label for _, label in samples], dtype=torch.int64)
    _check_full(labels, root, classes, "image files")
    found = decoded(name, root, [str(Path(path).relative_to(root)) for path, _ in samples], side)
    _check_full(labels[found.kept], root, classes, "intact image files")
    return found, labels[found.kept]


def _check_full(labels: torch.Tensor, root: Path, classes: Sequence[str], what: str) -> None:
    counts = labels.bincount(minlength=len(classes))
    if empty := [name for name, count in zip(classes, counts.tolist()) if not count]:
        raise InputError(
            f"{root}: expected {what} in every class, got none in {', '.join(empty[:5])}; fill or remove these folders."
        )


def _classes(root: Path, where: str) -> list[str]:
    from torchvision.datasets.folder import find_classes

    try:
        return find_classes(str(root))[0]
    except OSError as error:
        raise _missing(root, where, error) from error


def _missing(root: Path, where: str, error: Exception) -> InputError:
    return InputError(
        f"{root}: expected {where}, got {type(error).__name__}; put them there, or set DCLIB_DATA to the "
        "folder that has them."
    )


def _names(path: Path, synsets: Sequence[str]) -> tuple[str, ...]:
    """The synsets' names out of lines such as "n01440764_tench"; the synsets where a name is not listed."""
    lines = path.read_text(encoding="utf-8", errors="replace").split() if path.exists() else []
    known = dict(line.split("_", 1) for line in lines if "_" in line)
    return tuple(known.get(synset, synset) for synset in synsets)


def _fingerprint(name: str, parts: Mapping[str, tuple[Decoded, torch.Tensor]]) -> str:
    """SHA-256 over all pixels and labels; that of the published selection where it is this one with damaged files.

    The pixels of a damaged file cannot be known: then the names of all files, damaged or not, tell the selection.
    """
    if any(found.skipped for found, _ in parts.values()) and _files_digest(parts) == SELECTION_FILES.get(name):
        return SELECTION_FINGERPRINTS[name]
    digest = hashlib.sha256()
    for found, labels in parts.values():
        digest.update(found.fingerprint.encode() + labels.numpy().tobytes())
    return digest.hexdigest()


def _files_digest(parts: Mapping[str, tuple[Decoded, torch.Tensor]]) -> str:
    """SHA-256 over the names of all files of a data set's parts, as `SELECTION_FILES` has them."""
    names = "".join(f"{part}/{file}\n" for part, (found, _) in parts.items() for file in found.files)
    return hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()  # a name may have other bytes than UTF-8's
