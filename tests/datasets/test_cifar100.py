"""CIFAR-100 from every source it may come from: whole, damaged or out of reach."""

import hashlib
import http.server
import io
import os
import pickle
import subprocess
import sys
import tarfile
import threading
import zipfile

import numpy as np
import pytest
import torch
import torchvision
from support import ROOT, check_sentence, listing, refused

from dclib import datasets
from dclib.datasets import cifar

CIFAR100_FINGERPRINT = "0286071dbef2b6b77738798593c69dd22af50604fbda6196d0c8dc92b3302970"


# ---------------------------------------------------------------- CIFAR-100, two images a class


@pytest.fixture
def tiny(monkeypatch):
    """Arrays like CIFAR-100's, small, with dclib's published digests replaced by theirs."""
    rng = np.random.RandomState(0)
    arrays = {"classes": np.array([f"class{i:02}" for i in range(100)])}
    digests = {}
    for split, per_class in (("train", 3), ("test", 1)):
        images = rng.randint(0, 256, (100 * per_class, 32, 32, 3), dtype=np.uint8)
        arrays |= {f"{split}_images": images, f"{split}_labels": np.repeat(np.arange(100), per_class)}
        digests[split] = hashlib.sha256(images.tobytes()).hexdigest()
    monkeypatch.setattr(cifar, "CIFAR100_SHA256", digests)
    return arrays


@pytest.fixture
def no_network(monkeypatch):
    """Any connection is refused at once."""
    monkeypatch.setattr(torchvision.datasets.CIFAR100, "url", "http://127.0.0.1:9/cifar-100-python.tar.gz")


def test_npz(tiny, tmp_path):
    np.savez(tmp_path / "cifar100.npz", **tiny)
    data = datasets.cifar100(tmp_path, seed=5, validation=60)
    assert (len(data.train), len(data.validation), len(data.test)) == (240, 60, 100)
    order = np.random.RandomState(5).permutation(300)
    for split, index in ((data.validation, order[:60]), (data.train, order[60:])):
        assert np.array_equal(split.images.permute(0, 2, 3, 1).numpy(), tiny["train_images"][index])
        assert np.array_equal(split.labels.numpy(), tiny["train_labels"][index])
    assert np.array_equal(data.test.images.permute(0, 2, 3, 1).numpy(), tiny["test_images"])
    assert data.classes == tuple(tiny["classes"]) and data.scale == "cifar100"
    assert data.fingerprint == datasets.fingerprint_of("cifar100")


def test_the_seed_decides_the_split(tiny, tmp_path):
    np.savez(tmp_path / "cifar100.npz", **tiny)
    splits = [datasets.cifar100(tmp_path, seed=s, validation=60).validation.images for s in (1, 1, 2)]
    assert torch.equal(splits[0], splits[1]) and not torch.equal(splits[0], splits[2])


@pytest.mark.parametrize("validation", [0, -1, 300, 5000])
def test_validation_sizes_that_leave_nothing(tiny, tmp_path, validation):
    np.savez(tmp_path / "cifar100.npz", **tiny)
    with refused("validation", str(validation)):
        datasets.cifar100(tmp_path, validation=validation)


def with_swapped_labels(tiny):
    labels = tiny["train_labels"].copy()
    labels[[0, 299]] = labels[[299, 0]]
    return tiny | {"train_labels": labels}


def with_a_changed_pixel(tiny):
    images = tiny["test_images"].copy()
    images[17, 3, 4, 2] ^= 1
    return tiny | {"test_images": images}


ALTERED = {
    "pixel": (with_a_changed_pixel, "test images"),
    "labels": (with_swapped_labels, "train labels"),
    "fewer labels": (lambda t: t | {"train_labels": t["train_labels"][:-1]}, "train labels"),
    "fewer images": (lambda t: t | {"train_images": t["train_images"][:-3]}, "train images"),
    "no images": (lambda t: t | {"train_images": t["train_images"][:0]}, "train images"),
    "flat": (lambda t: t | {"train_images": t["train_images"].reshape(300, -1)}, "[300, 3072]"),
    "float": (lambda t: t | {"test_images": t["test_images"].astype(np.float32)}, "float32"),
    "classes": (lambda t: t | {"classes": t["classes"][:99]}, "labels"),
    "no classes": (lambda t: t | {"classes": np.array("apple")}, "labels"),
    "missing": (lambda t: {k: v for k, v in t.items() if k != "test_labels"}, "test_labels"),
    "pickled": (lambda t: t | {"classes": np.array([object()])}, "cifar100.npz"),
}


