"""Features of a network for another task: linear SVMs on outputs of a dense layer (Section 5.3, Tables 13 to 15)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from dclib.datasets import Rows, Split
from dclib.distortions import distort
from dclib.errors import InputError
from dclib.models import evaluation_mode, unwrapped
from dclib.transfer.svm import LinearSVM, fit_svm

#: Section 5.3: images a class for the machines and for the choice of their cost, and how often both are drawn.
TRAINING, VALIDATION, SPLITS = 25, 5, 5
#: The dense layer of AlexNet whose features each data set gets.
LAYERS = {"caltech101": "fc6", "caltech256": "fc6", "sun397": "fc7"}
#: Candidates for C, times the mean squared length of the training features: then a scale of the features is no matter.
COSTS = (0.01, 0.1, 1.0, 10.0)
#: What the machines are trained on; see `transfer_accuracy`.
TRAINED_ON = ("clean", "all levels")


@dataclass(frozen=True)
class Transfer:
    """Mean accuracy per class [draws, levels], level 0 clean, and the cost chosen in each draw, out of `COSTS`."""

    accuracy: np.ndarray
    costs: tuple[float, ...]


def dense_features(model: nn.Module, images: torch.Tensor | Rows, layer: str, *,
                   prepare: Callable[[torch.Tensor], torch.Tensor] | None = None, batch_size: int = 100) -> torch.Tensor:
    """Outputs of a layer after ReLU, one row per image: float32 [N, D] on the CPU.

    A layer with positions [N, C, H, W] gives its mean over them, so that a network without dense layers has features
    too. The network runs in evaluation mode, without dropout.

    Args:
        model: takes images in 0..255 on the device of its parameters.
        images: [N, C, H, W], any dtype and device.
        layer: name of the layer whose ReLU follows: "fc6" or "fc7" of `models.AlexNet`, "bn8" of `models.AllConvNet`.
        prepare: applied to each float batch on the network's device, such as a centre crop.

    Raises:
        InputError: no images; a layer that the network does not have or does not run.
    """
    if not len(images):
        raise InputError("images: expected at least one, got none.")
    model = unwrapped(model)  # a compiled network does not hear the hook
    parameter = next(model.parameters())
    rows = []
    with _recorded(model, layer) as seen, torch.inference_mode():
        for start in range(0, len(images), batch_size):
            batch = images[start:start + batch_size].to(parameter.device, parameter.dtype)
            model(batch if prepare is None else prepare(batch))
            if not seen:
                raise InputError(f"layer: expected one that runs when the network does, got {layer!r}.")
            output = torch.relu(seen.pop())
            rows.append(output.flatten(2).mean(2).float().cpu() if output.ndim > 2 else output.float().cpu())
    return torch.cat(rows)


def features_per_level(model: nn.Module, images: torch.Tensor | Rows, layer: str, distortion: str,
                       sigmas: Sequence[float], *, crop: int | None = None, seed: int = 0,
                       blur_of_bytes: bool = False) -> torch.Tensor:
    """`dense_features` of clean images and of every level: float32 [1 + levels, N, D].

    The whole images are distorted, as released, and only then cropped to their central `crop` pixels; with `blur_of_bytes`
    blurred values are rounded to whole grey values. Equal seeds give equal noise for every model on the same kind of device.
    """
    return torch.stack([features_at_level(model, images, layer, distortion, sigma, level, crop=crop, seed=seed,
                                          blur_of_bytes=blur_of_bytes) for level, sigma in enumerate([0.0, *sigmas])])


def features_at_level(model: nn.Module, images: torch.Tensor | Rows, layer: str, distortion: str, sigma: float, level: int,
                      *, crop: int | None = None, seed: int = 0, blur_of_bytes: bool = False) -> torch.Tensor:
    """One level of `features_per_level`, of the physical `sigma`: float32 [N, D]; level 0 is clean."""
    generator = torch.Generator(next(model.parameters()).device).manual_seed(seed * 1000 + level)

    def prepare(batch: torch.Tensor) -> torch.Tensor:
        distorted = distort(batch, distortion, sigma, generator) if sigma else batch
        if sigma and blur_of_bytes and distortion == "blur":
            distorted = distorted.round()
        return distorted if crop is None else centre(distorted, crop)

    return dense_features(model, images, layer, prepare=prepare)


def centre(images: torch.Tensor, size: int) -> torch.Tensor:
    """The central `size` x `size` pixels of images [..., H, W]."""
    top, left = ((full - size) // 2 for full in images.shape[-2:])
    if min(top, left) < 0:
        raise InputError(f"crop: expected at most {min(images.shape[-2:])} pixels, got {size}.")
    return images[..., top:top + size, left:left + size]


def draw_split(labels: torch.Tensor, seed: int, training: int = TRAINING, validation: int = VALIDATION
               ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Indices of training, validation and test images: so many of each class at random, and all others.

    Raises `InputError` where a class has no image left to test.
    """
    rng = np.random.RandomState(seed)
    parts: tuple[list[np.ndarray], ...] = ([], [], [])
    for label in range(int(labels.max()) + 1):
        members = rng.permutation((labels == label).nonzero().flatten().numpy())
        if len(members) <= training + validation:
            raise InputError(f"class {label}: expected more than {training} + {validation} images, so that some are left "
                             f"to test, got {len(members)}; leave the class out.")
        for part, chosen in zip(parts, np.split(members, [training, training + validation])):
            part.append(chosen)
    return tuple(torch.from_numpy(np.sort(np.concatenate(part))) for part in parts)


def transfer_accuracy(features: torch.Tensor, labels: torch.Tensor, draws: Sequence[tuple[torch.Tensor, ...]], *,
                      trained_on: str = "clean", seed: int = 0) -> Transfer:
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
    found = [draw_accuracy(features, labels, draw, number, trained_on=trained_on, seed=seed)
             for number, draw in enumerate(draws)]
    return Transfer(np.concatenate([one.accuracy for one in found]), tuple(cost for one in found for cost in one.costs))


def draw_accuracy(features: torch.Tensor, labels: torch.Tensor, draw: tuple[torch.Tensor, ...], number: int, *,
                  trained_on: str = "clean", seed: int = 0) -> Transfer:
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


@contextmanager
def _recorded(model: nn.Module, layer: str) -> Iterator[list[torch.Tensor]]:
    """What the named layer puts out during the block, while the network is in evaluation mode."""
    try:
        module = model.get_submodule(layer)
    except AttributeError as error:
        raise InputError(f"layer: expected the name of one of the network's layers, got {layer!r}.") from error
    seen: list[torch.Tensor] = []
    # A copy, for the network may go on to work in place.
    handle = module.register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
    try:
        with evaluation_mode(model):
            yield seen
    finally:
        handle.remove()
