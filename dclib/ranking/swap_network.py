"""Networks that can be run from the middle, with one channel swapped: what makes Algorithm 1 fast (Section 4.1).

Clean and distorted activations are computed once; a swap re-runs only the layers behind it; and because a swap
changes one channel, or one and its neighbours behind a local response normalisation, the next convolution is its
distorted output plus the contribution of those channels' differences, exactly. Where clean and distorted channel agree
for an image, its prediction cannot change and is not computed again.
"""

import torch
import torch.fx
from torch import nn
from torch.nn import functional as F

from dclib.errors import InputError
from dclib.ranking.probing import agree
from dclib.ranking.swap_graph import Cut, SwapGraph

#: How many pairs of filter and image run again at once, and how many images are kept, where they fit into `_BYTES` each.
_PAIRS, _IMAGES, _BYTES = 500, 250, 2 * 2**30


class SwapNetwork(SwapGraph):
    """A traced copy of a model, BatchNorm folded into the convolutions, that can be run from the middle."""

    def __init__(self, model: nn.Module, layers: tuple[str, ...], images: torch.Tensor) -> None:
        """`images` [3, C, H, W], made by `trial_images`, are what the network is tried on."""
        super().__init__(model, layers)
        with torch.inference_mode(False), torch.no_grad():
            self._try(images.clone())

    def _try(self, images: torch.Tensor) -> None:
        """Learn from a few images what the graph does not say, and check that swaps give what the network itself gives."""
        self.learn(images)
        needed = {n for layer, later in self.later.items() for node in later for n in node.all_input_nodes if n not in later}
        needed |= {n for cut in self.cuts.values() for n in (cut.swapped, *cut.between[-1:], cut.start)}
        self.kept = needed
        self.spent = {layer: self._last_uses(layer) for layer in self.cuts}
        self.pairs = {layer: max(1, min(_PAIRS, _BYTES // self._bytes_per_pair(layer))) for layer in self.cuts}
        kept = sum(self.seen.sizes.get(node, 0) for node in needed)
        self.images = max(1, min(_IMAGES, _BYTES // (2 * kept + 4 * max(self.seen.sizes.values()))))
        for layer in self.cuts:
            self._check_swaps(layer, images)

    def filters(self, layer: str) -> int:
        return self.modules[self.targets[layer]].out_channels

    def activations(self, images: torch.Tensor) -> dict[torch.fx.Node, torch.Tensor]:
        """Values that swaps need, for inputs [B, C, H, W]; the graph's output among them."""
        values: dict[torch.fx.Node, torch.Tensor] = {}
        kept = {}
        remaining = {n: len(n.users) for n in self.nodes}
        for node in self.nodes:
            if node.op == "placeholder":
                values[node] = images.clone()  # the network may begin with an in-place operation
            elif node.op != "output":
                values[node] = self._call(node, values)
            if node in self.kept:
                kept[node] = values[node].clone()  # a later in-place operation must not reach it
            if node is self.output:
                kept[node] = values[node]
            for used in node.all_input_nodes:
                remaining[used] -= 1
                if not remaining[used]:
                    values.pop(used, None)
        return kept

    def swap_each(
        self, layer: str, clean: dict, distorted: dict, labels: torch.Tensor, batch_size: int | None
    ) -> torch.Tensor:
        """Which images are classified correctly after each filter's swap: bool [filters, B] on the CPU."""
        cut, batch_size = self.cuts[layer], batch_size or self.pairs[layer]
        difference = clean[cut.swapped] - distorted[cut.swapped]
        hits = (distorted[self.output].argmax(1) == labels).repeat(difference.shape[1], 1)
        # Pairs filter by filter: neighbouring pairs share weights.
        filters, images = torch.nonzero(difference.flatten(2).abs().amax(2).T, as_tuple=True)
        for start in range(0, len(filters), batch_size):
            f, m = filters[start : start + batch_size], images[start : start + batch_size]
            value = self._swapped_value(cut, clean, distorted, difference, f, m)
            hits[f, m] = self._run_from(layer, value, distorted, m).argmax(1) == labels[m]
        return hits.cpu()

    def swap_together(self, layer: str, clean: dict, distorted: dict, index: torch.Tensor) -> torch.Tensor:
        """Predicted classes [B] after swapping all filters in `index` at once."""
        return self.swapped(layer, clean, distorted, index)[self.output].argmax(1)

    def swapped(self, layer: str, clean: dict, distorted: dict, index: torch.Tensor) -> dict[torch.fx.Node, torch.Tensor]:
        """`distorted` of a network in which all filters in `index` give their clean output: further swaps may start there."""
        cut = self.cuts[layer]
        value = distorted[cut.swapped].clone()
        value[:, index] = clean[cut.swapped][:, index]
        after = distorted | {cut.swapped: value}
        for node in (*cut.between, cut.following) if cut.following else ():
            value = self._call(node, {node.all_input_nodes[0]: value})
            if node in after:
                after[node] = value
        # What follows may work in place.
        output = self._run_from(layer, value.clone(), distorted, torch.arange(len(value), device=value.device))
        return after | {self.output: output}

    def undistorted(self, layer: str, images: torch.Tensor) -> dict[torch.fx.Node, torch.Tensor]:
        """Of `activations` only what the layer's swaps take from clean images."""
        swapped = self.cuts[layer].swapped
        return {swapped: self.activations(images)[swapped]}

    def _swapped_value(
        self, cut: Cut, clean: dict, distorted: dict, difference: torch.Tensor, f: torch.Tensor, m: torch.Tensor
    ) -> torch.Tensor:
        """The value of `cut.start` for each pair (filter f, image m)."""
        if not cut.following:
            value = distorted[cut.swapped][m]
            value[torch.arange(len(m), device=m.device), f] = clean[cut.swapped][m, f]
            return value
        conv = self.modules[cut.following.target]
        before = distorted[cut.following]
        changed = self._neighbours(cut, clean, distorted, f, m) if cut.between else difference[m, f].unsqueeze(1)
        patches = F.unfold(changed, conv.kernel_size, conv.dilation, conv.padding, conv.stride)
        if conv.groups > 1 and not cut.between:
            return _add_to_group(conv, before.flatten(2)[m], f, patches).view(len(m), *before.shape[1:])
        weight = _dense_weight(conv, cut.window)[:, _window(f, cut.window)].transpose(0, 1).flatten(2)
        value = before.flatten(2).index_select(0, m)
        return value.baddbmm_(weight, patches).view(len(m), *before.shape[1:])

    def _neighbours(self, cut: Cut, clean: dict, distorted: dict, f: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        """What a swap changes in the `cut.window` channels around filter f that enter the next convolution.

        Each depends on as many neighbours again, and torch normalises as if there were zeros beyond the outermost.
        """
        wide = 2 * cut.window - 1
        value = _beyond(distorted[cut.swapped], wide)[m.unsqueeze(1), _window(f, wide)]
        value[:, cut.window - 1] = clean[cut.swapped][m, f]
        for node in cut.between:
            value = self._call(node, {node.all_input_nodes[0]: value})
            if node is cut.between[0]:
                value = value[:, cut.window // 2 :][:, : cut.window]
        return value - _beyond(distorted[cut.between[-1]], cut.window)[m.unsqueeze(1), _window(f, cut.window)]

    def _run_from(self, layer: str, value: torch.Tensor, distorted: dict, m: torch.Tensor) -> torch.Tensor:
        """The network's output, given the value of the cut's start and cached values for all that it does not reach."""
        values = {self.cuts[layer].start: value}
        for node in self.later[layer]:
            for source in node.all_input_nodes:
                if source not in values and source in distorted:
                    values[source] = distorted[source][m]
            values[node] = self._call(node, values)
            for used in self.spent[layer][node]:
                del values[used]
        return values[self.output]

    def _check_swaps(self, layer: str, images: torch.Tensor) -> None:
        """Swap three filters of one image, here and in the network as it is, and compare the logits."""
        conv, count = self.module.get_submodule(self.targets[layer]), self.filters(layer)
        filters = torch.tensor([0, count // 2, count - 1], device=images.device)
        clean, distorted = (self.activations(image) for image in images[:2].split(1))
        image, cut = torch.zeros_like(filters), self.cuts[layer]
        difference = clean[cut.swapped] - distorted[cut.swapped]
        value = self._swapped_value(cut, clean, distorted, difference, filters, image)
        found = self._run_from(layer, value, distorted, image)
        outputs: list[torch.Tensor] = []

        def swap(module: nn.Module, inputs: tuple, output: torch.Tensor) -> torch.Tensor:
            outputs.append(output.clone())
            output = output.clone()
            if len(outputs) == 2:
                output[range(len(filters)), filters] = outputs[0][0, filters]
            return output

        handle = conv.register_forward_hook(swap)
        self.module(images[:1].clone())
        expected = self.module(images[1].repeat(len(filters), 1, 1, 1))
        handle.remove()
        if not agree(found, expected):
            raise InputError(
                f"layer {layer!r}: expected a network that can be run from here on, got other logits than "
                "its own; take in-place work and hooks out of the modules behind it."
            )

    def _last_uses(self, layer: str) -> dict[torch.fx.Node, list[torch.fx.Node]]:
        """What is not needed any more after each of the layer's later nodes has run."""
        last: dict[torch.fx.Node, torch.fx.Node] = {}
        for node in self.later[layer]:
            last |= dict.fromkeys((*node.all_input_nodes, node), node)
        last.pop(self.output, None)
        spent: dict[torch.fx.Node, list[torch.fx.Node]] = {node: [] for node in self.later[layer]}
        for node, user in last.items():
            spent[user].append(node)
        return spent

    def _bytes_per_pair(self, layer: str) -> int:
        """The most that one pair of filter and image needs while the layers behind its cut run again."""
        cut, sizes = self.cuts[layer], self.seen.sizes
        peak = 2 * sizes[cut.start]
        if cut.following:  # the patches of the channels that changed, and their weights
            conv, shape = self.modules[cut.following.target], self.seen.shapes[cut.following]
            taps = cut.window * conv.kernel_size[0] * conv.kernel_size[1]
            peak += 2 * taps * (shape[0] + shape[1:].numel()) * sizes[cut.start] // shape.numel()
        alive = {cut.start}
        for node in self.later[layer]:
            alive |= {node, *node.all_input_nodes}
            peak = max(peak, sum(sizes.get(n, 0) for n in alive) + sizes.get(node, 0))
            alive -= set(self.spent[layer][node])
        return max(peak, 1)


def trial_images(clean: torch.Tensor, distorted: torch.Tensor) -> torch.Tensor:
    """Three images [3, C, H, W] to try a network on: a clean one, and how its last and first level distort it."""
    moved = int((distorted[-1, :_IMAGES] - clean[:_IMAGES]).flatten(1).abs().amax(1).argmax())
    return torch.stack([clean[moved], distorted[-1, moved], distorted[0, moved]])


def _window(f: torch.Tensor, size: int) -> torch.Tensor:
    """Indices [pairs, size] of the channels around each of f, in a tensor that `_beyond` widened."""
    return f.unsqueeze(1) + torch.arange(size, device=f.device)


def _beyond(channels: torch.Tensor, size: int) -> torch.Tensor:
    """Channels [N, C, H, W] with zeros before the first and behind the last, so that each has a window of `size`.

    A response normalisation of even size reaches one channel further back than forth: a channel reaches one forth.
    """
    return F.pad(channels, (0, 0, 0, 0, (size - 1) // 2, size // 2))


def _add_to_group(conv: nn.Conv2d, value: torch.Tensor, f: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
    """Outputs `value` [pairs, out, H * W] of a grouped convolution plus what channel f's patches add in its group."""
    inputs = conv.in_channels // conv.groups
    weight = conv.weight.view(conv.groups, -1, inputs, conv.weight[0, 0].numel())[f // inputs, :, f % inputs]
    groups = value.view(len(value), conv.groups, -1, value.shape[-1])
    groups[torch.arange(len(f), device=f.device), f // inputs] += weight @ patches
    return value


def _dense_weight(conv: nn.Conv2d, window: int) -> torch.Tensor:
    """Weights [out, in, k, k] of a convolution with or without groups; zero where a group does not reach, or beyond."""
    if conv.groups == 1:
        return _beyond(conv.weight, window)
    weight = conv.weight.new_zeros(conv.out_channels, conv.in_channels, *conv.kernel_size)
    outputs, inputs = conv.out_channels // conv.groups, conv.in_channels // conv.groups
    for g in range(conv.groups):
        rows, columns = slice(g * outputs, (g + 1) * outputs), slice(g * inputs, (g + 1) * inputs)
        weight[rows, columns] = conv.weight[rows]
    return _beyond(weight, window)
