"""Linear SVMs against scikit-learn's, features against a network run by hand, and the protocol of Section 5.3."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from sklearn.svm import LinearSVC
from support import refused, settled
from torch import nn

from dclib import transfer
from dclib.datasets import Split, Subset
from dclib.distortions import gaussian_blur
from dclib.models import AllConvNet
from dclib.transfer import svm
from dclib.transfer.svm import fit_svm

CLASSES, PER_CLASS = 7, 18


def clusters(dimensions, spread=1.0, per_class=PER_CLASS, seed=0):
    """ReLU-like features [N, D] of classes that overlap, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(CLASSES).repeat_interleave(per_class)
    centres = torch.randn(CLASSES, dimensions, generator=torch.Generator().manual_seed(99))
    noise = torch.randn(len(labels), dimensions, generator=generator)
    return torch.relu(centres[labels] + spread * noise + 0.5) * 3, labels


def objective(machine, features, labels, cost):
    signs = torch.where(labels[:, None] == torch.arange(CLASSES), 1.0, -1.0).double()
    margins = signs * (features.double() @ machine.weights + machine.intercepts)
    return (
        0.5 * (machine.weights.square().sum() + machine.intercepts.square().sum())
        + cost * (1 - margins).clamp(min=0).square().sum()
    ).item()


# ---------------------------------------------------------------- the machines


@pytest.mark.parametrize("dimensions", [5, 400])  # more rows than columns, and fewer
@pytest.mark.parametrize("cost", [1e-4, 0.01, 1.0, 30.0])
@pytest.mark.parametrize("few", [0, 10_000])  # iterative steps as long as they help, and direct ones only
def test_equal_to_liblinear(dimensions, cost, few, monkeypatch):
    monkeypatch.setattr(svm, "_FEW", few)
    features, labels = clusters(dimensions, spread=2.0)
    ours = fit_svm(features, labels, cost)
    theirs = LinearSVC(C=cost, dual=dimensions > 100, tol=1e-8, max_iter=1_000_000).fit(
        features.double().numpy(), labels.numpy()
    )
    assert np.allclose(ours.weights.T.numpy(), theirs.coef_, rtol=1e-3, atol=1e-3 * np.abs(theirs.coef_).max())
    assert np.allclose(ours.intercepts.numpy(), theirs.intercept_, atol=1e-3 * np.abs(theirs.coef_).max())
    others, _ = clusters(dimensions, spread=2.0, seed=1)
    assert (ours.predict(others).numpy() == theirs.predict(others.double().numpy())).mean() > 0.99


@pytest.mark.parametrize("dimensions", [5, 400])
def test_optimum_has_no_gradient(dimensions):
    features, labels = clusters(dimensions, spread=2.0)
    machine = fit_svm(features, labels, 0.5)
    weights, intercepts = (v.clone().requires_grad_() for v in (machine.weights, machine.intercepts))
    signs = torch.where(labels[:, None] == torch.arange(CLASSES), 1.0, -1.0).double()
    losses = (1 - signs * (features.double() @ weights + intercepts)).clamp(min=0).square().sum()
    (0.5 * (weights.square().sum() + intercepts.square().sum()) + 0.5 * losses).backward()
    assert max(weights.grad.abs().max(), intercepts.grad.abs().max()) < 1e-5 * weights.norm().item()


def test_start_changes_the_way_and_not_the_goal():
    features, labels = clusters(60, spread=3.0)
    cold = fit_svm(features, labels, 5.0)
    warm = fit_svm(features, labels, 5.0, start=fit_svm(features, labels, 0.05))
    assert torch.allclose(warm.weights, cold.weights, atol=1e-6)
    assert objective(cold, features, labels, 5.0) == pytest.approx(objective(warm, features, labels, 5.0), rel=1e-9)


