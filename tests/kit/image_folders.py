"""Small folders of image files, laid out as the data sets are, and what a reader should make of them."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dclib import datasets

SYNSETS = ("n01", "n02", "n03")
#: Images of each class in the folder of the fixture `tiny`.
TRAIN, VAL = 5, 2


def picture(seed: int, size: tuple[int, int] = (40, 30), mode: str = "RGB") -> Image.Image:
    """A smooth picture, so that JPEG keeps it recognisable."""
    rng = np.random.RandomState(seed)
    small = Image.fromarray(rng.randint(0, 256, (4, 5, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC).convert(mode)


def encoded(image: Image.Image, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write_imagenet(root: Path, train: int, val: int) -> Path:
    """ImageNet's layout with three classes; file names do not sort like the order in which they were written."""
    seed = 0
    for part, count in (("train", train), ("val", val)):
        for synset in reversed(SYNSETS):
            for number in reversed(range(count)):
                seed += 1
                write(root / part / synset / f"{synset}_{number}.JPEG", encoded(picture(seed, (30 + seed, 70 - seed))))
    return root


def load_tiny(seed: int = 0, validation: int = 2) -> datasets.Dataset:
    """The data set of the fixture `tiny`."""
    return datasets.imagenet("imagenet20", seed=seed, validation=validation)


def files(root: Path, part: str) -> list[Path]:
    """The images of `write_imagenet` in canonical order."""
    return [path for synset in SYNSETS for path in sorted((root / part / synset).iterdir())]


def squashed(path: Path) -> torch.Tensor:
    """Pillow's own answer, one image at a time."""
    image = Image.open(path).convert("RGB").resize((256, 256), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def cut(path: Path) -> None:
    """Damage a file: its second half is lost."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
