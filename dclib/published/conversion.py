"""Arrays in the order of Keras 1's `get_weights()`, put into an `AllConvNet`, corrected or not.

Theano's convolution turns kernels around, torch's does not: both spatial axes are reversed. In a corrected layer of the
authors the corrected filters come first, and what follows takes its input channels in that order; its BatchNorm stands in
two parts, one of the corrected channels and one of the others.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from dclib.correction import CorrectedConv2d, PartialBatchNorm2d
from dclib.errors import InputError
from dclib.models import AllConvNet

#: What an array is of, in words; where it belongs, a view into the network.
_Place = tuple[str, torch.Tensor]


@torch.no_grad()
def load_arrays(network: AllConvNet, arrays: Sequence[np.ndarray], name: str = "arrays") -> None:
    """Give `network` the weights and statistics of a network of Keras.

    Args:
        network: an `AllConvNet`, or one that `correct` made of it with the first filters of each corrected layer.
        arrays: as Keras's `get_weights()` has them: of each layer the convolution's weights [out, in, rows, columns] and
            bias; of a corrected one the unit's; then scale, shift, mean and variance of its BatchNorm.
        name: of where they come from, for messages.

    Raises:
        InputError: another number of arrays; one of another shape, not of float32, or with values that cannot be, as where
            the order is another one. The network may then hold some of them.
    """
    places = list(_places(network))
    if len(arrays) != len(places):
        raise InputError(f"{name}: expected {len(places)} arrays, got {len(arrays)}; give the file of this very network.")
    for number, ((what, tensor), array) in enumerate(zip(places, arrays)):
        if array.shape != tuple(tensor.shape) or array.dtype != np.float32:
            raise InputError(
                f"{name}: expected {what} as array {number}, float32 {list(tensor.shape)}, got {array.dtype} "
                f"{list(array.shape)}; give the arrays in the order of Keras's get_weights()."
            )
        if not np.isfinite(array).all() or (what.startswith("variance") and array.min() < 0):
            raise InputError(
                f"{name}: expected {what} as array {number}, got values that it cannot have; give the arrays in "
                "the order of Keras's get_weights()."
            )
        values = torch.from_numpy(np.ascontiguousarray(array))
        tensor.copy_(values.flip(2, 3) if values.ndim == 4 else values)
    for module in network.modules():
        if isinstance(module, PartialBatchNorm2d):  # not looked at while these channels have their own, but saved
            module.batchnorm.weight[module.index], module.batchnorm.bias[module.index] = module.weight, module.bias


def _places(network: AllConvNet) -> Iterator[_Place]:
    """Where each array of `get_weights()` belongs, in its order."""
    for i in range(1, network.depth + 1):
        layer, conv, batchnorm = f"conv{i}", getattr(network, f"conv{i}"), getattr(network, f"bn{i}")
        if not isinstance(conv, CorrectedConv2d):
            yield from _of_conv(conv, layer)
            yield from _of_batchnorm(batchnorm, f"{layer}'s BatchNorm")
            continue
        yield from _of_conv(conv.conv, layer)
        for number, module in enumerate(conv.unit.residual):
            if isinstance(module, nn.Conv2d):
                yield from _of_conv(module, f"part {number} of {layer}'s unit")
            elif isinstance(module, nn.BatchNorm2d):
                yield from _of_batchnorm(module, f"part {number} of {layer}'s unit")
        whole, first = batchnorm.batchnorm, len(conv.index)
        yield from _named(
            f"{layer}'s BatchNorm of corrected channels",
            batchnorm.weight,
            batchnorm.bias,
            whole.running_mean[:first],
            whole.running_var[:first],
        )
        yield from _named(
            f"{layer}'s BatchNorm of other channels",
            whole.weight[first:],
            whole.bias[first:],
            whole.running_mean[first:],
            whole.running_var[first:],
        )


def _of_conv(conv: nn.Conv2d, name: str) -> Iterator[_Place]:
    yield f"the weights of {name}", conv.weight
    yield f"the bias of {name}", conv.bias


def _of_batchnorm(module: nn.BatchNorm2d, name: str) -> Iterator[_Place]:
    yield from _named(name, module.weight, module.bias, module.running_mean, module.running_var)


def _named(name: str, *tensors: torch.Tensor) -> Iterator[_Place]:
    yield from zip((f"{what} of {name}" for what in ("scale", "shift", "mean", "variance")), tensors)


def corrected_filters(network: AllConvNet, baseline: AllConvNet) -> dict[str, list[int]] | None:
    """Which filters of `baseline` a network of the authors corrects: {layer: their numbers there, in the network's order}.

    Found by the frozen convolutions, whose filters and input channels stand in another order. None where one has no equal.
    """
    found, before = {}, None
    for layer in AllConvNet.correctable:
        conv = getattr(network, layer)
        if not isinstance(conv, CorrectedConv2d):
            return found
        own, whole = conv.conv.weight.detach(), getattr(baseline, layer).weight.detach()
        if before is not None:
            whole = whole[:, before]
        equal = (own.flatten(1)[:, None] == whole.flatten(1)).all(2)
        if not bool((equal.sum(0) == 1).all() & (equal.sum(1) == 1).all()):
            return None
        before = equal.int().argmax(1)
        found[layer] = before[: len(conv.index)].tolist()
    return found