@pytest.mark.parametrize(
    "factor, offset, cost", [(1, 0, 1e4), (100, 0, 100), (255, 0, 100), (1e5, 0, 100), (100, 1000, 100), (1e4, 0, 1e4)]
)
def test_features_that_nobody_scaled(factor, offset, cost):
    """The optimum of LinearSVC, or a better one: rounding keeps it from the last digits of long features."""
    rng = np.random.RandomState(0)
    features, labels = torch.from_numpy(factor * rng.rand(150, 40) + offset), torch.from_numpy(rng.randint(0, 3, 150))
    machine = fit_svm(features, labels, cost)
    for k in range(3):
        sign = torch.where(labels == k, 1.0, -1.0).double()

        def lost(weights, intercept, sign=sign):
            missing = (1 - sign * (features @ weights + intercept)).clamp(min=0)
            return (0.5 * (weights.square().sum() + intercept**2) + cost * missing.square().sum()).item()

        theirs = LinearSVC(C=cost, dual=False, tol=1e-6, max_iter=10_000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # liblinear does not converge on the longest
            theirs.fit(features.numpy(), labels.numpy() == k)
        assert lost(machine.weights[:, k], machine.intercepts[k]) <= lost(
            torch.from_numpy(theirs.coef_[0]), theirs.intercept_[0]
        ) * (1 + 1e-6)


def test_long_features_with_fewer_rows_than_columns():
    rng = np.random.RandomState(0)
    features, labels = torch.from_numpy(1e4 * rng.rand(20, 50)), torch.arange(20) % 2
    features[10:] = features[:10]  # equal rows of two classes, some of them: the products have no full rank
    labels[10:] = 1 - labels[:10]
    machine = fit_svm(features, labels, 1e4)
    scores = features @ machine.weights + machine.intercepts
    assert scores.abs().max() < 1e-3  # nothing tells them apart
    assert torch.equal(fit_svm(features[:10], labels[:10], 1e4).predict(features[:10]), labels[:10])


def test_features_whose_squares_overflow():
    with refused("features", "standard deviation"):
        fit_svm(torch.full((4, 2), 1e200, dtype=torch.float64), torch.arange(4) % 2, 1.0)


def test_two_classes_and_equal_rows():
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    machine = fit_svm(features, torch.tensor([0, 0, 1, 1]), 10.0)
    assert machine.predict(features).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    "features, labels, cost, word",
    [
        (torch.ones(4), torch.tensor([0, 0, 1, 1]), 1.0, "[4]"),
        (torch.ones(4, 2), torch.tensor([0, 1]), 1.0, "[2]"),
        (torch.full((2, 2), torch.nan), torch.tensor([0, 1]), 1.0, "NaN"),
        (torch.ones(2, 2), torch.tensor([0, 2]), 1.0, "none of [1]"),
        (torch.ones(2, 2), torch.tensor([-1, 0]), 1.0, "negative"),
        (torch.ones(2, 2), torch.tensor([0, 0]), 1.0, "one class"),
        (torch.ones(2, 2), torch.tensor([0, 1]), 0.0, "cost"),
        (torch.ones(2, 2), torch.tensor([0, 1]), float("nan"), "cost"),
    ],
)
def test_what_cannot_be_fitted(features, labels, cost, word):
    with refused(word):
        fit_svm(features, labels, cost)


# ---------------------------------------------------------------- features


class Dense(nn.Module):
    """A dense network with dropout, whose ReLU is a function and works in place."""

    def __init__(self):
        super().__init__()
        self.first, self.last, self.unused = nn.Linear(3 * 8 * 8, 11), nn.Linear(11, 4), nn.Linear(1, 1)
        self.dropout = nn.Dropout(0.5)

    def forward(self, images):
        return self.last(self.dropout(torch.relu_(self.first(images.flatten(1) / 255)) * -1))


