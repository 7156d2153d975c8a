"""Records and arrays -> figures, each with an alt text that is made from the same data. Nothing is computed here.

Every function returns one matplotlib `Figure` with an attribute `alt_text`. A figure is one panel, narrow enough for a
telephone; `show` sets several side by side where there is room. Lines differ by marker and dash as well as colour.
"""

import base64
import html
import io
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dclib.distortions import gaussian_window
from dclib.errors import InputError
from dclib.figures.style import GREY, look, look_of
from dclib.results import Record

NAMES = {"blur": "Gaussian blur", "awgn": "noise (AWGN)"}
TITLES = {"blur": "Blur", "awgn": "Noise"}
SYMBOLS = {"blur": r"$\sigma_b$", "awgn": r"$\sigma_n$"}
UNITS = {"blur": f"{SYMBOLS['blur']} in pixels", "awgn": f"{SYMBOLS['awgn']} in grey values"}
WIDTH, SVG_LIMIT = 4.3, 150_000
FLEXIBLE = "flex:1 1 300px;min-width:0"
STYLE = {"font.size": 11, "axes.titlesize": 11, "axes.labelsize": 11, "xtick.labelsize": 10, "ytick.labelsize": 10,
         "legend.fontsize": 10, "legend.handlelength": 2.6, "legend.columnspacing": 1.2,
         "figure.facecolor": "white", "axes.facecolor": "white", "axes.spines.top": False, "axes.spines.right": False,
         "axes.grid": True, "grid.color": "0.88", "axes.axisbelow": True,
         "lines.markersize": 5, "lines.linewidth": 1.6, "svg.hashsalt": "dclib"}


# Curves


def accuracy_over_levels(curves: Mapping[str, Sequence[float]], distortion: str, sigmas: Sequence[float],
                         source: str, *, measure: str = "top-1 accuracy") -> Figure:
    """Tables 3 and 4, drawn: {method: accuracy [1 + levels]}, level 0 clean.

    Each method has its own look (`dclib.figures.style`); what stands in for NCSR has NCSR's.
    `source` says whose numbers these are ("the paper", "here, small"), `measure` which accuracy it is.
    """
    _not_empty(curves)
    figure, axes = _panel(f"{TITLES[distortion]}: {source}")
    for i, (method, accuracy) in enumerate(curves.items()):
        axes.plot([0, *sigmas], accuracy, label=method.replace(", for ", ",\nfor "), **look_of(method, i))
    _over_sigma(axes, figure, [0, *sigmas], distortion, top=None)
    axes.set_ylabel(measure)
    means = {method: float(np.mean(a)) for method, a in curves.items()}
    best = max(means, key=means.get)
    lines = "; ".join(f"{m} {_course(a)}, mean {means[m]:.3f}" for m, a in curves.items())
    leader = f" The highest mean is that of {best}." if len(curves) > 1 else ""
    return _with_alt(figure, f"Line chart, {source}: {measure} from clean images to {NAMES[distortion]} of σ = "
                             f"{sigmas[-1]:g}. {lines}.{leader}")


def swap_fractions(accuracy: np.ndarray, fractions: Sequence[float], distortion: str, sigmas: Sequence[float],
                   source: str, *, layer: str = "conv1", before: Sequence[float] | None = None) -> Figure:
    """Figure 4: accuracy [fractions, levels] when the top fractions of a layer's filters give their clean output.

    `before` is the accuracy [levels] without any swap.
    """
    accuracy = np.asarray(accuracy)
    figure, axes = _panel(f"{TITLES[distortion]}, {layer}: {source}")
    for i, (fraction, values) in enumerate(zip(fractions, accuracy, strict=True)):
        axes.plot(sigmas, values, label=f"β = {fraction:.0%}", **look(i))
    start = ""
    if before is not None:
        axes.plot(sigmas, before, label="none swapped", color=GREY, linestyle=":", marker="x")
        start = f" Without a swap it {_course(before)}."
    _over_sigma(axes, figure, sigmas, distortion)
    ends = "; ".join(f"{f:.0%} {_course(a)}" for f, a in zip(fractions, accuracy))
    return _with_alt(figure, f"Line chart, {source}: accuracy over the {len(sigmas)} levels of {NAMES[distortion]} "
                             f"when the most susceptible filters of {layer} give their clean output.{start} "
                             f"By share of filters: {ends}.")


