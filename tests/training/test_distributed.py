"""Two processes train what one would, and make the records that one would."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from support import free_port, worker_context
from torch import nn

from dclib.correction import UnitDesign, correct
from dclib.datasets import Split
from dclib.execution import obtain
from dclib.experiments import baseline_under, profile
from dclib.results import Store
from dclib.training import Schedule, distributed, train

SCHEDULE = Schedule(6, 8, 0.1, (4,), 3, augmentation="none")
KINDS = ("plain", "corrected")


def data(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return Split(
        torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator),
        torch.randint(0, 3, (count,), generator=generator),
    )


def trained(kind):
    """A network without BatchNorm, for whose gradient the mean over shares is the mean over the mini-batch."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    with torch.no_grad():
        model[1].weight /= 100  # inputs are in 0..255
    schedule = SCHEDULE
    if kind == "corrected":  # most of it frozen, units with their penalty, a dense layer that learns more slowly
        model = correct(model, {"1": [0, 2, 3]}, UnitDesign(width=2, batchnorm=False), also_train=["4"])
        schedule = replace(SCHEDULE, l1=1e-3, factors=(("4", 0.1),))
    train(model, data(32, 0), data(12, 1), schedule, seed=3)
    return model.state_dict()


def share(rank, port, path):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    distributed.start("cpu")
    assert distributed.world_size() == 2 and distributed.rank() == rank
    assert distributed.agreed(rank) == 0
    states = {kind: trained(kind) for kind in KINDS}
    if rank == 0:
        torch.save(states, path)
    distributed.stop()


def test_two_processes_take_the_steps_of_one(tmp_path):
    port, path = free_port(), tmp_path / "state.pt"
    workers = [worker_context().Process(target=share, args=(rank, port, path)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    together = torch.load(path, weights_only=True)
    for kind in KINDS:
        for name, value in trained(kind).items():
            torch.testing.assert_close(together[kind][name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_torchrun_makes_records(tmp_path):
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        str(free_port()),
        "-m",
        "dclib",
        "run",
        "table1",
        "--profile",
        "smoke",
        "--device",
        "cpu",
        "--results",
        str(tmp_path),
        "--quiet",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("2 of 2 runs recorded") == 1
    run, store = baseline_under(profile("smoke"), "blur"), Store(tmp_path)
    found = store.get(run)
    assert found.accuracy.shape == (7,)
    assert (obtain(run, store, recompute=True).accuracy == found.accuracy).all()  # its network is the one that is saved


def test_without_torchrun_there_is_one_process():
    assert distributed.start("cpu") == "cpu"
    assert (distributed.world_size(), distributed.rank(), distributed.agreed("same")) == (1, 0, "same")
    model = nn.Linear(1, 1)
    assert distributed.wrapped(model) is model
