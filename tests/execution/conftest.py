"""What sweeps of several processes are held against."""

import pytest
from sweeps import some_runs

from dclib.execution.runner import Swept, sweep
from dclib.results import Store


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> Store:
    """The results of a sweep that was left alone, in this process."""
    store = Store(tmp_path_factory.mktemp("calm") / "results")
    assert sweep(some_runs(), store, progress=False, say=lambda line: None) == Swept(5, 0, False)
    return store
