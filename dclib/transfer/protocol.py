"""How features serve another task: draws of images, linear SVMs, accuracy per class (Section 5.3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dclib.datasets import Split
from dclib.errors import InputError
from dclib.transfer.svm import LinearSVM, fit_svm

#: Section 5.3: images a class for the machines and for the choice of their cost, and how often both are drawn.
TRAINING, VALIDATION, SPLITS = 25, 5, 5
#: Candidates for C, times the mean squared length of the training features: then a scale of the features is no matter.
COSTS = (0.01, 0.1, 1.0, 10.0)
#: What the machines are trained on; see `transfer_accuracy`.
TRAINED_ON = ("clean", "all levels")


@dataclass(frozen=True)
class Transfer:
    """Mean accuracy per class [draws, levels], level 0 clean, and the cost chosen in each draw, out of `COSTS`."""

    accuracy: np.ndarray
    costs: tuple[float, ...]


def draw_split(
    labels: torch.Tensor, seed: int, training: int = TRAINING, validation: int = VALIDATION
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Indices of training, validation and test images: so many of each class at random, and all others.

    Raises `InputError` where a class has no image left to test.
    """
    rng = np.random.RandomState(seed)
    parts: tuple[list[np.ndarray], ...] = ([], [], [])
    for label in range(int(labels.max()) + 1):
        members = rng.permutation((labels == label).nonzero().flatten().numpy())
        if len(members) <= training + validation:
            raise InputError(
                f"class {label}: expected more than {training} + {validation} images, so that some are left "
                f"to test, got {len(members)}; leave the class out."
            )
        for part, chosen in zip(parts, np.split(members, [training, training + validation])):
            part.append(chosen)
    return tuple(torch.from_numpy(np.sort(np.concatenate(part))) for part in parts)


def transfer_accuracy(
    features: torch.Tensor,
    labels: torch.Tensor,
    draws: Sequence[tuple[torch.Tensor, ...]],
    *,
    trained_on: str = "clean",
    seed: int = 0,
) -> Transfer:
    """Tables 13 to 15: linear SVMs on features of distorted images, one set of them for all levels.

    In each draw, machines are trained on the training images, their cost is chosen on the validation images, and the
    test images are classified at every level.

    Args:
        features: [1 + levels, N, D] of the same images at every level, as `features_per_level` gives them.
        labels: int64 [N].
        draws: indices of training, validation and test images: in the paper `SPLITS` of `draw_split`. Equal draws
            compare networks on equal images.
        trained_on: "clean" trains and chooses on clean features. "all levels" takes each training and validation image
            at a level drawn uniformly by `seed`, clean included: the text says that train images are distorted too, and
            that one set of machines serves all levels, but not how many copies of an image it sees.
    """
    found = [
        draw_accuracy(features, labels, draw, number, trained_on=trained_on, seed=seed) for number, draw in enumerate(draws)
    ]
    return Transfer(np.concatenate([one.accuracy for one in found]), tuple(cost for one in found for cost in one.costs))


def draw_accuracy(
    features: torch.Tensor,
    labels: torch.Tensor,
    draw: tuple[torch.Tensor, ...],
    number: int,
    *,
    trained_on: str = "clean",
    seed: int = 0,
) -> Transfer:
    """`transfer_accuracy` in one draw, which has the `number` there: accuracies [1, levels]."""
    if trained_on not in TRAINED_ON:
        raise InputError(f"trained_on: expected one of {', '.join(TRAINED_ON)}, got {trained_on!r}.")
    training, validation, test = draw
    levels = torch.zeros(len(labels), dtype=torch.int64)
    if trained_on == "all levels":
        levels = torch.from_numpy(np.random.RandomState([seed, number]).randint(len(features), size=len(labels)))
    rows = [Split(features[levels[part], part], labels[part]) for part in (training, validation)]
    machine, cost = choose_cost(*rows)
    accuracy = [mean_accuracy_per_class(machine.predict(level[test]), labels[test]) for level in features]
    return Transfer(np.array([accuracy]), (cost,))


def choose_cost(training: Split, validation: Split, costs: Sequence[float] = COSTS) -> tuple[LinearSVM, float]:
    """The machines with the highest mean accuracy per class on the validation rows, and their cost; the first of equals.

    Rows [N, D] stand where a `Split` has images. `costs` increase and are divided by the mean squared length of the
    training rows.
    """
    scale = training.images.double().square().sum(1).mean().item()
    if not scale:
        raise InputError("features: expected some that are not zero, got zeros only; choose another layer.")
    best, previous = (-1.0, None, 0.0), None
    for cost in costs:
        previous = fit_svm(training.images, training.labels, cost / scale, start=previous)
        accuracy = mean_accuracy_per_class(previous.predict(validation.images), validation.labels)
        if accuracy > best[0]:
            best = (accuracy, previous, cost)
    return best[1:]


def mean_accuracy_per_class(predicted: torch.Tensor, labels: torch.Tensor) -> float:
    """The share of correct predictions in every class, averaged over the classes that occur in `labels`."""
    right = (predicted == labels).double()
    counts = labels.bincount()
    shares = torch.zeros(len(counts), dtype=torch.float64).scatter_add_(0, labels, right) / counts.clamp(min=1)
    return shares[counts > 0].mean().item()
