"""Selected filters as runs: the election, what each way trains, and few samples."""

import numpy as np
import pytest
import torch
from safetensors.torch import save
from scipy.stats import rankdata
from support import data_of, settled, small_net

from dclib.datasets import Dataset
from dclib.evaluation import distorted_copies
from dclib.execution import electing
from dclib.execution.checkpoint import Parts
from dclib.execution.inputs import Inputs, filters_of, training_images, with_method
from dclib.experiments import Run, Selection, neighbours, profile, rows, trained_parameters
from dclib.models import ResNet8, count_parameters, multiply_adds
from dclib.results import Record

SMALL = profile("small")
RUN = Run(
    "elect",
    "Borda",
    "d",
    "f" * 64,
    10,
    4,
    0,
    "blur",
    (1.0, 2.0),
    layers=("conv1", "conv4"),
    ranking_images=1,
    ranking_split="train",
)


def whole(data):
    return Dataset("d", data, data, data, tuple("abcdefghij"), "cifar100", "f" * 64)


def test_each_image_and_level_has_one_vote(store):
    network, data = small_net(), data_of(60)
    with Parts(RUN, store.checkpoint(RUN)) as parts:
        outcome = electing.make_election(RUN, Inputs(whole(data), network, {}, None), torch.device("cpu"), parts)
    chosen = electing.ranking_images(RUN, whole(data))
    assert outcome["voters"] == 2 * len(chosen) and len(chosen) == len(data.labels.unique())
    points = np.zeros(4)
    for level in distorted_copies(chosen, "blur", RUN.sigmas):
        with torch.no_grad():
            maps = [torch.relu(network.bn1(network.conv1(network.normalize(x)))) for x in (chosen.images.float(), level)]
        moved = (maps[1] - maps[0]).square().mean((2, 3)).sqrt().numpy()
        points += np.sum([rankdata(row) - 1 for row in moved], axis=0)
    np.testing.assert_allclose(outcome["points"]["conv1"], points)
    assert len(outcome["points"]["conv4"]) == 8


@pytest.mark.parametrize("order, chosen", [("elected", [1, 3]), ("unelected", [2, 0])])
def test_filters_are_those_with_most_or_fewest_points(store, order, chosen):
    store.put(Record(RUN.description, {"points": {"conv1": [2.0, 9.0, 1.0, 4.0]}}, {}, {}))
    run = Run(
        "train",
        "Elected filters",
        "d",
        "f" * 64,
        10,
        4,
        0,
        "blur",
        (1.0,),
        layers=("conv1",),
        ranking=RUN,
        selection=Selection(order, "local", "borda", (("conv1", 2),)),
    )
    found = filters_of(run, store)
    assert found == {"conv1": chosen}
    network = small_net()
    copied = with_method(run, network, found)
    assert count_parameters(copied) == 2 * 28 == trained_parameters(run)
    trained = [p for p in copied.parameters() if p.requires_grad]
    assert save({k: v.contiguous() for k, v in copied.state_dict().items()})  # as a training does
    assert torch.equal(trained[0], network.conv1.weight[chosen]) or torch.equal(trained[1], network.conv1.weight[chosen])


def test_a_few_samples_are_so_many_of_each_class():
    run = Run("train", "All layers", "d", "f" * 64, 10, 4, 5, training_images=2)
    data = data_of(100)
    found = training_images(run, whole(data))
    assert found.labels.bincount().tolist() == [2] * 10
    assert torch.equal(found.images, training_images(run, whole(data)).images)
    assert training_images(Run("train", "All", "d", "f" * 64, 10, 4, 5), whole(data)) is data


def test_a_residual_network_is_he_et_als():
    network = settled(ResNet8(100))
    assert count_parameters(network) == 83_892
    assert 12_000_000 < multiply_adds(network, 3, 32, 32) < 13_000_000  # four tenths of the narrow AllConvNet's
    seen = 255 * torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        x = torch.relu(network.bn1(network.conv1(network.normalize(seen))))
        block = network.block1
        inside = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x)))))
        assert torch.equal(block(x), torch.relu(inside + x)) and network.block2(x).shape == (2, 32, 16, 16)
        assert network(seen).shape == (2, 100)


@pytest.mark.parametrize("network", neighbours.NETWORKS)
def test_ways_see_the_same_images_and_units_cost_no_more_parameters(network):
    runs = {way: neighbours.retrained(SMALL, network, "blur", way, 5) for way in neighbours.WAYS}
    lengths = {(r.schedule.iterations, r.schedule.batch_size, r.training_images, r.seed) for r in runs.values()}
    assert len(lengths) == 1 and len({run.id for run in runs.values()}) == 6
    count = {way: trained_parameters(run) for way, run in runs.items()}
    assert count["elected filters"] == count["random filters"] == count["least affected filters"] < count["whole layers"]
    assert count["whole layers"] < count["all layers"]
    assert 0.96 * count["elected filters"] < count["correction units"] <= count["elected filters"]
    assert (network == "AllConvNet") == (runs["all layers"].base == neighbours.cifar100.baseline(SMALL))


def test_its_runs():
    found = rows("selected_filters", SMALL)
    assert len(found) == 2 * 2 * (1 + 3 * 6) and rows("selected_filters", profile("paper")) == {}
    assert all(run.test_images == 10 for (run,) in found.values())
    families = neighbours.families(SMALL)
    assert len({len(rates) for rates, _ in families.values()}) == 1
