"""The live demo: what is exported equals PyTorch's, and what JavaScript distorts equals dclib's."""

import json
import re

import export_demo as exporter
import numpy as np
import pytest
import torch
from support import ROOT, refused, settled

from dclib import correction, models
from dclib.distortions import LEVELS, additive_white_gaussian_noise, gaussian_blur

STATIC = ROOT / "book/_static/demo"
CIFAR100_INDEX = ROOT.parent / "shared/data/cifar100/index.json"


@pytest.fixture
def page(browser):
    """An empty page that knows blur and noise."""
    opened = browser.new_page()
    opened.add_script_tag(path=STATIC / "distortion.js")
    yield opened
    opened.close()


def image():
    return torch.randint(0, 256, (1, 3, 32, 32), generator=torch.Generator().manual_seed(3)).float()


# At 0.25, 0.75 and 1.25 the window's size lies halfway between two odd numbers; at 0.1 it has one tap.
@pytest.mark.parametrize("sigma", [0, 0.1, 0.25, 0.3, 0.75, 1.25, 1.7, *LEVELS["cifar100"]["blur"]])
def test_blur_in_javascript_is_that_of_dclib(page, sigma):
    blurred = page.evaluate(
        "([image, sigma]) => [...dclibDemo.blur(Float32Array.from(image), sigma)]", [image().flatten().tolist(), sigma]
    )
    assert np.allclose(blurred, gaussian_blur(image(), sigma).flatten().numpy(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("sigma", [0, *LEVELS["cifar100"]["awgn"]])
def test_noise_in_javascript_is_that_of_dclib(page, sigma, seed):
    field = exporter.noise_fields()[seed].flatten().tolist()
    noisy = page.evaluate(
        "([image, sigma, field]) => [...dclibDemo.addNoise(Float32Array.from(image), sigma, field)]",
        [image().flatten().tolist(), sigma, field],
    )
    expected = additive_white_gaussian_noise(image(), sigma, torch.Generator().manual_seed(seed))
    assert np.allclose(noisy, expected.flatten().numpy(), rtol=0, atol=1e-3)


def test_javascript_leaves_the_given_image_as_it_was(page):
    untouched = page.evaluate(
        """image => {
      const given = Float32Array.from(image);
      dclibDemo.blur(given, 2);
      dclibDemo.addNoise(given, 20, image);
      return given.every((value, i) => value === image[i]);
    }""",
        image().flatten().tolist(),
    )
    assert untouched


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_export_equals_pytorch_and_itself():
    import onnxruntime

    filters = {"conv1": [0, 2], "conv4": [1, 5, 6]}
    network = settled(correction.correct(models.AllConvNet(10, width=4), filters, correction.UnitDesign(width=4)))
    content = exporter.onnx_file(network)
    assert content == exporter.onnx_file(network)
    assert str(ROOT).encode() not in content and b".py" not in content
    session = onnxruntime.InferenceSession(content)
    with torch.inference_mode():
        expected = network(image())
    (found,) = session.run(["logits"], {"images": image().numpy()})
    assert np.abs(found - expected.numpy()).max() < 1e-3


def test_classes_are_those_of_cifar100():
    assert len(exporter.CLASSES) == 100 and exporter.CLASSES == sorted(exporter.CLASSES)
    assert all(name is None or name in exporter.CLASSES for _, _, name in exporter.EXAMPLES.values())
    if not CIFAR100_INDEX.exists():
        pytest.skip("CIFAR-100's class names are not on this machine")
    assert exporter.CLASSES == json.loads(CIFAR100_INDEX.read_text())["classes"]


def test_examples_are_small_colour_images():
    for photograph, square, _ in exporter.EXAMPLES.values():
        pixels = exporter.example_image(photograph, square)
        assert pixels.shape == (3, 32, 32) and pixels.dtype == np.uint8 and pixels.std() > 20


def test_altered_runtime_is_refused(tmp_path, monkeypatch):
    assert len(exporter.checked_runtime()) == 3
    for path in exporter.RUNTIME.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with (tmp_path / "ort.wasm.min.js").open("ab") as file:
        file.write(b" ")
    monkeypatch.setattr(exporter, "RUNTIME", tmp_path)
    with refused("ort.wasm.min.js", "SHA-256", "git"):
        exporter.checked_runtime()


def test_missing_networks_are_not_run_yet():
    assert "not run yet" in exporter.accuracy_tables({}, "small")
    data = exporter.page_data({("Baseline", "blur"): None}, "small")
    assert data["networks"] == {"Baseline blur": "baseline"} and data["command"].startswith("dclib run table3")


def test_failed_export_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(exporter, "OUTPUT", tmp_path / "demo")
    monkeypatch.setattr(exporter, "published_networks", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        exporter.export()
    assert list(tmp_path.iterdir()) == []


def test_page_asks_only_its_own_folder():
    for path in (STATIC / "demo.js", STATIC / "distortion.js", STATIC / "demo.css", ROOT / "book/live_demo.md"):
        sources = re.findall(r"(?:src|href)=\"([^\"]+)|url\(([^)]+)|fetch\((.*)\)", path.read_text(encoding="utf-8"))
        assert all(first.startswith("../_static/demo/") for first, *_ in sources)
