"""EfficientNet-Lite0 as runs: how they begin, how they are trained without labels, and where the true class comes."""

import numpy as np
import pytest
import torch
from support import data_of, images, needs_extra, refused, small_net
from torch import nn
from torch.nn import functional as F

from dclib.correction import UnitDesign, correct
from dclib.datasets import Dataset, Split, Subset
from dclib.evaluation import hits_on, places_on
from dclib.execution.checkpoint import Parts
from dclib.execution.inputs import Inputs, filters_of, spaced, untrained
from dclib.execution.makers import train_network
from dclib.experiments import Run, efficientnet, profile, rows, trained_parameters
from dclib.models import count_parameters
from dclib.training import Schedule, answers

SCHEDULE = Schedule(4, 8, 0.05, (), 2, augmentation="none")


def test_the_place_of_the_true_class_is_that_of_a_sorted_list():
    network, seen = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32**2, 10)), images(9)
    labels = torch.arange(9) % 10
    places = places_on(network, torch.stack([seen, seen + 20]), labels)
    with torch.no_grad():
        order = network(seen).argsort(1, descending=True)
    assert places[0].tolist() == [row.tolist().index(label) for row, label in zip(order, labels.tolist())]
    assert torch.equal(places == 0, hits_on(network, torch.stack([seen, seen + 20]), labels))
    with refused("labels"):
        places_on(network, seen[None], labels + 5)


def test_answers_are_those_of_the_network_without_its_units():
    network, data = small_net(), data_of(20)
    corrected = correct(network, {"conv1": [0, 1]}, UnitDesign(width=3))
    rows = Subset(data.images, torch.arange(19, -1, -1))
    with torch.no_grad():
        assert torch.allclose(answers(corrected, rows), network(data.images.float()).softmax(1).flip(0), atol=1e-5)


def test_a_run_without_labels_never_looks_at_them(store, monkeypatch):
    """What is trained on other labels is the same network."""
    run = Run(
        "train",
        "Deepcorr-1",
        "d",
        "f" * 64,
        10,
        4,
        0,
        "blur",
        (1.0,),
        layers=("conv1",),
        schedule=SCHEDULE,
        design=UnitDesign(width=3, begins_at_zero=True),
        unlabelled=True,
    )
    trained = []
    for labels in (torch.zeros(40, dtype=torch.int64), torch.arange(40) % 10):
        images = Split(data_of(40).images, labels)
        data = Dataset("d", images, images.take(torch.arange(10)), images, tuple("abcdefghij"), "imagenet", "f" * 64)
        inputs = Inputs(data, correct(small_net(), {"conv1": [0, 1]}, run.design), {}, None)
        with Parts(run, store.checkpoint(run)) as parts:
            progress = train_network(run, inputs, torch.device("cpu"), parts)
        store.checkpoint(run).unlink()
        trained.append((inputs.network.state_dict(), progress.curve))
    assert all(torch.equal(trained[0][0][k], v) for k, v in trained[1][0].items()) and trained[0][1] == trained[1][1]


def test_its_loss_falls_as_the_divergence_does():
    """Cross-entropy with a teacher's probabilities is the divergence from them and their own entropy."""
    said, own = torch.randn(5, 10).softmax(1), torch.randn(5, 10)
    entropy = -(said * said.log()).sum(1).mean()
    divergence = F.kl_div(own.log_softmax(1), said, reduction="batchmean")
    assert torch.allclose(F.cross_entropy(own, said), divergence + entropy, atol=1e-6)


def test_a_unit_that_begins_at_zero_changes_nothing():
    network, seen = small_net(), images(3)
    fresh = correct(
        network, {"conv1": [0, 2], "conv3": [1]}, UnitDesign(width=3, begins_at_zero=True), train_batchnorm=False
    )
    with torch.no_grad():
        assert torch.equal(fresh.eval()(seen), network(seen))


def test_spaced_filters():
    assert spaced(32, 16) == list(range(0, 32, 2)) and spaced(5, 5) == list(range(5)) and spaced(7, 2) == [0, 3]


@pytest.mark.parametrize("distortion", ["blur", "awgn"])
def test_all_retrainings_see_the_same_images(distortion):
    found = rows({"blur": "efficientnet_blur", "awgn": "efficientnet_noise"}[distortion], profile("small"))
    trained = [run for (run,) in found.values() if run.kind == "train"]
    assert len(trained) == 3 and all(run.layers == trained[0].layers for run in trained)
    assert len({(run.schedule.iterations, run.schedule.batch_size, run.seed, run.validation_images) for run in trained}) == 1
    assert [run.unlabelled for run in trained] == [True, False, False]
    assert rows("efficientnet_blur", profile("paper")) == {}


@needs_extra
def test_networks_of_its_runs(store):
    run = efficientnet.deepcorrect("blur")
    network = untrained(run, store)
    assert {layer: len(chosen) for layer, chosen in filters_of(run, store).items()} == efficientnet.FILTERS
    assert count_parameters(network) == trained_parameters(run) == 126_240
    finetuned = untrained(efficientnet.finetune("blur"), store)
    assert count_parameters(finetuned) == trained_parameters(efficientnet.finetune("blur")) < 126_240
    names = {name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    assert set(efficientnet.convolutions(6)) - set(efficientnet.FILTERS) <= names
    assert np.isin(list(efficientnet.FILTERS)[:7], efficientnet.convolutions(6)).all()
