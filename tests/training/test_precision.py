"""Trainings in other precisions than single, and what processors make of each."""

import copy
import math
import os
import platform
import subprocess
import sys

import pytest
import torch
from plain_training import recorded, train_by_hand
from safetensors.torch import load_file, save_file
from support import ROOT, data_of, refused, small_net

from dclib.training import Schedule, loop, train

pytestmark = pytest.mark.slow


def schedule(**changes):
    return Schedule(
        **{
            "iterations": 6,
            "batch_size": 10,
            "learning_rate": 0.05,
            "drops": (4,),
            "evaluate_every": 3,
            "augmentation": "none",
        }
        | changes
    )


def test_bfloat16_trains_too():
    model = small_net()
    before = copy.deepcopy(model.state_dict())
    progress = train(model, data_of(), data_of(6, 1), schedule(iterations=2), seed=1, precision="bfloat16")
    assert math.isfinite(progress.curve[-1]["loss"]) and not torch.equal(model.conv1.weight, before["conv1.weight"])
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_double_precision_is_of_the_whole_training():
    model, by_hand = small_net(), small_net()
    s = schedule(iterations=6, evaluate_every=6)
    shown = recorded(model, data_of(), s, precision="float64")
    assert {images.dtype for images, _ in shown} == {torch.float64}
    train_by_hand(by_hand.double(), shown, s)
    for (name, ours), theirs in zip(model.state_dict().items(), by_hand.float().state_dict().values()):
        assert ours.dtype == theirs.dtype, name  # the network's own again
        if ours.is_floating_point():  # to one rounding, which single precision would have made at every step
            torch.testing.assert_close(ours, theirs, rtol=1.2e-7, atol=1e-12)


def test_a_network_is_in_its_own_precision_whatever_happens():
    model = small_net()
    with pytest.raises(loop.Diverged):
        train(model, data_of(), data_of(6, 1), schedule(learning_rate=1e300), seed=1, precision="float64")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    mixed = small_net()
    mixed.register_buffer("seen", torch.zeros(3, dtype=torch.float16))
    for precision in ("float32", "float64"):
        train(mixed, data_of(), data_of(6, 1), schedule(), seed=1, precision=precision)
        assert mixed.seen.dtype == torch.float16 and mixed.conv1.weight.dtype == torch.float32
    with refused("precision", "float32, bfloat16, float64", "'half'"):
        train(model, data_of(), data_of(6, 1), schedule(), seed=1, precision="half")


_TRAINED = """
import sys, torch
from support import data_of, small_net
from safetensors.torch import load_file, save_file
from dclib.training import Schedule, train
torch.set_num_threads(1)
start, end = sys.argv[1:]
s = Schedule(60, 10, 0.1, (), 60, augmentation="rotate-shift-flip")
for precision in ("float32", "float64"):
    model = small_net()
    model.load_state_dict(load_file(start))  # fresh weights are normal numbers, which processors round otherwise too
    train(model, data_of(), data_of(6, 1), s, seed=1, precision=precision)
    save_file({n: v.contiguous() for n, v in model.state_dict().items()}, f"{end} {precision}")
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the variables are for x86-64 processors")
def test_processors_train_the_same_network_in_double_precision(tmp_path):
    from benchmarks import rounding

    path = os.pathsep.join([str(ROOT), str(ROOT / "tests/kit")])
    save_file(small_net().state_dict(), tmp_path / "start")
    for name, variables in rounding.INSTRUCTIONS.items():
        command = [sys.executable, "-c", _TRAINED, tmp_path / "start", tmp_path / name]
        subprocess.run(command, env=os.environ | {"PYTHONPATH": path} | variables, check=True)
    apart = {}
    for precision in ("float32", "float64"):
        apart[precision] = rounding.apart(*(load_file(tmp_path / f"{name} {precision}") for name in rounding.INSTRUCTIONS))
    assert apart["float32"] > 1e-5 and apart["float64"] < 1e-6
