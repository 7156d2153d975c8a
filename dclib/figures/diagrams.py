"""Networks as drawings (Figures 3, 7 and 8): stacks of blocks as wide as a layer has filters.

Read off the modules themselves, so a drawing cannot say anything else than the network. Alt texts as in `figures`.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import nn

from dclib.correction import CRITICALLY_WIDE, UnitDesign
from dclib.figures.style import COLOURS, GREY, STYLE, WIDTH
from dclib.models import AlexNet, AllConvNet, shapes_alone

_ROW, _HEIGHT = 1.0, 0.66  # distance of two rows, height of a block
_TRAINED, _NARROW, _WIDE, _POINTWISE = (tuple(0.3 * c + 0.7 for c in COLOURS[i]) for i in (1, 0, 2, 3))
#: Of a layer's block by its kind: convolutions that step over pixels and those of 1×1 have colours of their own.
_COLOURS = {
    "conv": lambda step: (
        _POINTWISE if step.module.kernel_size == (1, 1) else _NARROW if step.module.stride == (1, 1) else _WIDE
    ),
    "between": lambda step: "white",
    "dense": lambda step: _POINTWISE,
}


@dataclass(frozen=True)
class _Block:
    text: str
    width: float
    colour: object = "white"
    frozen: bool = False


_IMAGE = _Block("image, 3 channels", 0.56)


def architecture(model: AllConvNet | AlexNet | None = None) -> Figure:
    """Figures 3a and 3b: a network from image to classes; default: the paper's for CIFAR-100."""
    model = model or _paper_network(AllConvNet)
    steps = _steps(model)
    widest = max(step.channels for step in steps if step.kind == "conv")
    rows = [[_IMAGE]] + [[_Block(step.text, _width(step, widest), _COLOURS[step.kind](step))] for step in steps]
    sizes = [f"{steps[0].side}×{steps[0].side}"] + [step.size for step in steps]
    if averaged := steps[-1].kind == "conv":
        rows.append([_Block("average over positions, softmax", 0.84)])
        sizes.append("1×1")
    figure = _draw(rows, notes=sizes)
    convolutions, classes = [step for step in steps if step.kind == "conv"], steps[-1].channels
    normed = any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    layers = "; ".join(f"{step.text}{step.groups} to {step.size}" for step in steps)
    ending = (
        f"then the average over all positions and softmax over {classes} classes"
        if averaged
        else (f"softmax over {classes} classes")
    )
    figure.alt_text = (
        f"Block diagram, from top to bottom: a {sizes[0]} image, then {len(convolutions)} convolutions, each "
        f"with {'BatchNorm and ReLU' if normed else 'ReLU'}: {layers}; {ending}. Blocks are as wide as a layer "
        "has filters."
    )
    return figure


def correction_unit(design: UnitDesign = CRITICALLY_WIDE, channels: int | None = None) -> Figure:
    """Figure 7: a correction unit of this design, for `channels` filters (n when None)."""
    n = "n" if channels is None else str(channels)
    width = n if design.width is None else str(design.width)
    rows = [[_Block(f"distorted outputs of {n} filters", 0.86)]]
    if design.input_batchnorm:
        rows.append([_Block("BatchNorm", 0.62, _NARROW)])
    dilations = design.dilations or (1,) * len(design.kernels)
    for i, (kernel, dilation) in enumerate(zip(design.kernels, dilations), start=1):
        last = i == len(design.kernels)
        text = f"{kernel}×{kernel}-conv-{n if last else width}-1" + (f", dilation {dilation}" if dilation > 1 else "")
        behind = "" if last else ", BatchNorm, ReLU" if design.batchnorm else ", ReLU"
        rows.append([_Block(text + behind, 0.88, _TRAINED)])
    stack = [row[0].text for row in rows[1:]]
    rows += [[_Block("+", 0)], [_Block(f"corrected outputs of {n} filters", 0.86)]]
    figure = _draw(rows, skip=(0, len(rows) - 2))
    figure.alt_text = (
        f"Block diagram of a correction unit. The outputs of {n} filters go through {len(stack)} steps "
        f"({'; '.join(stack)}) and, by a skip connection, around them. Both are added."
    )
    return figure


def deepcorrect_architecture(k: int, counts: Mapping[str, int], model: AllConvNet | AlexNet | None = None) -> Figure:
    """Figures 8a and 8b: Deepcorr-k. Frozen layers are grey and dashed; behind each corrected layer its filters part.

    `counts` says how many filters of each corrected layer get a unit, as {layer: number}; the first k are drawn.
    """
    steps = _steps(model or _paper_network(AllConvNet))
    widest = max(step.channels for step in steps if step.kind == "conv")
    corrected, filters = dict(list(counts.items())[:k]), {}
    rows = [[_IMAGE]]
    for step in steps:
        rows.append([_Block(step.text, _width(step, widest), "0.95", frozen=True)])
        if step.name in corrected:
            filters[step.name], chosen = step.channels, corrected[step.name]
            whole = max(0.98, _width(step, widest))
            rows.append(
                [
                    _Block(f"{step.channels - chosen} pass", whole * (1 - chosen / step.channels), "white", frozen=True),
                    _Block(f"unit: {chosen} filters", whole * chosen / step.channels, _TRAINED),
                ]
            )
    if steps[-1].kind == "conv":
        rows.append([_Block("average over positions, softmax", 0.84, "0.95", frozen=True)])
    figure = _draw(rows)
    units = "; ".join(f"{count} of {filters[name]} filters behind {name}" for name, count in corrected.items())
    layers = {kind: sum(step.kind == kind for step in steps) for kind in ("conv", "dense")}
    also = f" and {layers['dense']} dense layers" if layers["dense"] else ""
    figure.alt_text = (
        f"Block diagram of Deepcorr-{k}: the {layers['conv']} convolutions{also} of the baseline, all frozen "
        f"and drawn grey and dashed. Trained correction units stand behind the first {k}: {units}. "
        "The other filters pass unchanged."
    )
    return figure


