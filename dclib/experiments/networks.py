"""The networks behind runs, counted and compared: operations, parameters, classes, widths, lengths. Nothing is run."""

from collections.abc import Iterator
from functools import lru_cache, partial

from torch import nn

from dclib.correction import CorrectionUnit, correct
from dclib.experiments.imagenet import ALEXNET_FILTERS, ALEXNET_UNITS
from dclib.experiments.run import Run
from dclib.models import (
    AlexNet,
    AllConvNet,
    ResNet8,
    count_parameters,
    multiply_adds,
    selected_copy,
    shapes_alone,
    trainable_copy,
)
from dclib.published import efficientnet_lite0

#: Side of conv1..conv5's output for a 227x227 image.
SIZES = {"conv1": 55, "conv2": 27, "conv3": 13, "conv4": 13, "conv5": 13}


def unit_operations(method: str, layer: str) -> int:
    """Multiply-adds of one correction unit of Table 10 for one image: `method` names its architecture."""
    unit = CorrectionUnit(ALEXNET_FILTERS[layer], ALEXNET_UNITS[method][layer])
    return multiply_adds(unit, ALEXNET_FILTERS[layer], SIZES[layer], SIZES[layer])


def unit_parameters(method: str, layer: str) -> int:
    """Trained parameters of one correction unit of Table 10: `method` names its architecture."""
    unit = CorrectionUnit(ALEXNET_FILTERS[layer], ALEXNET_UNITS[method][layer])
    return sum(parameter.numel() for parameter in unit.parameters())


@lru_cache
def trained_parameters(run: Run) -> int:
    """How many parameters a run trains, counted from its network; needs no record."""
    if run.network == "EfficientNet-Lite0":
        return _trained_of_published(run)
    with shapes_alone():  # AlexNet's dense layers are large, and only counted: they get no memory
        made = {"AlexNet": AlexNet, "ResNet-8": partial(ResNet8, width=run.width)}
        whole = made.get(run.network, partial(AllConvNet, width=run.width))(run.classes)
    for module in whole.modules():
        if not isinstance(module, nn.Linear):
            module.to_empty(device="cpu", recurse=False)
    if run.selection is None:
        return count_parameters(trainable_copy(whole, run.layers))
    filters = {layer: list(range(count)) for layer, count in run.selection.counts}
    if not (run.design or run.designs):
        return count_parameters(selected_copy(whole, filters))
    return count_parameters(
        correct(
            whole, filters, dict(run.designs) or run.design, also_train=run.also_train, train_batchnorm=run.trains_batchnorm
        )
    )


def _trained_of_published(run: Run) -> int:
    whole = efficientnet_lite0()
    if run.selection is None:
        return count_parameters(trainable_copy(whole, run.layers))
    filters = {layer: list(range(count)) for layer, count in run.selection.counts}
    return count_parameters(correct(whole, filters, run.design, train_batchnorm=False))


def other_classes(run: Run, whole: Run) -> str:
    """Where `run`, or the network that it starts from, has another number of classes than in profile paper; "" if not.

    `whole` is the same run in that profile.
    """
    pairs = zip(_class_counts(run), _class_counts(whole), strict=True)
    return " and ".join(dict.fromkeys(f"{here} classes instead of {there}" for here, there in pairs if here != there))


def other_width(run: Run, whole: Run) -> str:
    """Where `run`, or the network that it starts from, is narrower or wider than in profile paper; "" if not."""
    pairs = zip(_chain(run), _chain(whole), strict=True)
    return " and ".join(
        dict.fromkeys(
            f"{here.width} channels instead of {there.width}" for here, there in pairs if here.width != there.width
        )
    )


def short_training(run: Run, whole: Run) -> str:
    """Where `run`, or the network that it starts from, is trained for fewer iterations than in profile paper."""
    pairs = ((here.schedule, there.schedule) for here, there in zip(_chain(run), _chain(whole), strict=True))
    return " and ".join(
        dict.fromkeys(
            f"{here.iterations:,} iterations instead of {there.iterations:,}"
            for here, there in pairs
            if here and there and here.iterations < there.iterations
        )
    )


def _class_counts(run: Run) -> Iterator[int]:
    return (link.classes for link in _chain(run))


def _chain(run: Run | None) -> Iterator[Run]:
    while run is not None:
        yield run
        run = run.base
