"""The code on the how-to pages, run exactly as it stands there, and the commands, parsed."""

import re
import shlex
from itertools import product

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from support import ROOT
from torchvision.models import resnet18

from dclib import correction
from dclib.cli import _parser
from dclib.datasets import fingerprint_of
from dclib.evaluation import hits_on
from dclib.experiments import HALVES, PROFILES, TARGETS, imagenet
from dclib.models import TRUNK_SHA256, AllConvNet

PAGES = [ROOT / "README.md", *sorted((ROOT / "book").glob("*.md")), *sorted((ROOT / "notebooks").glob("*.md"))]


def block(page, heading, language="python"):
    """The first code block under a heading of a page of the book."""
    text = (ROOT / f"book/{page}.md").read_text(encoding="utf-8")
    return re.search(rf"^```{language}\n(.*?)^```", text[text.index(f"\n## {heading}") :], re.DOTALL | re.MULTILINE)[1]


def run(code, **given):
    """The names that `code` leaves behind, beginning with those given."""
    names = {"__name__": "page"} | given
    exec(compile(code, "page", "exec"), names)
    return names


@pytest.fixture
def image_folder(tmp_path, monkeypatch):
    """The working folder of the ResNet-18 script: two classes of twenty images to train on and one to test, random weights."""
    rng = np.random.default_rng(0)
    for (number, name), (part, count) in product(enumerate(("cat", "dog")), (("train", 20), ("val", 1))):
        folder = tmp_path / "images" / part / name
        folder.mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(100 * number, 100 * number + 150, (60, 80, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.jpg")
    save_file(resnet18(num_classes=2).state_dict(), tmp_path / "resnet18.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_resnet18_from_a_folder_to_onnx(image_folder, capsys):
    code = block("how_to_your_model", "The whole way: a ResNet-18 and a folder of images")
    assert len(code.splitlines()) < 40
    # Each of 64 swaps of the first layer goes through the whole network: on fewer pixels in less time.
    assert code.count("(112, 112)") == 1
    made = run(code.replace("(112, 112)", "(32, 32)"))
    model, corrected, clean = made["model"], made["corrected"], made["clean"]
    assert made["priorities"]["1.conv1"].shape == (64,) and clean.shape == (40, 3, 32, 32)
    printed = capsys.readouterr().out.splitlines()[-2:]
    for line, tested in zip(printed, (model, corrected), strict=True):
        right = hits_on(tested, made["levels"], made["truth"])
        assert made["levels"].shape == (4, 2, 3, 32, 32) and line == str(right.double().mean(1).numpy())
        with torch.inference_mode():
            assert torch.equal(right[0], tested(made["new"]).argmax(1) == made["truth"])
    filters = corrected.correction["filters"]["1.conv1"]
    assert len(filters) == 32
    state, original = corrected.state_dict(), model.state_dict()
    assert torch.equal(state["1.layer4.1.conv2.weight"], original["1.layer4.1.conv2.weight"])
    assert all(
        "conv1.unit" in name or name in ("1.bn1.weight", "1.bn1.bias")
        for name, p in corrected.named_parameters()
        if p.requires_grad
    )
    with torch.inference_mode():
        expected = corrected(clean)
        assert not torch.allclose(expected, model(clean))
        assert torch.equal(correction.load(model, image_folder / "corrected.safetensors").eval()(clean), expected)
    session = onnxruntime.InferenceSession(image_folder / "corrected.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: clean.numpy()})
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-3)


def test_network_trained_on_arrays_of_ones_own(tmp_path, monkeypatch, capsys):
    labels = np.arange(240) % 2
    dark = np.random.default_rng(0).integers(0, 100, (240, 32, 32, 3))  # told from the bright ones at any blur
    np.savez(tmp_path / "mine.npz", images=(dark + 100 * labels[:, None, None, None]).astype(np.uint8), labels=labels)
    monkeypatch.chdir(tmp_path)
    made = run(block("how_to_your_data", "Arrays"))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"sigma_b = {s:g}" for s in (0, 0.5, 1, 1.5, 2, 2.5, 3)]
    assert float(lines[0].split()[-1]) > 0.9 and made["progress"].iteration == 60
    assert [len(made[name]) for name in ("training", "validation", "test")] == [81, 81, 78]


def test_distortion_of_ones_own():
    torch.manual_seed(0)
    model = AllConvNet(3, 4).eval()
    given = {"model": model, "layers": ["conv1"], "clean": torch.rand(6, 3, 32, 32) * 255, "labels": torch.arange(6) % 3}
    made = run(block("how_to_your_distortion", "A camera with fewer pixels"), **given)
    assert made["priorities"]["conv1"].shape == (4,) and len(made["corrected"].correction["filters"]["conv1"]) == 2
    blocks = given["clean"].numpy().reshape(6, 3, 8, 4, 8, 4).mean((3, 5))
    np.testing.assert_allclose(made["coarse"](given["clean"], 4), blocks.repeat(4, 2).repeat(4, 3), rtol=1e-5)


def test_page_names_the_files_of_the_imagenet_half():
    """A reader who has them can check that they are the right ones."""
    page = (ROOT / "book/how_to_reexecute.md").read_text(encoding="utf-8")
    assert TRUNK_SHA256 in page and fingerprint_of("imagenet20")[:16] in page
    classes = re.search(r"^```text\n((?:n\d{8}\s)+)```", page, re.MULTILINE)[1].split()
    assert len(set(classes)) == len(imagenet.CLASSES["imagenet20"]) == 20 and classes == sorted(classes)


def commands():
    """Every `dclib` command of a shell block on any page, with its page."""
    for page in PAGES:
        for shell in re.findall(r"^```bash\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
            for line in shell.splitlines():
                if line.startswith("dclib "):
                    yield pytest.param(line, id=f"{page.stem}: {line}")


@pytest.mark.parametrize("command", list(commands()))
def test_commands_are_understood(command):
    options = _parser().parse_args(shlex.split(command, comments=True)[1:])
    for target in [*getattr(options, "targets", []), *filter(None, [getattr(options, "target", None)])]:
        assert target in (*HALVES, *TARGETS)
    assert getattr(options, "profile", "small") in PROFILES
