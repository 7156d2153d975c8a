"""The paper's networks by name: the first profile whose weights are published, and the command for what is not."""

import pytest
import torch
from claim_records import record
from support import refused

from dclib import load_model
from dclib.experiments import method_run, profile
from dclib.results import Store


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty folder of results; the networks in data/weights are published beside it."""
    monkeypatch.setenv("DCLIB_RESULTS", str(tmp_path))
    return Store(tmp_path)


@pytest.mark.parametrize(
    "name, asked, given, width",
    [("baseline", None, "paper", 96), ("Baseline", "small", "small", 32), (" finetune-1", None, "small", 32)],
)
def test_the_first_profile_that_is_published(store, name, asked, given, width):
    network = load_model(name, profile=asked)
    assert network.profile == given and next(network.parameters()).shape[0] == width
    assert network(torch.full((2, 3, 32, 32), 128.0)).shape == (2, 100) and not network.training


def test_short_training_comes_before_the_narrow_network(store):
    """A network of the paper's own width, where it is there, in place of one of a third of it."""
    for name in ("short-training", "small"):
        published = store.weights(method_run(profile(name), "Baseline", "blur").base).read_bytes()
        run = method_run(profile(name), "Finetune-9", "blur", 7)
        for network in (run, run.base):
            store.put_weights(network, published)
    assert load_model("finetune-9", seed=7).profile == "short-training"
    assert load_model("finetune-9", seed=7, profile="small").profile == "small"


def test_what_is_not_published_names_its_command(store):
    with refused("Deepcorr-2c for awgn, seed 5", "`dclib run table4 --methods Deepcorr-2c --seeds 5 --profile small`"):
        load_model("deepcorr-2c", distortion="awgn", seed=5)


def test_a_record_without_its_weights_has_to_be_made_again(store):
    """Without --recompute the command would find the record and make nothing."""
    store.put(record(method_run(profile("short-training"), "Deepcorr-2", "blur", 5), accuracy=[0.1] * 7))
    with refused("--seeds 5 --profile short-training --recompute`"):
        load_model("deepcorr-2", seed=5)
    with refused("--seeds 5 --profile paper`"):
        load_model("deepcorr-2", seed=5, profile="paper")
    store.put(record(method_run(profile("paper"), "Deepcorr-3", "blur", 5), accuracy=[0.1] * 7))
    with refused("--seeds 5 --profile paper --recompute`"):  # and not imagenet20, which has the same run
        load_model("deepcorr-3", seed=5)
