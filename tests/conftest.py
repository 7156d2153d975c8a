"""Shared by all tests: one thread, a fixed seed, and folders of their own."""

import os
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from chromium import chromium
from support import CHOSEN, SMALL, settled
from torch import nn

from dclib.correction import correct
from dclib.errors import InputError
from dclib.models import AllConvNet
from dclib.results import Store

torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = (
    "1"  # of processes that are started too: with two on each of two cores they wait for each other
)
_VARIABLES = pytest.StashKey[dict[str, str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes seconds; leave out with -m 'not slow'")
    config.addinivalue_line("markers", "pages: opens the built book in a browser; make check-pages runs it")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, then notebooks, so that no process is left alone with them in the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in slow, item.path.suffix != ".ipynb"))  # keeps the order within


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item):
    """A kernel of nbval starts with the records and data of the references, not with those of this machine."""
    if item.path.suffix != ".ipynb":
        return (yield)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _reference_environment(item.config).items():
            patch.setenv(name, value)
        return (yield)


def _reference_environment(config: pytest.Config) -> dict[str, str]:
    """One for all notebooks of a session, so that they share their live runs."""
    if _VARIABLES not in config.stash:
        from reference_notebooks import environment

        stack = ExitStack()
        config.stash[_VARIABLES] = stack.enter_context(environment())
        config.add_cleanup(stack.close)
    return config.stash[_VARIABLES]


@pytest.fixture(autouse=True)
def seeded(monkeypatch) -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    monkeypatch.setenv("no_proxy", "*")  # servers of the tests are on this machine


@pytest.fixture
def store(tmp_path) -> Store:
    """An empty results folder."""
    return Store(tmp_path / "results")


@pytest.fixture
def net() -> AllConvNet:
    """A small network to correct."""
    return settled(AllConvNet(num_classes=10, width=8))


@pytest.fixture
def corrected(net) -> nn.Module:
    """`net` with units for its filters `CHOSEN`."""
    network = correct(net, CHOSEN, SMALL)
    for i, (layer, chosen) in enumerate(CHOSEN.items()):  # only what is new: the rest has the statistics of `net`
        settled(network.get_submodule(layer).unit, seed=i)
        new = settled(nn.BatchNorm2d(len(chosen)), seed=i)
        partial = network.get_submodule(layer.replace("conv", "bn"))
        partial.weight.data.copy_(new.weight.data), partial.bias.data.copy_(new.bias.data)
        partial.batchnorm.running_mean[chosen] = new.running_mean
        partial.batchnorm.running_var[chosen] = new.running_var
    return network


@pytest.fixture
def read_only():
    """Makes a folder read-only for this test; skips where that stops nobody (root)."""
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    changed = []

    def protect(folder) -> None:
        folder.chmod(0o555)
        changed.append(folder)

    yield protect
    for folder in changed:
        folder.chmod(0o755)


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium; skips where there is none."""
    pytest.importorskip("playwright", reason="playwright is not installed")
    try:
        with chromium() as started:
            yield started
    except InputError as error:
        pytest.skip(str(error))