@pytest.fixture
def pictures():
    return torch.randint(0, 256, (25, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def test_features_are_the_layer_after_relu(pictures):
    model = Dense().train()
    images = pictures[..., 2:10, 2:10]
    expected = torch.relu(model.first(images.float().flatten(1) / 255)).detach()
    for given in (images, Subset(images, torch.arange(25))):
        found = transfer.dense_features(model, given, "first", batch_size=7)
        assert torch.allclose(found, expected, atol=1e-6) and found.dtype == torch.float32
    assert model.training and not model.first._forward_hooks


def test_features_of_a_convolutional_network_are_means_over_positions(pictures):
    model = settled(AllConvNet(5, 4))
    images = torch.nn.functional.interpolate(pictures.float(), size=32)
    x = model.normalize(images)
    with torch.no_grad():
        for i in range(1, 9):
            x = torch.relu(getattr(model, f"bn{i}")(getattr(model, f"conv{i}")(x)))
    assert torch.allclose(transfer.dense_features(model, images, "bn8"), x.mean((2, 3)), atol=1e-5)


def test_every_level_is_distorted_before_the_crop(pictures):
    model = Dense()
    levels = transfer.features_per_level(model, pictures, "first", "blur", (1.0, 2.0), crop=8)
    assert levels.shape == (3, 25, 11)
    for level, sigma in enumerate((0.0, 1.0, 2.0)):
        blurred = gaussian_blur(pictures.float(), sigma)[..., 2:10, 2:10]
        assert torch.allclose(levels[level], transfer.dense_features(model, blurred, "first"), atol=1e-5)


def test_noise_is_the_same_for_every_network(pictures):
    first, second, other = (
        transfer.features_per_level(model, pictures, "first", "awgn", (20.0,), crop=8, seed=seed)
        for model, seed in [(Dense(), 1)] * 2 + [(Dense(), 2)]
    )
    assert not torch.equal(first[1], other[1])
    model = Dense()
    a, b = (transfer.features_per_level(model, pictures, "first", "awgn", (20.0,), crop=8, seed=1) for _ in range(2))
    assert torch.equal(a, b) and not torch.equal(a[0], a[1])


@pytest.mark.parametrize("layer, word", [("second", "'second'"), ("unused", "'unused'")])
def test_layers_without_features(pictures, layer, word):
    with refused("layer", word):
        transfer.dense_features(Dense(), pictures[..., :8, :8], layer)
    with refused("images"):
        transfer.dense_features(Dense(), pictures[:0], "first")
    with refused("crop", "13"):
        transfer.centre(pictures, 13)


# ---------------------------------------------------------------- the protocol


def test_split_takes_its_counts_from_every_class():
    labels = torch.from_numpy(np.random.RandomState(1).permutation(np.repeat(np.arange(4), (40, 31, 60, 45))))
    training, validation, test = transfer.draw_split(labels, 5)
    assert labels[training].bincount().tolist() == [25] * 4 and labels[validation].bincount().tolist() == [5] * 4
    assert torch.cat([training, validation, test]).sort().values.tolist() == list(range(len(labels)))
    assert torch.equal(transfer.draw_split(labels, 5)[2], test)
    assert not torch.equal(transfer.draw_split(labels, 6)[2], test)


def test_class_with_nothing_left_to_test():
    with refused("class 1", "30"):
        transfer.draw_split(torch.tensor([0] * 40 + [1] * 30), 0)


def test_mean_accuracy_per_class_is_balanced_accuracy():
    rng = np.random.RandomState(2)
    labels = np.repeat(np.arange(5), (1, 10, 3, 50, 7))
    predicted = np.where(rng.rand(len(labels)) < 0.6, labels, rng.randint(5, size=len(labels)))
    assert transfer.mean_accuracy_per_class(torch.from_numpy(predicted), torch.from_numpy(labels)) == pytest.approx(
        balanced_accuracy_score(labels, predicted)
    )


def test_cost_is_the_best_on_validation_rows():
    features, labels = clusters(30, spread=4.0)
    others, _ = clusters(30, spread=4.0, seed=1)
    machine, cost = transfer.choose_cost(Split(features, labels), Split(others, labels))
    scale = features.double().square().sum(1).mean().item()
    scores = {
        c: balanced_accuracy_score(labels, fit_svm(features, labels, c / scale).predict(others)) for c in transfer.COSTS
    }
    assert scores[cost] == max(scores.values()) and len(set(scores.values())) > 1
    assert torch.allclose(machine.weights, fit_svm(features, labels, cost / scale).weights, atol=1e-6)
    scaled, same = transfer.choose_cost(Split(1000 * features, labels), Split(1000 * others, labels))
    assert same == cost
    with refused("zeros"):
        transfer.choose_cost(Split(0 * features, labels), Split(others, labels))


def levels_of(per_class=45):
    """Features that lose their first half from the first level on."""
    features, labels = clusters(40, spread=1.5, per_class=per_class)
    worse = features.clone()
    worse[:, :20] = 0
    return torch.stack([features, worse, worse]), labels


def test_accuracy_per_split_and_level():
    features, labels = levels_of()
    draws = [transfer.draw_split(labels, seed) for seed in (3, 4)]
    found = transfer.transfer_accuracy(features, labels, draws)
    assert found.accuracy.shape == (2, 3) and len(found.costs) == 2
    assert (found.accuracy[:, 1] == found.accuracy[:, 2]).all()
    assert (found.accuracy[:, 0] > found.accuracy[:, 1]).all()
    training, validation, test = draws[1]
    machine, cost = transfer.choose_cost(*(Split(features[0, part], labels[part]) for part in (training, validation)))
    assert found.costs[1] == cost
    assert found.accuracy[1, 1] == balanced_accuracy_score(labels[test], machine.predict(features[1, test]))


def test_machines_that_saw_distorted_images_serve_them_better():
    features, labels = levels_of()
    draws = [transfer.draw_split(labels, seed) for seed in (0, 1)]
    clean, mixed = (
        transfer.transfer_accuracy(features, labels, draws, trained_on=name).accuracy.mean(0) for name in transfer.TRAINED_ON
    )
    assert mixed[1] > clean[1]
    with refused("trained_on", "'noise'"):
        transfer.transfer_accuracy(features, labels, draws, trained_on="noise")
