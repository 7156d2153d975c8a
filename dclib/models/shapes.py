"""Networks without numbers: to be counted, drawn and compared, at no cost in memory."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

#: What fills a tensor with random numbers, by itself or called by `torch.nn.init`.
_FILLS = (torch.Tensor.normal_, torch.Tensor.uniform_)


class _Unfilled(TorchFunctionMode):
    """Leaves fresh weights out: to fill a tensor that has no numbers, torch would import its compiler, for two seconds."""

    def __torch_function__(
        self, function: Callable, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in _FILLS or getattr(function, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return function(*args, **kwargs)


@contextmanager
def shapes_alone() -> Iterator[None]:
    """In the block, new modules have parameters of the right shapes on the device ``meta``, and no numbers in them."""
    with torch.device("meta"), _Unfilled():
        yield
