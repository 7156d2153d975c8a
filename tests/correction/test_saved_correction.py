"""Corrected networks come back as they were from a file, a copy, a compiler and ONNX, and damaged files are refused."""

import copy
import json
import shutil

import pytest
import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support import CHOSEN, SMALL, images, refused, settled, train_some_steps, trainable_names
from torch import nn

from dclib import correction
from dclib.correction import CRITICALLY_WIDE, UnitDesign, correct, load, save
from dclib.models import AllConvNet

# ---------------------------------------------------------------- saved, copied, compiled, exported


def test_save_and_load(net, corrected, tmp_path):
    train_some_steps(corrected).eval()
    path = correction.save(corrected, tmp_path / "network.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["network.safetensors"]
    loaded = correction.load(net, path)
    assert loaded.correction == corrected.correction
    assert trainable_names(loaded) == trainable_names(corrected)
    with torch.inference_mode():
        assert torch.equal(loaded(images()), corrected(images()))


def test_the_file_is_plain_safetensors(corrected, tmp_path):
    state = load_file(correction.save(corrected, tmp_path / "n.safetensors"))
    assert all(torch.equal(value, state[key]) for key, value in corrected.state_dict().items())


def test_plain_state_dicts_work_too(net, corrected, tmp_path):
    save_file(corrected.state_dict(), tmp_path / "state.safetensors")
    again = correct(net, CHOSEN, SMALL, seed=9).eval()
    again.load_state_dict(load_file(tmp_path / "state.safetensors"))
    with torch.inference_mode():
        assert torch.equal(again(images()), corrected(images()))


def test_designs_survive_the_file(net, tmp_path):
    design = {"conv1": UnitDesign(5, (3, 1, 3), (2, 1, 1), True, False), "conv2": CRITICALLY_WIDE}
    network = correct(net, {"conv1": [0, 1], "conv2": [2]}, design, train_batchnorm=False, also_train=["conv9"])
    loaded = correction.load(net, correction.save(network, tmp_path / "n.safetensors"))
    assert loaded.correction == network.correction and trainable_names(loaded) == trainable_names(network)
    with torch.inference_mode():
        assert torch.equal(loaded(images()), network(images()))


def test_deepcopy(corrected):
    copied = copy.deepcopy(corrected)
    with torch.inference_mode():
        assert torch.equal(copied(images()), corrected(images()))
        expected = corrected(images())
        for value in copied.state_dict().values():
            value.zero_()
        assert torch.equal(corrected(images()), expected)
    assert copied.correction == corrected.correction


@pytest.mark.filterwarnings("ignore")
def test_compiled_graphs(net, corrected, tmp_path):
    compiled = torch.compile(corrected, backend="aot_eager", fullgraph=True)
    with torch.inference_mode():
        assert torch.allclose(compiled(images()), corrected(images()), rtol=1e-5, atol=1e-5)
    loaded = correction.load(net, correction.save(compiled, tmp_path / "compiled.safetensors"))
    with torch.inference_mode():
        assert torch.equal(loaded(images()), corrected(images()))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile needs a C++ compiler")
def test_compiled_code(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(6), nn.Flatten())
    network = settled(correct(model.eval(), {"0": [3, 1]}, UnitDesign(2, (1, 3))))
    with torch.inference_mode():
        assert torch.allclose(torch.compile(network)(images(2, 8)), network(images(2, 8)), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_onnx(corrected, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    path = str(tmp_path / "network.onnx")
    torch.onnx.export(corrected, (images(),), path, dynamo=True, verbose=False)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    exported = session.run(None, {session.get_inputs()[0].name: images().numpy()})[0]
    with torch.inference_mode():
        assert torch.allclose(torch.from_numpy(exported), corrected(images()), rtol=1e-3, atol=1e-4)


# ---------------------------------------------------------------- bad input


def test_save_refuses_other_networks(net, tmp_path):
    with refused("AllConvNet", "correct()"):
        correction.save(net, tmp_path / "n.safetensors")
    assert not list(tmp_path.iterdir())


def test_save_where_nothing_can_be_written(corrected, tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "missing" / "n.safetensors", tmp_path / "file" / "n.safetensors"):
        with refused("save", "folder"):
            correction.save(corrected, path)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_save_to_a_full_disk(corrected, tmp_path, monkeypatch):
    path = correction.save(corrected, tmp_path / "n.safetensors")
    whole = path.read_bytes()

    def half(state, name, metadata=None):
        name.write_bytes(whole[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(correction.saving, "save_file", half)
    with refused("No space left"):
        correction.save(corrected, path)
    assert path.read_bytes() == whole and len(list(tmp_path.iterdir())) == 1


def test_load_refuses_damaged_files(net, corrected, tmp_path):
    path = correction.save(corrected, tmp_path / "n.safetensors")
    whole = path.read_bytes()
    for content in (b"", whole[:4], whole[:200], whole[:-5], whole + b"more", b"\xff" * 50):
        path.write_bytes(content)
        with refused("n.safetensors"):
            correction.load(net, path)
    with refused("gone.safetensors"):
        correction.load(net, tmp_path / "gone.safetensors")


def test_load_refuses_other_files_and_other_networks(net, corrected, tmp_path):
    path = tmp_path / "n.safetensors"
    state = {k: v.contiguous() for k, v in corrected.state_dict().items()}
    plan = corrected.correction
    beyond = [*plan["filters"]["conv1"][:-1], 99]
    for metadata, word in (
        ({}, "description"),
        ({"correction": "{"}, "n.safetensors"),
        ({"correction": json.dumps({"filters": {}})}, "description"),
        ({"correction": json.dumps([1])}, "description"),
        ({"correction": json.dumps(plan | {"filters": plan["filters"] | {"conv1": beyond}})}, "0..7"),
        ({"correction": json.dumps(plan | {"filters": {"conv1": [0]}})}, "weights"),
    ):
        save_file(state, path, metadata)
        with refused(word):
            correction.load(net, path)
    correction.save(corrected, path)
    with refused("weights", "AllConvNet"):
        correction.load(AllConvNet(10, 16), path)


FORGED = {
    "a wide unit": {"width": 10**12},
    "a large kernel": {"kernels": [1, 10**6 + 1]},
    "many layers": {"kernels": [1] * 10**5},
    "half a filter": {"width": 2.5},
    "a word": {"kernels": ["1", "3"]},
    "no list": {"kernels": 3},
}


@pytest.mark.parametrize("case", FORGED)
def test_load_allocates_nothing_for_a_forged_description(net, corrected, tmp_path, case):
    path = correction.save(corrected, tmp_path / "n.safetensors")
    plan = corrected.correction
    plan = plan | {"design": {layer: design | FORGED[case] for layer, design in plan["design"].items()}}
    save_file({k: v.contiguous() for k, v in corrected.state_dict().items()}, path, {"correction": json.dumps(plan)})
    with refused():
        correction.load(net, path)


@pytest.mark.parametrize(
    "change", [{"also_train": 5}, {"also_train": [["conv1"]]}, {"filters": 3}, {"filters": {"conv1": None}}]
)
def test_load_refuses_a_forged_plan(net, corrected, tmp_path, change):
    plan = corrected.correction | change
    path = tmp_path / "n.safetensors"
    save_file({k: v.contiguous() for k, v in corrected.state_dict().items()}, path, {"correction": json.dumps(plan)})
    with refused():
        correction.load(net, path)


def test_load_refuses_metadata_without_end(net, corrected, tmp_path):
    path = tmp_path / "n.safetensors"
    for text in ("[" * 10**5, "9" * 6000, "7"):
        save_file({k: v.contiguous() for k, v in corrected.state_dict().items()}, path, {"correction": text, "shared": "{}"})
        with refused("n.safetensors"):
            correction.load(net, path)


class Tied(nn.Module):
    """Two convolutions with one weight, and a buffer that is a part of another."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3), nn.Conv2d(3, 4, 3)
        self.b.weight = self.a.weight
        self.register_buffer("whole", torch.arange(6.0))
        self.register_buffer("part", self.whole[2:4])

    def forward(self, x):
        return self.c(self.b(self.a(x))).mean((2, 3)) + self.part.sum()


@pytest.mark.parametrize("chosen", ["a", "c"])
def test_tied_weights_are_written_once(chosen, tmp_path):
    network = correct(Tied(), {chosen: [0, 2]}, UnitDesign(2)).eval()
    with safe_open(save(network, tmp_path / "n.safetensors"), "pt") as file:
        weights = [name for name in file.keys() if name.endswith("weight") and "unit" not in name]
    assert len(weights) == 2
    loaded = load(Tied(), tmp_path / "n.safetensors").eval()
    with torch.inference_mode():
        assert torch.equal(loaded(images()), network(images()))
    assert loaded.b.weight is (loaded.a.conv if chosen == "a" else loaded.a).weight


@pytest.mark.parametrize("build", [torchvision.models.mnasnet0_5, torchvision.models.squeezenet1_0])
def test_networks_that_read_their_version(build, tmp_path):
    model = build(num_classes=5).eval()
    layer = next(name for name, m in model.named_modules() if isinstance(m, nn.Conv2d))
    network = correct(model, {layer: [0, 1]}, UnitDesign(2)).eval()
    loaded = load(build(num_classes=5), save(network, tmp_path / "n.safetensors")).eval()
    x = images(2, 64)
    with torch.inference_mode():
        assert torch.equal(loaded(x), network(x))
