"""Shared by all tests: one thread, a fixed seed, and folders of their own."""

import os

import numpy as np
import pytest
import torch

from dclib.results import Store

torch.set_num_threads(1)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes seconds; leave out with -m 'not slow'")


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
