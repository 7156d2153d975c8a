"""From accuracies and activations to the filters to correct: scores, selection and votes, written out."""

import numpy as np
import pytest
import torch
from support import refused

from dclib.models import AllConvNet
from dclib.ranking import activation_distances, borda_count, correction_priority, select_global, select_local

# ---------------------------------------------------------------- scores


def test_priority_is_equation_1():
    swapped, before = np.random.RandomState(0).rand(20, 6), np.random.RandomState(1).rand(6)
    assert correction_priority(swapped, before) == pytest.approx(np.mean(swapped, axis=1) - np.mean(before))


def test_relative_error_is_that_of_the_released_code():
    swapped, before = np.random.RandomState(0).rand(20, 6), np.random.RandomState(1).rand(6)
    error, swapped_error = 1 - before, 1 - swapped
    expected = np.mean(np.abs(swapped_error - error) / error, axis=1)
    assert correction_priority(swapped, before, score="relative_error") == pytest.approx(expected)


def test_a_swap_that_hurts_counts_only_in_the_relative_error():
    swapped, before = np.array([[0.4], [0.6], [0.5]]), np.array([0.5])
    assert correction_priority(swapped, before).tolist() == pytest.approx([-0.1, 0.1, 0])
    assert correction_priority(swapped, before, score="relative_error").tolist() == pytest.approx([0.2, 0.2, 0])


def test_a_level_without_errors_adds_nothing():
    swapped, before = np.array([[1.0, 0.75], [0.5, 0.5]]), np.array([1.0, 0.5])
    assert correction_priority(swapped, before, score="relative_error").tolist() == [0.25, 0.0]
    assert correction_priority(swapped, before).tolist() == [0.125, -0.25]


def test_scores_take_lists_and_keep_their_input():
    swapped, before = [[0.5, 0.25], [1, 0]], [0.5, 0.5]
    assert correction_priority(swapped, before).tolist() == [-0.125, 0.0]
    arrays = np.array(swapped), np.array(before)
    correction_priority(*arrays, score="relative_error")
    assert arrays[0].tolist() == swapped and arrays[1].tolist() == before


# ---------------------------------------------------------------- selection

SCORES = {"conv1": np.array([0.1, 0.3, 0.3, -0.2]), "conv2": np.array([0.3, 0.0, 0.5, 0.0, 0.0, 0.1])}


def test_local_selection_ranks_within_each_layer():
    chosen = select_local(SCORES, 0.5)
    assert {k: v.tolist() for k, v in chosen.items()} == {"conv1": [1, 2], "conv2": [2, 0, 5]}
    assert {k: v.tolist() for k, v in select_local(SCORES, 1.0).items()} == {
        "conv1": [1, 2, 0, 3],
        "conv2": [2, 0, 5, 1, 3, 4],
    }


def test_one_fraction_per_layer():
    chosen = select_local(SCORES, {"conv1": 0.25, "conv2": 0.0})
    assert chosen["conv1"].tolist() == [1] and chosen["conv2"].tolist() == []


@pytest.mark.parametrize("count, of", [(50, 96), (100, 192), (48, 96), (96, 192), (16, 32), (32, 64), (776, 1376)])
def test_fractions_give_the_counts_that_they_came_from(count, of):
    assert len(select_local({"a": np.random.rand(of)}, count / of)["a"]) == count


@pytest.mark.parametrize("of", [7, 24, 96, 97])
def test_every_count_comes_back_from_its_fraction(of):
    for count in range(of + 1):
        assert len(select_local({"a": np.zeros(of)}, count / of)["a"]) == count


def test_global_selection_ranks_all_layers_together():
    assert {k: v.tolist() for k, v in select_global(SCORES, 4).items()} == {"conv1": [1, 2], "conv2": [2, 0]}
    assert {k: v.tolist() for k, v in select_global(SCORES, 1).items()} == {"conv1": [], "conv2": [2]}
    assert {k: v.tolist() for k, v in select_global(SCORES, 10).items()} == {
        "conv1": [1, 2, 0, 3],
        "conv2": [2, 0, 5, 1, 3, 4],
    }


@pytest.mark.parametrize("count", range(11))
def test_global_selection_equals_a_sort_by_score_layer_and_index(count):
    ranked = sorted(
        (-score, list(SCORES).index(layer), i) for layer, scores in SCORES.items() for i, score in enumerate(scores)
    )[:count]
    expected = {layer: [i for _, number, i in ranked if number == position] for position, layer in enumerate(SCORES)}
    assert {k: v.tolist() for k, v in select_global(SCORES, count).items()} == expected


def test_ties_go_to_the_lower_index_in_large_layers():
    scores = np.round(np.random.RandomState(0).rand(500), 1)
    expected = sorted(range(500), key=lambda i: (-scores[i], i))
    assert select_local({"a": scores}, 1.0)["a"].tolist() == expected


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8])
def test_scores_of_other_types(dtype):
    scores = np.array([0, 3, 1, 3], dtype=dtype)
    assert select_local({"a": scores}, 0.75)["a"].tolist() == [1, 3, 2]
    assert select_local({"a": scores.tolist()}, 0.75)["a"].tolist() == [1, 3, 2]
    assert select_global({"a": scores}, 3)["a"].tolist() == [1, 3, 2]


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "swapped, before",
    [
        (np.zeros((3, 2)), np.zeros(3)),
        (np.zeros(3), np.zeros(3)),
        (np.zeros((3, 0)), np.zeros(0)),
        (np.full((3, 2), 50.0), np.zeros(2)),
        (np.full((3, 2), np.nan), np.zeros(2)),
        (np.zeros((3, 2)), [0.5, -0.1]),
    ],
)
@pytest.mark.parametrize("score", ["priority", "relative_error"])
def test_bad_accuracies(swapped, before, score):
    with refused("correction_priority"):
        correction_priority(swapped, before, score=score)


