"""Networks as drawings (Figures 3a, 7 and 8a): stacks of blocks as wide as a layer has filters.

Read off the modules themselves, so a drawing cannot say anything else than the network. Alt texts as in `figures`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from dclib.correction import CRITICALLY_WIDE, UnitDesign
from dclib.figures import STYLE, WIDTH
from dclib.looks import COLOURS, GREY
from dclib.models import AllConvNet

_ROW, _HEIGHT = 1.0, 0.66  # distance of two rows, height of a block
_TRAINED, _NARROW, _WIDE, _POINTWISE = (tuple(0.3 * c + 0.7 for c in COLOURS[i]) for i in (1, 0, 2, 3))


@dataclass(frozen=True)
class _Block:
    text: str
    width: float
    colour: object = "white"
    frozen: bool = False


def architecture(model: AllConvNet | None = None) -> Figure:
    """Figure 3a: the fully convolutional network, from image to classes; default: the paper's."""
    model = model or AllConvNet()
    rows, sizes, size = [[_Block("image, 3 channels", 0.56)]], ["32×32"], 32
    for conv, name in _convolutions(model):
        size = (size + 2 * conv.padding[0] - conv.kernel_size[0]) // conv.stride[0] + 1
        colour = _POINTWISE if conv.kernel_size == (1, 1) else _NARROW if conv.stride == (1, 1) else _WIDE
        rows.append([_Block(_label(name, conv), _share(conv.out_channels, model), colour)])
        sizes.append(f"{size}×{size}")
    rows.append([_Block("average over positions, softmax", 0.84)])
    sizes.append("1×1")
    figure = _draw(rows, notes=sizes)
    layers = "; ".join(f"{row[0].text} to {note}" for row, note in zip(rows[1:-1], sizes[1:]))
    figure.alt_text = (f"Block diagram, from top to bottom: a 32×32 image, then {model.depth} convolutions, each with "
                       f"BatchNorm and ReLU: {layers}; then the average over all positions and softmax over "
                       f"{model.conv9.out_channels} classes. Blocks are as wide as a layer has filters.")
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
    figure.alt_text = (f"Block diagram of a correction unit. The outputs of {n} filters go through {len(stack)} steps "
                       f"({'; '.join(stack)}) and, by a skip connection, around them. Both are added.")
    return figure


def deepcorrect_architecture(k: int, counts: Mapping[str, int], model: AllConvNet | None = None) -> Figure:
    """Figure 8a: Deepcorr-k. Frozen layers are grey and dashed; behind each corrected layer its filters part.

    `counts` says how many filters of each corrected layer get a unit, as {layer: number}; the first k are drawn.
    """
    model = model or AllConvNet()
    corrected = dict(list(counts.items())[:k])
    rows = [[_Block("image, 3 channels", 0.56)]]
    for conv, name in _convolutions(model):
        rows.append([_Block(_label(name, conv), _share(conv.out_channels, model), "0.95", frozen=True)])
        if name in corrected:
            filters, chosen = conv.out_channels, corrected[name]
            whole = max(0.98, _share(filters, model))
            rows.append([_Block(f"{filters - chosen} pass", whole * (1 - chosen / filters), "white", frozen=True),
                         _Block(f"unit: {chosen} filters", whole * chosen / filters, _TRAINED)])
    rows.append([_Block("average over positions, softmax", 0.84, "0.95", frozen=True)])
    figure = _draw(rows)
    units = "; ".join(f"{count} of {getattr(model, name).out_channels} filters behind {name}"
                      for name, count in corrected.items())
    figure.alt_text = (f"Block diagram of Deepcorr-{k}: the {model.depth} convolutions of the baseline, all frozen and "
                       f"drawn grey and dashed. Trained correction units stand behind the first {k}: {units}. "
                       "The other filters pass unchanged.")
    return figure


def _convolutions(model: AllConvNet):
    return [(getattr(model, f"conv{i}"), f"conv{i}") for i in range(1, model.depth + 1)]


def _label(name: str, conv) -> str:
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    return f"{name}: {kernel}×{kernel}-conv-{conv.out_channels}-{stride}"


def _share(filters: int, model: AllConvNet) -> float:
    """A block's width in 0..1: the widest layer fills it, and the text of the narrowest still fits."""
    widest = max(conv.out_channels for conv, _ in _convolutions(model))
    return 0.56 + 0.44 * filters / widest


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
            axes.annotate("", (x, -(i + 1) * _ROW + _HEIGHT / 2), (x, -i * _ROW - _HEIGHT / 2),
                          arrowprops={"arrowstyle": "-|>", "color": GREY, "shrinkA": 0, "shrinkB": 0, "lw": 1})
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
    axes.add_patch(FancyBboxPatch(
        (left + gap, y - _HEIGHT / 2), block.width - 2 * gap, _HEIGHT, boxstyle="round,pad=0,rounding_size=0.02",
        mutation_aspect=10, facecolor=block.colour, edgecolor="0.55" if block.frozen else "0.2", linewidth=1,
        linestyle="--" if block.frozen else "-"))
    axes.text(middle, y, block.text, ha="center", va="center", fontsize=10.5, color="0.3" if block.frozen else "black")


def _middles(row: list[_Block]) -> list[float]:
    left, middles = -sum(block.width for block in row) / 2, []
    for block in row:
        middles.append(left + block.width / 2)
        left += block.width
    return middles
