"""Stopped trainings end as uninterrupted ones do, and damaged checkpoints are refused and left as they are."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from support import data_of, refused, small_net

from dclib.correction import UnitDesign, correct
from dclib.models import trainable_copy
from dclib.training import OutOfTime, Schedule, loop, train

KINDS = {
    "baseline": (small_net, None),
    "finetune": (lambda: trainable_copy(small_net(), ["conv1", "conv2"]), "awgn"),
    "deepcorrect": (
        lambda: correct(small_net(), {"conv1": [0, 3]}, UnitDesign(2, input_batchnorm=True), also_train=["conv8"]),
        "blur",
    ),
}
RESUMED = Schedule(8, 10, 0.05, (5,), 3, warm_up=2, warm_up_rate=0.01, decay=1e-3, l1=1e-3, l2=(("conv1", 1e-3),))


def run_until(model, kind, path, monkeypatch, stop=None):
    """Train for `stop` iterations of the clock, which counts the iterations of this process."""
    count = [0]
    hook = model.register_forward_pre_hook(lambda m, i: count.__setitem__(0, count[0] + m.training))
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: float(count[0])))
    distortion = KINDS[kind][1]
    try:
        return train(
            model,
            data_of(24),
            data_of(6, 1),
            RESUMED,
            seed=5,
            distortion=distortion,
            sigmas=(1.0, 3.0) if distortion else (),
            checkpoint=path,
            deadline=None if stop is None else stop - 0.5,
        )
    finally:
        hook.remove()


@pytest.fixture(scope="module")
def undisturbed():
    made = {}

    def result(kind):
        if kind not in made:
            model = KINDS[kind][0]()
            with pytest.MonkeyPatch.context() as patch:
                made[kind] = model, run_until(model, kind, None, patch)
        return made[kind]

    return result


def check_same_end(model, progress, expected_model, expected):
    assert progress.curve == expected.curve
    assert (progress.iteration, progress.best_iteration, progress.best_accuracy) == (
        expected.iteration,
        expected.best_iteration,
        expected.best_accuracy,
    )
    assert all(torch.equal(v, expected_model.state_dict()[k]) for k, v in model.state_dict().items())
    assert not model.training


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stops", [[1], [3], [4], [7], [2, 2, 2], [1] * 7, [3, 3], [5, 1]], ids=str)
def test_a_stopped_run_ends_as_an_uninterrupted_one(undisturbed, kind, stops, tmp_path, monkeypatch):
    path = tmp_path / "checkpoints" / "run.safetensors"
    for done, stop in enumerate(stops, start=1):
        with pytest.raises(OutOfTime):
            run_until(KINDS[kind][0](), kind, path, monkeypatch, stop)
        with safe_open(path, "pt") as file:
            assert json.loads(file.metadata()["progress"])["iteration"] == sum(stops[:done])
    model = KINDS[kind][0]()
    progress = run_until(model, kind, path, monkeypatch)
    check_same_end(model, progress, *undisturbed(kind))
    assert [p.name for p in path.parent.iterdir()] == ["run.safetensors"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_goes_on_from_its_last_look(undisturbed, kind, tmp_path, monkeypatch):
    path = tmp_path / "run.safetensors"

    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    model = KINDS[kind][0]()
    count = [0]
    model.register_forward_pre_hook(
        lambda m, i: count.__setitem__(0, count[0] + m.training) or (kill() if count[0] == 6 else None)
    )
    with pytest.raises(Killed):
        train(
            model,
            data_of(24),
            data_of(6, 1),
            RESUMED,
            seed=5,
            distortion=KINDS[kind][1],
            sigmas=(1.0, 3.0) if KINDS[kind][1] else (),
            checkpoint=path,
        )
    model = KINDS[kind][0]()
    check_same_end(model, run_until(model, kind, path, monkeypatch), *undisturbed(kind))


def test_a_checkpoint_of_the_end_ends_at_once(undisturbed, tmp_path, monkeypatch):
    path = tmp_path / "run.safetensors"
    with pytest.raises(OutOfTime):
        run_until(KINDS["baseline"][0](), "baseline", path, monkeypatch, 7)
    model = KINDS["baseline"][0]()
    run_until(model, "baseline", path, monkeypatch, stop=1)  # one iteration is left, and done, late as it is
    assert all(torch.equal(v, undisturbed("baseline")[0].state_dict()[k]) for k, v in model.state_dict().items())


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "run.safetensors"
    with pytest.raises(OutOfTime):
        run_until(KINDS["finetune"][0](), "finetune", path, monkeypatch, 4)
    return path


def rewritten(path, change_tensors=lambda t: t, change_metadata=lambda m: m):
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file(change_tensors(load_file(path)), path, change_metadata(metadata))


def without(prefix):
    return lambda tensors: {k: v for k, v in tensors.items() if not k.startswith(prefix)}


DAMAGE = {
    "empty": lambda p: p.write_bytes(b""),
    "header": lambda p: p.write_bytes(p.read_bytes()[:50]),
    "half": lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]),
    "last byte": lambda p: p.write_bytes(p.read_bytes()[:-1]),
    "noise": lambda p: p.write_bytes(b"\x93\x07" * 500),
    "no progress": lambda p: rewritten(p, change_metadata=lambda m: {}),
    "no metadata": lambda p: rewritten(p, change_metadata=lambda m: None),
    "half of the progress": lambda p: rewritten(p, change_metadata=lambda m: {"progress": m["progress"][:20]}),
    "other progress": lambda p: rewritten(p, change_metadata=lambda m: {"progress": '{"epoch": 3}'}),
    "list": lambda p: rewritten(p, change_metadata=lambda m: {"progress": "[1]"}),
    "no momentum": lambda p: rewritten(p, without("momentum.1")),
    "no best": lambda p: rewritten(p, without("best.conv1")),
    "no model": lambda p: rewritten(p, without("model.bn3")),
    "other momentum": lambda p: rewritten(p, lambda t: t | {"momentum.0": torch.zeros(3, 3)}),
    "other network": lambda p: rewritten(p, lambda t: t | {"model.conv1.weight": torch.zeros(5, 3, 3, 3)}),
    "folder": lambda p: (p.unlink(), p.mkdir()),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_checkpoints(checkpoint, monkeypatch, case):
    DAMAGE[case](checkpoint)
    content = checkpoint.read_bytes() if checkpoint.is_file() else None
    with refused("run.safetensors", "delete"):
        run_until(KINDS["finetune"][0](), "finetune", checkpoint, monkeypatch)
    assert content is None or checkpoint.read_bytes() == content


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("I/O error: no space left")])
def test_a_checkpoint_that_cannot_be_written(checkpoint, monkeypatch, error):
    whole = checkpoint.read_bytes()

    def fail(tensors, path, metadata):
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr("dclib.training.checkpoint.save_file", fail)
    with refused("DCLIB_RESULTS", "o space left"):
        run_until(KINDS["finetune"][0](), "finetune", checkpoint, monkeypatch)
    assert checkpoint.read_bytes() == whole and len(list(checkpoint.parent.iterdir())) == 1


def test_a_checkpoint_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with refused("DCLIB_RESULTS"):
        run_until(small_net(), "baseline", tmp_path / "file" / "run.safetensors", monkeypatch)