def test_unknown_score():
    with refused("'gradient'", "relative_error"):
        correction_priority(np.zeros((3, 2)), np.zeros(2), score="gradient")


@pytest.mark.parametrize(
    "fractions", [1.5, -0.1, np.nan, {"conv1": 0.5}, {"conv1": 0.5, "conv2": 50}, {"conv1": 0.5, "conv2": 0.5, "conv3": 0.5}]
)
def test_bad_fractions(fractions):
    with refused("fractions"):
        select_local(SCORES, fractions)


@pytest.mark.parametrize("count", [-1, 11, 2.5])
def test_bad_counts(count):
    with refused("count"):
        select_global(SCORES, count)


@pytest.mark.parametrize(
    "priorities", [{}, {"a": np.zeros((2, 2))}, {"a": np.array([0.0, np.nan])}, {"a": np.array(["x"])}, {"a": 3.0}]
)
def test_bad_priorities(priorities):
    with refused("priorities"):
        select_local(priorities, 0.5)
    with refused("priorities"):
        select_global(priorities, 0)


# ---------------------------------------------------------------- Borda count


def distorted_pairs(size=32):
    torch.manual_seed(0)
    clean = 255 * torch.rand(5, 3, size, size)
    return clean, clean + 20 * torch.randn(2, *clean.shape)


def trained_looking(model):
    """BatchNorms that do something: statistics, scales and shifts unlike those of a new network."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -1, 1),
                (module.running_var, 0.5, 2),
                (module.weight.data, 0.5, 2),
                (module.bias.data, -1, 1),
            ):
                tensor.uniform_(low, high)
    return model.eval()


def test_activation_distances_are_those_of_the_maps_that_the_next_layer_sees():
    clean, distorted = distorted_pairs()
    model = trained_looking(AllConvNet(3, 4))
    found = activation_distances(model, ["conv1", "conv4"], clean, distorted, batch_size=2)
    assert found["conv1"].shape == (2, 5, 4) and found["conv4"].shape == (2, 5, 8)
    with torch.inference_mode():
        maps = [torch.relu(model.bn1(model.conv1(model.normalize(images)))) for images in (clean[3:4], distorted[1, 3:4])]
    assert found["conv1"][1, 3] == pytest.approx((maps[1] - maps[0])[0].square().mean((1, 2)).sqrt().numpy(), rel=1e-4)
    assert not model.conv1._forward_hooks and not model.training


def test_activation_distances_behind_relu_and_pooling():
    clean, distorted = distorted_pairs(16)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(4, 5, 3),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
    ).eval()
    with torch.inference_mode():
        moved = model[:3](distorted[0]) - model[:3](clean)
    assert activation_distances(model, ["0"], clean, distorted)["0"][0] == pytest.approx(
        moved.square().mean((2, 3)).sqrt().numpy(), rel=1e-4
    )


@pytest.mark.parametrize("scale", [0.01, 7.0, 1000.0])
def test_activation_distances_do_not_depend_on_the_size_of_a_filters_weights(scale):
    """A convolution times s, and its BatchNorm's statistics with it: the same network, so the same distances."""
    clean, distorted = distorted_pairs()
    model = trained_looking(AllConvNet(3, 4))
    before = activation_distances(model, ["conv1", "conv2"], clean, distorted)
    with torch.no_grad():
        model.conv1.weight[2] *= scale
        model.conv1.bias[2] *= scale
        model.bn1.running_mean[2] *= scale
        model.bn1.running_var[2] = (model.bn1.running_var[2] + model.bn1.eps) * scale**2 - model.bn1.eps
    after = activation_distances(model, ["conv1", "conv2"], clean, distorted)
    for layer in before:
        assert after[layer] == pytest.approx(before[layer], rel=1e-3, abs=1e-5)
        assert borda_count(after[layer][0]).tolist() == borda_count(before[layer][0]).tolist()


def test_activation_distances_want_a_convolution():
    clean, distorted = distorted_pairs()
    with refused("bn1"):
        activation_distances(AllConvNet(3, 4), ["bn1"], clean, distorted)


def test_borda_count_against_counting_pairs():
    votes = np.random.default_rng(0).integers(0, 5, (20, 6))  # with ties
    by_hand = [sum((v[j] > v[k]) + 0.5 * (v[j] == v[k]) for v in votes for k in range(6) if k != j) for j in range(6)]
    assert borda_count(votes) == pytest.approx(by_hand)


def test_borda_count_hears_every_voter_alike():
    votes = np.array([[0.2, 0.1, 0.0], [0.2, 0.1, 0.0], [0.0, 0.0, 99.0]])
    assert borda_count(votes).argmax() == 0 and votes.mean(0).argmax() == 2


def test_borda_count_refuses_what_is_no_election():
    for votes in (np.zeros(3), np.zeros((0, 3)), np.array([[np.nan, 1]])):
        with refused("votes"):
            borda_count(votes)