@dataclass(frozen=True)
class _Step:
    """A layer that an image of `side` pixels passes: its kind, its outputs, and their size in words."""

    name: str
    kind: str
    text: str
    channels: int
    size: str
    side: int
    module: nn.Module

    @property
    def groups(self) -> str:
        count = getattr(self.module, "groups", 1)
        return f" in {count} groups" if count > 1 else ""


def _paper_network(kind: type[nn.Module]) -> nn.Module:
    """The paper's network without numbers in it."""
    with shapes_alone():
        return kind()


def _steps(model: AllConvNet | AlexNet) -> list[_Step]:
    """Convolutions, poolings and dense layers in the order in which the network itself calls them."""
    side = 227 if isinstance(model, AlexNet) else 32
    model = copy.deepcopy(model).to("meta").eval()  # sizes without numbers, and nothing of the given network changes
    names, steps = {module: name for name, module in model.named_modules()}, []

    def note(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        step = _step(names[module], module, output, side)
        if step.kind == "between" and steps and steps[-1].kind == "between":  # pooling and normalisation: one block
            before = steps.pop()
            step = replace(step, text=f"{before.text}, {step.text}")
        steps.append(step)

    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.LocalResponseNorm, nn.Linear)):
            module.register_forward_hook(note)
    with torch.inference_mode():
        model(torch.zeros(1, 3, side, side, device="meta"))
    return steps


def _step(name: str, module: nn.Module, output: torch.Tensor, side: int) -> _Step:
    channels, size = output.shape[1], "×".join(map(str, output.shape[2:]))
    if isinstance(module, nn.Conv2d):
        kernel, stride = module.kernel_size[0], module.stride[0]
        return _Step(name, "conv", f"{name}: {kernel}×{kernel}-conv-{channels}-{stride}", channels, size, side, module)
    if isinstance(module, nn.Linear):
        return _Step(name, "dense", f"{name}: dense-{channels}", channels, "1×1", side, module)
    pooled = (
        f"{module.kernel_size}×{module.kernel_size}-maxpool-{module.stride}" if isinstance(module, nn.MaxPool2d) else "LRN"
    )
    return _Step(name, "between", pooled, channels, size, side, module)


def _width(step: _Step, widest: int) -> float:
    """A block's width in 0..1: the widest layer fills it, and the text of the narrowest still fits."""
    return 0.56 + 0.44 * min(1, step.channels / widest)


def _draw(rows: list[list[_Block]], notes: list[str] | None = None, skip: tuple[int, int] | None = None) -> Figure:
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(WIDTH, 0.37 * len(rows) + 0.1), layout="constrained")
        axes = figure.subplots()
    axes.set_axis_off()
    for i, row in enumerate(rows):
        left = -sum(block.width for block in row) / 2
        for block in row:
            _draw_block(axes, block, left, -i * _ROW)
            left += block.width
    for i, (above, below) in enumerate(pairwise(rows)):
        middles = _middles(above) if len(above) > 1 else _middles(below)
        for x in middles:
            start, end = (np.clip(x, *_reach(row)) for row in (above, below))
            axes.annotate(
                "",
                (end, -(i + 1) * _ROW + _HEIGHT / 2),
                (start, -i * _ROW - _HEIGHT / 2),
                arrowprops={"arrowstyle": "-|>", "color": GREY, "shrinkA": 0, "shrinkB": 0, "lw": 1},
            )
    for i, note in enumerate(notes or []):
        axes.text(0.53, -i * _ROW, note, va="center", fontsize=10.5, color="0.3")
    if skip:
        start, end, x = -skip[0] * _ROW, -skip[1] * _ROW, -0.5
        axes.plot([-rows[skip[0]][0].width / 2, x, x], [start, start, end], color=GREY, lw=1)
        axes.annotate("", (-0.04, end), (x, end), arrowprops={"arrowstyle": "-|>", "color": GREY, "shrinkA": 0})
    axes.set(xlim=(-0.54, 0.54 + (0.22 if notes else 0)), ylim=(-(len(rows) - 0.4) * _ROW, 0.6 * _ROW))
    return figure


def _draw_block(axes, block: _Block, left: float, y: float) -> None:
    middle = left + block.width / 2
    if not block.width:  # the sum at the end of a skip connection
        axes.plot([middle], [y], "o", ms=15, mfc="white", mec="black", mew=1)
        axes.text(middle, y, block.text, ha="center", va="center", fontsize=11)
        return
    gap = 0.008
    axes.add_patch(
        FancyBboxPatch(
            (left + gap, y - _HEIGHT / 2),
            block.width - 2 * gap,
            _HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.02",
            mutation_aspect=10,
            facecolor=block.colour,
            edgecolor="0.55" if block.frozen else "0.2",
            linewidth=1,
            linestyle="--" if block.frozen else "-",
        )
    )
    axes.text(middle, y, block.text, ha="center", va="center", fontsize=10.5, color="0.3" if block.frozen else "black")


def _reach(row: list[_Block]) -> tuple[float, float]:
    """From where to where an arrow may touch a row; its middle where it is the sum of a skip connection."""
    half = max(0.0, sum(block.width for block in row) / 2 - 0.03)
    return -half, half


def _middles(row: list[_Block]) -> list[float]:
    left, middles = -sum(block.width for block in row) / 2, []
    for block in row:
        middles.append(left + block.width / 2)
        left += block.width
    return middles
