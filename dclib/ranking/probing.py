"""What a traced network's code does that its graph does not say, seen by running it on a few images.

The graph names what enters and leaves an operation. It does not say that a user's module works in place on what it gets,
nor which values have one row per image.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.fx
from torch import nn
from torch.fx import Node

from dclib.errors import InputError

#: By how much equal logits may differ, as a share of their spread: rounding, and convolutions in TensorFloat-32.
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 0.02}
_COARSE = 0.15  # half precision


@dataclass(frozen=True)
class Change:
    """An operation changed the value of `node`; `returned` where its result is that very tensor."""

    node: Node
    returned: bool


@dataclass(frozen=True)
class Findings:
    """Of each node by its value: `shapes` [*] per image and `sizes` in bytes per image where it is a tensor whose first axis
    is that of the images; `python` where it holds no tensor; `changes` that it makes in place; the last value `output`."""

    shapes: dict[Node, torch.Size]
    sizes: dict[Node, int]
    python: set[Node]
    changes: dict[Node, list[Change]]
    output: torch.Tensor


def probe(nodes: list[Node], call: Callable[[Node, dict], object], images: torch.Tensor) -> Findings:
    """Run the graph on all of `images` [3 or more, C, H, W], and on all but one, to see which axis counts them."""
    values, changes = _run(nodes, call, images)
    fewer, _ = _run(nodes, call, images[1:])
    shapes = {
        node: value.shape[1:]
        for node, value in values.items()
        if isinstance(value, torch.Tensor)
        and value.ndim
        and len(value) == len(images)
        and fewer[node].shape == (len(images) - 1, *value.shape[1:])
    }
    sizes = {node: shape.numel() * values[node].element_size() for node, shape in shapes.items()}
    python = {node for node, value in values.items() if not any(True for _ in _tensors(value))}
    return Findings(shapes, sizes, python, changes, values[nodes[-1].args[0]])


def _run(
    nodes: list[Node], call: Callable[[Node, dict], object], images: torch.Tensor
) -> tuple[dict[Node, object], dict[Node, list[Change]]]:
    values: dict[Node, object] = {}
    changes: dict[Node, list[Change]] = {}
    holders: dict[int, list[Node]] = defaultdict(list)
    for node in nodes[:-1]:
        if node.op == "placeholder":
            values[node] = images.clone()
        else:
            used = [t for source in node.all_input_nodes for t in _tensors(values[source])]
            before = [(_version(t), t.clone()) for t in used]
            values[node] = call(node, values)
            # A version tells of changes that these images do not show, a comparison of those made behind autograd's back.
            touched = {
                _storage(t)
                for t, (version, content) in zip(used, before)
                if _version(t) != version or not bool(((t == content) | (t != t)).all())
            }
            if found := [other for storage in touched for other in holders[storage]]:
                changes[node] = [Change(other, _same(values[other], values[node])) for other in found]
        for tensor in _tensors(values[node]):
            holders[_storage(tensor)].append(node)
    return values, changes


def _tensors(value: object) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part)


def _version(tensor: torch.Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _same(a: object, b: object) -> bool:
    return (
        isinstance(a, torch.Tensor)
        and isinstance(b, torch.Tensor)
        and ((a.data_ptr(), a.shape, a.stride(), a.dtype) == (b.data_ptr(), b.shape, b.stride(), b.dtype))
    )


def answers(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Logits [N, K] of the network itself; `InputError` where they are none, or where they depend on the other images."""
    name = type(network).__name__
    try:
        logits = network(images.clone())
        alone = [network(image[None].clone()) for image in images]
    except Exception as error:  # whatever the network's own code raises
        raise InputError(
            f"{name}: expected a network that runs on any number of images {list(images.shape[1:])} of "
            f"{images.dtype} on {images.device}, got {type(error).__name__} ({error}); make the images fit the "
            "network."
        ) from error
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != len(images) or logits.shape[1] < 2:
        raise InputError(
            f"{name}: expected logits [{len(images)}, K] of two classes or more, got "
            f"{list(getattr(logits, 'shape', [])) or type(logits).__name__}; wrap it so that it returns the "
            "logits alone."
        )
    if not bool(torch.isfinite(logits).all()):
        raise InputError(f"{name}: expected finite logits, got NaN or infinity; look at its weights and the images' scale.")
    if not agree(torch.cat(alone), logits):
        raise InputError(
            f"{name}: expected the same logits for an image whatever images are beside it and at every call, "
            "got others; let no layer normalise by the batch or draw random numbers in evaluation."
        )
    return logits


def agree(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether logits [N, K] are equal up to rounding."""
    found, wide = found.double(), expected.double()
    scale = (wide.amax(1) - wide.amin(1)).max() + 0.01 * wide.abs().max()
    return found.shape == wide.shape and bool((found - wide).abs().max() <= _TOLERANCE.get(expected.dtype, _COARSE) * scale)