def swap_layers(accuracy: Mapping[str, np.ndarray], fraction: float, distortion: str, sigmas: Sequence[float],
                source: str, *, before: Sequence[float] | None = None) -> Figure:
    """Figure 5: {layer: accuracy [levels]} when one fraction of that layer's filters gives its clean output."""
    _not_empty(accuracy)
    figure, axes = _panel(f"{TITLES[distortion]}, {fraction:.0%} of a layer: {source}")
    for i, (layer, values) in enumerate(accuracy.items()):
        axes.plot(sigmas, values, label=layer, **look(i))
    if before is not None:
        axes.plot(sigmas, before, label="none swapped", color=GREY, linestyle=":", marker="x")
    _over_sigma(axes, figure, sigmas, distortion)
    means = {layer: float(np.mean(a)) for layer, a in accuracy.items()}
    best, worst = max(means, key=means.get), min(means, key=means.get)
    lines = ", ".join(f"{layer} {mean:.3f}" for layer, mean in means.items())
    return _with_alt(figure, f"Line chart, {source}: accuracy over the {len(sigmas)} levels of {NAMES[distortion]} "
                             f"when {fraction:.0%} of one layer's filters give their clean output. Means over levels: "
                             f"{lines}. {best} helps most, {worst} least.")


def priorities(scores: Mapping[str, np.ndarray], distortion: str, source: str, *,
               label: str = "correction priority τ") -> Figure:
    """Scores per filter {layer: [filters]}, sorted within each layer, over the share of that layer's filters."""
    _not_empty(scores)
    figure, axes = _panel(f"{TITLES[distortion]}: {source}")
    parts = []
    for i, (layer, values) in enumerate(scores.items()):
        ranked = np.sort(np.asarray(values))[::-1]
        share = np.arange(1, len(ranked) + 1) / len(ranked)
        axes.plot(share, ranked, label=layer, markevery=max(1, len(ranked) // 6), **look(i))
        parts.append(f"{layer} from {ranked[0]:.4f} down to {ranked[-1]:.4f}")
    axes.set(xlabel="share of the layer's filters, most susceptible first", ylabel=label, xlim=(0, 1))
    axes.xaxis.set_major_formatter(mpl.ticker.PercentFormatter(1))
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return _with_alt(figure, f"Line chart, {source}: {label} of every filter under {NAMES[distortion]}, sorted within "
                             f"each layer. {'; '.join(parts)}.")


def learning_curves(records: Sequence[Record], source: str) -> Figure:
    """Mean validation accuracy (clean and all levels) over training iterations, one line per record with a curve.

    Records of one method share its colour.
    """
    _not_empty(records)
    distinct = len({record.description["method"] for record in records}) == len(records)
    lines = {}
    for i, record in enumerate(records):
        curve = record.outcome["curve"]
        own = look_of(record.description["method"], i)
        lines[_record_name(record, records)] = (
            [entry["iteration"] for entry in curve], [float(np.mean(entry["validation"])) for entry in curve],
            own if distinct else look(i) | {"color": own["color"]})
    return _over_iterations(lines, source, (0, 1))


def training_curves(iterations: Sequence[int], curves: Mapping[str, Sequence[float]], source: str) -> Figure:
    """Figure 12 as the paper has it: {method: validation accuracy [iterations]}; the axis begins near the lowest value."""
    _not_empty(curves)
    return _over_iterations({method: (iterations, accuracy, look_of(method, i) | {"markevery": max(1, len(iterations) // 10)})
                             for i, (method, accuracy) in enumerate(curves.items())}, source)


def _over_iterations(lines: Mapping[str, tuple], source: str, limits: tuple[float, float] | None = None) -> Figure:
    """{name: iterations, accuracies, look} as lines."""
    figure, axes = _panel(source)
    parts = []
    for name, (iterations, accuracy, own) in lines.items():
        axes.plot(iterations, accuracy, label=name, **own)
        parts.append(f"{name} goes from {accuracy[0]:.3f} to {accuracy[-1]:.3f}, at best {max(accuracy):.3f}")
    axes.set(xlabel="iteration", ylabel="validation accuracy", ylim=limits)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    last = max(iterations[-1] for iterations, _, _ in lines.values())
    return _with_alt(figure, f"Line chart, {source}: validation accuracy, averaged over levels, during {last} training "
                             f"iterations. {'; '.join(parts)}.")


# Images


def distortion_strip(strips: Mapping[str, np.ndarray], sigmas: Mapping[str, Sequence[float]], what: str) -> Figure:
    """One image at every level: {distortion: values in 0..255 [1 + levels, 3, H, W]}, level 0 clean.

    Values outside 0..255 are clipped for the screen only. `what` names the image.
    """
    _not_empty(strips)
    columns = max(len(s) for s in strips.values())
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(5.2, 1.12 * len(strips)), layout="constrained")
        grid = figure.subplots(len(strips), columns, squeeze=False)
    for row, (distortion, images) in zip(grid, strips.items()):
        shown = np.clip(np.asarray(images, dtype=float) / 255, 0, 1).transpose(0, 2, 3, 1)
        for axes, image, sigma in zip(row, shown, [0, *sigmas[distortion]], strict=True):
            axes.imshow(image, interpolation="nearest")
            axes.set_title("clean" if sigma == 0 else f"{sigma:g}", fontsize=9, pad=3)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        row[0].set_ylabel(f"{TITLES[distortion]}, {SYMBOLS[distortion]}", fontsize=9)
    changes = []
    for distortion, images in strips.items():
        contrast = np.asarray(images, dtype=float).std(axis=(1, 2, 3))
        changes.append(f"under {NAMES[distortion]} up to σ = {sigmas[distortion][-1]:g} the standard deviation of its "
                       f"pixels {_course(contrast, '.0f')}")
    return _with_alt(figure, f"{what} at {columns} levels, clean first: {'; '.join(changes)}.")


def gallery(images: np.ndarray, names: Sequence[str]) -> Figure:
    """One image per class, values in 0..255 [classes, 3, H, W], with its name below."""
    columns = 5
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(5.2, 1.15 * -(-len(names) // columns)), layout="constrained")
        grid = figure.subplots(-(-len(names) // columns), columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, image, name in zip(grid, np.asarray(images), names):
        axes.imshow(image.transpose(1, 2, 0).astype(np.uint8), interpolation="nearest")
        axes.set_title(name.replace("_", " ").replace("hubble deep field", "hubble").removesuffix(" left"), fontsize=9,
                       pad=3)
    return _with_alt(figure, f"{len(names)} small patches, one of each photograph: {', '.join(names)}. They are grey "
                             "with a tint, and differ in texture.")


def blur_windows(sigmas: Sequence[float]) -> Figure:
    """The taps of one axis of each Gaussian window (Section 3.2): 4 sigma + 1 of them."""
    figure, axes = _panel("Gaussian windows, one axis")
    sizes = []
    for i, sigma in enumerate(sigmas):
        taps = gaussian_window(sigma)
        sizes.append(len(taps))
        axes.plot(np.arange(len(taps)) - len(taps) // 2, taps, label=f"{SYMBOLS['blur']} = {sigma:g}", **look(i))
    axes.set(xlabel="offset in pixels", ylabel="weight", ylim=(0, None))
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return _with_alt(figure, "Line chart of the blur's weights by offset. The windows have "
                             f"{', '.join(map(str, sizes))} taps; the central weight falls from "
                             f"{max(gaussian_window(sigmas[0])):.2f} at σ = {sigmas[0]:g} to "
                             f"{max(gaussian_window(sigmas[-1])):.2f} at σ = {sigmas[-1]:g}.")


# On a page


CAPTION = "color:inherit;font-weight:400;font-size:0.9rem;text-align:left;margin:0.4rem 0"


def show(*figures: Figure, caption: str = ""):
    """The figures as one HTML `<figure>`: images with alt text, side by side where there is room, then the caption.

    SVG where it is small, PNG at twice the screen's resolution where not. `caption` may hold HTML.
    """
    from IPython.display import HTML

    images = "".join(_image(figure) for figure in figures)
    if len(figures) > 1 and len(figures) % 2:  # else the last of an odd number would grow into the room beside it
        images += f'<span style="{FLEXIBLE}"></span>'
    below = f'<figcaption style="{CAPTION}">{caption}</figcaption>' if caption else ""
    return HTML(f'<figure class="dclib-figure" style="margin:0.5rem 0"><div style="display:flex;flex-wrap:wrap;'
                f'gap:0.75rem;justify-content:center">{images}</div>{below}</figure>')


def _image(figure: Figure) -> str:
    alt = getattr(figure, "alt_text", "")
    if not alt:
        raise InputError("show: expected a figure with an alt text, got none; set figure.alt_text.")
    content, kind = _saved(figure, "svg"), "svg+xml"
    if len(content) > SVG_LIMIT:
        content, kind = _saved(figure, "png", dpi=192), "png"
    width = round(figure.get_figwidth() * 96)
    data = base64.b64encode(content).decode()
    return (f'<img src="data:image/{kind};base64,{data}" alt="{html.escape(alt)}" '
            f'style="{FLEXIBLE};max-width:{round(1.35 * width)}px;height:auto;background:white;'
            'border-radius:4px">')


def _saved(figure: Figure, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else None, **options)
    return buffer.getvalue()


# Helpers


def _panel(title: str, height: float = 3.5) -> tuple[Figure, Axes]:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.subplots()
    axes.set_title(title, loc="left")
    return figure, axes


def _over_sigma(axes: Axes, figure: Figure, sigmas: Sequence[float], distortion: str, top: float | None = 1) -> None:
    axes.set(xlabel=UNITS[distortion], ylabel="top-1 accuracy", ylim=(0, top), xticks=list(sigmas))
    axes.set_xticklabels(["clean" if s == 0 else f"{s:g}" for s in sigmas])
    wide = any(len(line.get_label()) > 14 for line in axes.lines)  # long names leave no room for three columns
    figure.legend(loc="outside lower center", ncols=2 if wide else 3, frameon=False)


def _course(values: Sequence[float], form: str = ".3f") -> str:
    """In words, from the first to the last value: "falls from 0.700 to 0.100"."""
    first, last = (f"{float(v):{form}}" for v in (values[0], values[-1]))
    if first == last:
        return f"ends where it starts, at {first}"
    return f"{'rises' if float(values[-1]) > float(values[0]) else 'falls'} from {first} to {last}"


def _record_name(record: Record, records: Sequence[Record]) -> str:
    """The method, with what tells the record from the others."""
    def differ(key: str) -> bool:
        return len({r.description.get(key) for r in records}) > 1

    distortion = f", {record.description.get('distortion') or 'clean'}" if differ("distortion") else ""
    return record.description["method"] + distortion + (f", seed {record.seed}" if differ("seed") else "")


def _not_empty(curves: Mapping | Sequence) -> None:
    if not len(curves):
        raise InputError("figure: expected at least one curve, got none; make the runs first.")


def _with_alt(figure: Figure, text: str) -> Figure:
    figure.alt_text = text
    return figure