@pytest.mark.parametrize("case", ALTERED)
def test_altered_npz(tiny, tmp_path, no_network, case):
    alter, word = ALTERED[case]
    np.savez(tmp_path / "cifar100.npz", **alter(tiny))
    before = listing(tmp_path)
    with refused(word):
        datasets.cifar100(tmp_path, validation=60)
    assert listing(tmp_path) == before


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_truncated_and_damaged_npz(tiny, tmp_path, no_network, write):
    path = tmp_path / "cifar100.npz"
    write(path, **tiny)
    whole = path.read_bytes()
    rng = np.random.RandomState(1)
    damaged = [whole[: int(len(whole) * f)] for f in (0, 0.001, 0.3, 0.9, 0.9999)]
    for position in rng.randint(len(whole), size=6):
        damaged.append(whole[:position] + bytes(64) + whole[position + 64 :])
    for position in [*range(0, 60, 6), *range(len(whole) - 120, len(whole), 9)]:  # the zip's own headers
        damaged.append(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
    for content in damaged:
        path.write_bytes(content)
        try:
            data = datasets.cifar100(tmp_path, validation=60)
        except datasets.InputError as error:
            check_sentence(str(error))
            assert "cifar100.npz" in str(error) or "CIFAR-100" in str(error)
        else:  # a byte that says nothing about the arrays, such as a date
            assert np.array_equal(data.test.images.permute(0, 2, 3, 1).numpy(), tiny["test_images"])
        assert listing(tmp_path) == ["cifar100.npz"]


def test_files_that_are_no_npz_at_all(tiny, tmp_path, no_network):
    path = tmp_path / "cifar100.npz"
    for content in (b"hello", pickle.dumps(tiny), npy(tiny["train_images"]), empty_zip()):
        path.write_bytes(content)
        with refused("cifar100.npz"):
            datasets.cifar100(tmp_path)
    path.unlink()
    path.mkdir()
    with refused("cifar100.npz"):
        datasets.cifar100(tmp_path)


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def empty_zip():
    buffer = io.BytesIO()
    zipfile.ZipFile(buffer, "w").close()
    return buffer.getvalue()


# ---------------------------------------------------------------- CIFAR-100 through torchvision


@pytest.fixture
def pickles(tiny, monkeypatch):
    """CIFAR-100's own files {name: bytes} with the images of `tiny` in another order; torchvision expects them."""
    files = {"meta": pickle.dumps({"fine_label_names": tiny["classes"].tolist()})}
    rng = np.random.RandomState(2)
    for split in ("train", "test"):
        images, labels = tiny[f"{split}_images"], tiny[f"{split}_labels"]
        # Names that sort like the canonical order inside a class, but not over classes.
        names = np.array([f"{'zyx'[label % 3]}_{i:05}.png" for i, label in enumerate(labels)])
        order = rng.permutation(len(labels))
        files[split] = pickle.dumps(
            {
                "data": images.transpose(0, 3, 1, 2).reshape(len(images), -1)[order],
                "fine_labels": labels[order].tolist(),
                "filenames": names[order].tolist(),
            }
        )
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    source = torchvision.datasets.CIFAR100
    monkeypatch.setattr(source, "train_list", [["train", md5["train"]]])
    monkeypatch.setattr(source, "test_list", [["test", md5["test"]]])
    monkeypatch.setattr(source, "meta", {"filename": "meta", "key": "fine_label_names", "md5": md5["meta"]})
    return files


def lay_out(folder, files):
    (folder / "cifar-100-python").mkdir(parents=True)
    for name, content in files.items():
        (folder / "cifar-100-python" / name).write_bytes(content)


def check_equal_to_npz(data, tiny, folder):
    folder.mkdir()
    np.savez(folder / "cifar100.npz", **tiny)
    expected = datasets.cifar100(folder, seed=3, validation=60)
    assert data.fingerprint == expected.fingerprint and data.classes == expected.classes
    for name in ("train", "validation", "test"):
        assert torch.equal(getattr(data, name).images, getattr(expected, name).images)
        assert torch.equal(getattr(data, name).labels, getattr(expected, name).labels)


def test_extracted_pickles_equal_the_npz(tiny, pickles, no_network, tmp_path):
    lay_out(tmp_path / "downloads", pickles)
    check_equal_to_npz(datasets.cifar100(tmp_path / "downloads", seed=3, validation=60), tiny, tmp_path / "arrays")


@pytest.mark.parametrize("name", ["train", "test", "meta"])
def test_altered_pickles_are_not_opened(pickles, no_network, tmp_path, name):
    lay_out(tmp_path, pickles | {name: pickle.dumps(Trap(tmp_path / "sprung"))})
    with refused("CIFAR-100", "DCLIB_DATA"):
        datasets.cifar100(tmp_path)
    assert not (tmp_path / "sprung").exists()


class Trap:
    """A pickle that writes a file when it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def serve(monkeypatch):
    """Serve bytes as CIFAR-100's archive on this machine; `declared` is the length that the server names."""
    servers = []

    def start(content, declared=None):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(declared or len(content)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        monkeypatch.setattr(
            torchvision.datasets.CIFAR100, "url", f"http://127.0.0.1:{server.server_port}/cifar-100-python.tar.gz"
        )

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def archive(pickles, monkeypatch):
    """The tar.gz of `pickles`, with its checksums expected."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in pickles.items():
            entry = tarfile.TarInfo(f"cifar-100-python/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    content = buffer.getvalue()
    monkeypatch.setattr(torchvision.datasets.CIFAR100, "tgz_md5", hashlib.md5(content).hexdigest())
    monkeypatch.setattr(cifar, "CIFAR100_ARCHIVE_SHA256", hashlib.sha256(content).hexdigest())
    return content


def test_download(tiny, archive, serve, tmp_path, monkeypatch):
    serve(archive)
    check_equal_to_npz(datasets.cifar100(tmp_path / "new" / "folder", seed=3, validation=60), tiny, tmp_path / "arrays")
    monkeypatch.setattr(torchvision.datasets.CIFAR100, "url", "http://127.0.0.1:9/gone")
    datasets.cifar100(tmp_path / "new" / "folder", validation=60)  # a second time without network


@pytest.mark.parametrize("case", ["truncated", "cut off", "altered", "other"])
def test_bad_downloads_leave_nothing(archive, serve, tmp_path, case):
    if case == "cut off":  # the connection ends before the length that was named
        serve(archive[: len(archive) // 2], declared=len(archive))
    else:
        serve({"truncated": archive[: len(archive) // 2], "altered": archive[:-9] + bytes(9), "other": b"<html>"}[case])
    with refused("CIFAR-100", "network"):
        datasets.cifar100(tmp_path)
    assert listing(tmp_path) == []


def test_a_download_with_the_right_md5_but_another_sha256_is_not_opened(archive, serve, tmp_path, monkeypatch):
    serve(archive)
    monkeypatch.setattr(cifar, "CIFAR100_ARCHIVE_SHA256", "0" * 64)
    with refused("SHA-256", "000000000000"):
        datasets.cifar100(tmp_path)
    assert listing(tmp_path) == []


def test_no_network(tiny, no_network, tmp_path):
    with refused("CIFAR-100", "network", "DCLIB_DATA"):
        datasets.cifar100(tmp_path)
    assert listing(tmp_path) == []


def test_a_data_folder_that_cannot_be_made(tiny, no_network, tmp_path):
    (tmp_path / "file").touch()
    with refused("CIFAR-100", "DCLIB_DATA"):
        datasets.cifar100(tmp_path / "file" / "data")


# ---------------------------------------------------------------- the real thing


@pytest.fixture(scope="module")
def real_folder(tmp_path_factory):
    """A folder with the real CIFAR-100: DCLIB_DATA, or unpacked from contact sheets beside the checkout."""
    if (datasets.data_folder() / "cifar100.npz").exists() or (datasets.data_folder() / "cifar-100-python").exists():
        return datasets.data_folder()
    shared = ROOT.parent / "shared"
    tool, sheets = shared / "tools" / "unpack_cifar100.py", shared / "data" / "cifar100"
    if not (tool.exists() and sheets.exists()):
        pytest.skip("the real CIFAR-100 is not on this machine; set DCLIB_DATA to a folder that has it")
    folder = tmp_path_factory.mktemp("cifar100")
    subprocess.run([sys.executable, tool, sheets, folder / "cifar100.npz"], check=True, capture_output=True)
    return folder


@pytest.mark.slow
def test_the_real_cifar100(real_folder):
    data = datasets.cifar100(real_folder)
    assert data.fingerprint == CIFAR100_FINGERPRINT
    assert (len(data.train), len(data.validation), len(data.test)) == (45_000, 5_000, 10_000)
    together = torch.cat([data.train.labels, data.validation.labels])
    assert together.bincount().tolist() == [500] * 100 and data.test.labels.bincount().tolist() == [100] * 100
    assert data.classes[:2] == ("apple", "aquarium_fish") and len(data.classes) == 100
    mean = torch.cat([data.train.images, data.validation.images]).double().mean((0, 2, 3))
    assert torch.allclose(mean, torch.tensor([129.3, 124.1, 112.4], dtype=torch.float64), atol=0.05)


def test_the_fingerprint_of_cifar100_is_the_one_in_the_records():
    assert datasets.fingerprint_of("cifar100") == CIFAR100_FINGERPRINT
