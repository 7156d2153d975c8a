"""Grey images with more than 8 bits, and names in other bytes than UTF-8's."""

import hashlib
import json
import os

import numpy as np
import pytest
from image_folders import encoded, picture, write
from PIL import Image

from dclib import datasets
from dclib.datasets import cache

pytestmark = pytest.mark.usefixtures("folder")

# ---------------------------------------------------------------- grey images with more than 8 bits

GREY = np.add.outer(np.arange(32.0), np.arange(32.0)) / 62  # 0..1, from one corner to the other
DEEP = {
    "16-bit PNG": ("a.png", "PNG", (65535 * GREY).astype(np.uint16)),
    "16-bit TIFF": ("a.tif", "TIFF", (65535 * GREY).astype(np.uint16)),
    "float TIFF": ("a.tiff", "TIFF", GREY.astype(np.float32)),
    "16-bit TIFF, big end": ("a.tif", "TIFF", (65535 * GREY).astype(">u2")),
    "16-bit PGM": ("a.pgm", "PPM", (65535 * GREY).astype(np.uint16)),
    "8-bit PNG": ("a.png", "PNG", np.rint(255 * GREY).astype(np.uint8)),
}
UNKNOWN = {
    "int32 TIFF": ("a.tif", "TIFF", (2**31 * 0.9 * GREY).astype(np.int32)),
    "small int32 TIFF": ("a.tif", "TIFF", (255 * GREY).astype(np.int32)),
    "float TIFF to 255": ("a.tif", "TIFF", (255 * GREY).astype(np.float32)),
    "float TIFF from -1": ("a.tif", "TIFF", (2 * GREY - 1).astype(np.float32)),
    "float TIFF with NaN": ("a.tif", "TIFF", np.where(GREY > 0.9, np.nan, GREY).astype(np.float32)),
}


def written(path, case):
    name, kind, values = case
    write(path / name, encoded(Image.fromarray(values), kind))
    return path / name


@pytest.mark.parametrize("case", DEEP)
def test_grey_values_are_scaled_by_their_depth(case, tmp_path):
    pixels, _ = cache._decode(written(tmp_path, DEEP[case]))
    plain = np.asarray(Image.fromarray(np.rint(255 * GREY).astype(np.uint8)).resize((256, 256), Image.Resampling.BILINEAR))
    assert np.abs(pixels.astype(int) - plain).max() <= 1 and pixels.min() == 0 and pixels.max() == 255


def test_a_graymap_has_a_maximum_of_its_own(tmp_path):
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 32 32 4095 " + (4095 * GREY).astype(">u2").tobytes())
    pixels, _ = cache._decode(path)
    assert pixels.min() == 0 and pixels.max() == 255 and abs(pixels.mean() - 127.5) < 1


@pytest.mark.parametrize("case", UNKNOWN)
def test_grey_values_of_unknown_scale_are_skipped_by_name(case, folder, caplog):
    root = folder / "caltech101" / "101_ObjectCategories"
    for i in range(2):
        write(root / "ab"[i] / "ok.jpg", encoded(picture(i)))
    name = written(root / "b", UNKNOWN[case]).name
    found = datasets.caltech101()
    assert found.skipped == (f"b/{name}",) and len(found.images) == 2
    assert name in caplog.text and "mode" in caplog.text


def test_caches_of_jpeg_files_keep_their_names(tmp_path):
    """Their pixels are the ones that they were: nobody has to decode ImageNet again."""
    for name in ("a.JPEG", "b.png"):
        write(tmp_path / name, encoded(picture(0), "JPEG" if name.startswith("a") else "PNG"))
        os.utime(tmp_path / name, ns=(10**18, 10**18))
    size = (tmp_path / "a.JPEG").stat().st_size
    expected = hashlib.sha256(f"1 256\na.JPEG {size} {10**18}".encode()).hexdigest()[:16]
    assert cache._key(tmp_path, ["a.JPEG"]) == expected
    size = (tmp_path / "b.png").stat().st_size
    assert cache._key(tmp_path, ["b.png"]) != hashlib.sha256(f"1 256\nb.png {size} {10**18}".encode()).hexdigest()[:16]


# ---------------------------------------------------------------- names in other bytes than UTF-8's


def latin(name):
    return os.fsdecode(name.encode("latin-1"))


def test_file_names_in_latin_1(folder, caplog):
    root = folder / "caltech101" / "101_ObjectCategories"
    try:
        for i in range(4):
            write(root / "ab"[i // 2] / latin(f"caf\xe9 {i}.jpg"), encoded(picture(i)))
    except OSError:
        pytest.skip("this file system takes names in UTF-8 alone")
    whole = datasets.caltech101()
    assert len(whole.images) == 4 and not whole.skipped
    path = root / "b" / latin("caf\xe9 3.jpg")
    path.write_bytes(path.read_bytes()[:100])
    rest = datasets.caltech101()
    assert rest.skipped == (f"b/{path.name}",) and datasets.caltech101().fingerprint == rest.fingerprint != whole.fingerprint
    json.dumps(rest.skipped).encode()  # as a record names it


def test_class_names_in_latin_1(folder):
    try:
        for i, name in enumerate((latin("d\xfcne"), "see")):
            write(folder / "SUN397" / name[0] / name / "1.jpg", encoded(picture(i)))
    except OSError:
        pytest.skip("this file system takes names in UTF-8 alone")
    write(folder / "SUN397" / "ClassName.txt", "/d/d\xfcne\n/s/see\n".encode("latin-1"))
    found = datasets.sun397()
    assert found.images.labels.tolist() == [0, 1] and found.classes == (latin("d/d\xfcne"), "s/see")
