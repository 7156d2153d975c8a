"""Figures 4, 5, 9 and 12, and tables drawn: accuracy over levels, shares of filters and iterations."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dclib.distortions import gaussian_window
from dclib.figures.style import GREY, course, look, look_of, not_empty, panel, with_alt
from dclib.figures.words import NAMES, SYMBOLS, TITLES, UNITS
from dclib.results import Record


def accuracy_over_levels(
    curves: Mapping[str, Sequence[float]],
    distortion: str,
    sigmas: Sequence[float],
    source: str,
    *,
    measure: str = "top-1 accuracy",
    methods: Mapping[str, str] | None = None,
) -> Figure:
    """Tables 3 and 4, drawn: {label: accuracy [1 + levels]}, level 0 clean.

    Each method has its own look (`dclib.figures.style`); `methods` says which one a label stands for that is no method's name.
    `source` says whose numbers these are ("the paper", "here, small"), `measure` which accuracy it is.
    """
    not_empty(curves)
    figure, axes = panel(f"{TITLES[distortion]}: {source}")
    methods = methods or {}
    for i, (label, accuracy) in enumerate(curves.items()):
        axes.plot([0, *sigmas], accuracy, label=label.replace(", for ", ",\nfor "), **look_of(methods.get(label, label), i))
    _over_sigma(axes, figure, [0, *sigmas], distortion, top=None)
    axes.set_ylabel(measure)
    means = {method: float(np.mean(a)) for method, a in curves.items()}
    best = max(means, key=means.get)
    lines = "; ".join(f"{m} {course(a)}, mean {means[m]:.3f}" for m, a in curves.items())
    leader = f" The highest mean is that of {best}." if len(curves) > 1 else ""
    return with_alt(
        figure,
        f"Line chart, {source}: {measure} from clean images to {NAMES[distortion]} of σ = {sigmas[-1]:g}. {lines}.{leader}",
    )


def swap_fractions(
    accuracy: np.ndarray,
    fractions: Sequence[float],
    distortion: str,
    sigmas: Sequence[float],
    source: str,
    *,
    layer: str = "conv1",
    before: Sequence[float] | None = None,
) -> Figure:
    """Figure 4: accuracy [fractions, levels] when the top fractions of a layer's filters give their clean output.

    `before` is the accuracy [levels] without any swap.
    """
    accuracy = np.asarray(accuracy)
    figure, axes = panel(f"{TITLES[distortion]}, {layer}: {source}")
    for i, (fraction, values) in enumerate(zip(fractions, accuracy, strict=True)):
        axes.plot(sigmas, values, label=f"β = {fraction:.0%}", **look(i))
    start = ""
    if before is not None:
        axes.plot(sigmas, before, label="none swapped", color=GREY, linestyle=":", marker="x")
        start = f" Without a swap it {course(before)}."
    _over_sigma(axes, figure, sigmas, distortion)
    ends = "; ".join(f"{f:.0%} {course(a)}" for f, a in zip(fractions, accuracy))
    return with_alt(
        figure,
        f"Line chart, {source}: accuracy over the {len(sigmas)} levels of {NAMES[distortion]} "
        f"when the most susceptible filters of {layer} give their clean output.{start} "
        f"By share of filters: {ends}.",
    )


def swap_orders(
    joint: np.ndarray,
    single: np.ndarray,
    fractions: Sequence[float],
    distortion: str,
    source: str,
    *,
    layer: str = "conv1",
    before: float | None = None,
    clean: float | None = None,
) -> Figure:
    """Figure 4's accuracies over the share of filters, in two orders: the ranking of Eq. 1, and joint swaps.

    joint, single: mean accuracy over levels [fractions]; before: without a swap; clean: on clean images.
    """
    joint, single = np.asarray(joint), np.asarray(single)
    figure, axes = panel(f"{TITLES[distortion]}, {layer}: {source}")
    start = ([0.0], [before]) if before is not None else ([], [])
    for i, (name, values) in enumerate((("each by itself (Eq. 1)", single), ("beside those chosen", joint))):
        axes.plot([*start[0], *fractions], [*start[1], *values], label=name, **look(i))
    if clean is not None:
        axes.axhline(clean, label="clean images", color=GREY, linestyle=":")
    axes.set(xlabel="share of the layer's filters that give their clean output", ylabel="mean top-1 accuracy", xlim=(0, 1))
    axes.xaxis.set_major_formatter(mpl.ticker.PercentFormatter(1))
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    lines = "; ".join(f"{f:.0%} {a:.3f} and {b:.3f}" for f, a, b in zip(fractions, single, joint, strict=True))
    return with_alt(
        figure,
        f"Line chart, {source}: accuracy, averaged over levels of {NAMES[distortion]}, when a share of "
        f"{layer}'s filters gives its clean output; filters ranked each by itself, and chosen beside "
        f"those before: {lines}." + ("" if before is None else f" Without a swap {before:.3f}."),
    )


def swap_layers(
    accuracy: Mapping[str, np.ndarray],
    fraction: float,
    distortion: str,
    sigmas: Sequence[float],
    source: str,
    *,
    before: Sequence[float] | None = None,
) -> Figure:
    """Figure 5: {layer: accuracy [levels]} when one fraction of that layer's filters gives its clean output."""
    not_empty(accuracy)
    figure, axes = panel(f"{TITLES[distortion]}, {fraction:.0%} of a layer: {source}")
    for i, (layer, values) in enumerate(accuracy.items()):
        axes.plot(sigmas, values, label=layer, **look(i))
    if before is not None:
        axes.plot(sigmas, before, label="none swapped", color=GREY, linestyle=":", marker="x")
    _over_sigma(axes, figure, sigmas, distortion)
    means = {layer: float(np.mean(a)) for layer, a in accuracy.items()}
    best, worst = max(means, key=means.get), min(means, key=means.get)
    lines = ", ".join(f"{layer} {mean:.3f}" for layer, mean in means.items())
    return with_alt(
        figure,
        f"Line chart, {source}: accuracy over the {len(sigmas)} levels of {NAMES[distortion]} "
        f"when {fraction:.0%} of one layer's filters give their clean output. Means over levels: "
        f"{lines}. {best} helps most, {worst} least.",
    )


def priorities(
    scores: Mapping[str, np.ndarray], distortion: str, source: str, *, label: str = "correction priority τ"
) -> Figure:
    """Scores per filter {layer: [filters]}, sorted within each layer, over the share of that layer's filters."""
    not_empty(scores)
    figure, axes = panel(f"{TITLES[distortion]}: {source}")
    parts = []
    for i, (layer, values) in enumerate(scores.items()):
        ranked = np.sort(np.asarray(values))[::-1]
        share = np.arange(1, len(ranked) + 1) / len(ranked)
        axes.plot(share, ranked, label=layer, markevery=max(1, len(ranked) // 6), **look(i))
        parts.append(f"{layer} from {ranked[0]:.4f} down to {ranked[-1]:.4f}")
    axes.set(xlabel="share of the layer's filters, most susceptible first", ylabel=label, xlim=(0, 1))
    axes.xaxis.set_major_formatter(mpl.ticker.PercentFormatter(1))
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return with_alt(
        figure,
        f"Line chart, {source}: {label} of every filter under {NAMES[distortion]}, sorted within "
        f"each layer. {'; '.join(parts)}.",
    )


def learning_curves(records: Sequence[Record], source: str) -> Figure:
    """Mean validation accuracy (clean and all levels) over training iterations, one line per record with a curve.

    Records of one method share its colour.
    """
    not_empty(records)
    distinct = len({record.description["method"] for record in records}) == len(records)
    lines = {}
    for i, record in enumerate(records):
        curve = record.outcome["curve"]
        own = look_of(record.description["method"], i)
        lines[_record_name(record, records)] = (
            [entry["iteration"] for entry in curve],
            [float(np.mean(entry["validation"])) for entry in curve],
            own if distinct else look(i) | {"color": own["color"]},
        )
    return _over_iterations(lines, source, (0, 1))


def training_curves(iterations: Sequence[int], curves: Mapping[str, Sequence[float]], source: str) -> Figure:
    """Figure 12 as the paper has it: {method: validation accuracy [iterations]}; the axis begins near the lowest value."""
    not_empty(curves)
    return _over_iterations(
        {
            method: (iterations, accuracy, look_of(method, i) | {"markevery": max(1, len(iterations) // 10)})
            for i, (method, accuracy) in enumerate(curves.items())
        },
        source,
    )


def _over_iterations(lines: Mapping[str, tuple], source: str, limits: tuple[float, float] | None = None) -> Figure:
    """{name: iterations, accuracies, look} as lines."""
    figure, axes = panel(source)
    parts = []
    for name, (iterations, accuracy, own) in lines.items():
        axes.plot(iterations, accuracy, label=name, **own)
        parts.append(f"{name} goes from {accuracy[0]:.3f} to {accuracy[-1]:.3f}, at best {max(accuracy):.3f}")
    axes.set(xlabel="iteration", ylabel="validation accuracy", ylim=limits)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    last = max(iterations[-1] for iterations, _, _ in lines.values())
    return with_alt(
        figure,
        f"Line chart, {source}: validation accuracy, averaged over levels, during {last} training "
        f"iterations. {'; '.join(parts)}.",
    )


def blur_windows(sigmas: Sequence[float]) -> Figure:
    """The taps of one axis of each Gaussian window (Section 3.2): 4 sigma + 1 of them."""
    figure, axes = panel("Gaussian windows, one axis")
    sizes = []
    for i, sigma in enumerate(sigmas):
        taps = gaussian_window(sigma)
        sizes.append(len(taps))
        axes.plot(np.arange(len(taps)) - len(taps) // 2, taps, label=f"{SYMBOLS['blur']} = {sigma:g}", **look(i))
    axes.set(xlabel="offset in pixels", ylabel="weight", ylim=(0, None))
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return with_alt(
        figure,
        "Line chart of the blur's weights by offset. The windows have "
        f"{', '.join(map(str, sizes))} taps; the central weight falls from "
        f"{max(gaussian_window(sigmas[0])):.2f} at σ = {sigmas[0]:g} to "
        f"{max(gaussian_window(sigmas[-1])):.2f} at σ = {sigmas[-1]:g}.",
    )


def _over_sigma(axes: Axes, figure: Figure, sigmas: Sequence[float], distortion: str, top: float | None = 1) -> None:
    axes.set(xlabel=UNITS[distortion], ylabel="top-1 accuracy", ylim=(0, top), xticks=list(sigmas))
    axes.set_xticklabels(["clean" if s == 0 else f"{s:g}" for s in sigmas])
    wide = any(len(line.get_label()) > 14 for line in axes.lines)  # long names leave no room for three columns
    figure.legend(loc="outside lower center", ncols=2 if wide else 3, frameon=False)


def _record_name(record: Record, records: Sequence[Record]) -> str:
    """The method, with what tells the record from the others."""

    def differ(key: str) -> bool:
        return len({r.description.get(key) for r in records}) > 1

    distortion = f", {record.description.get('distortion') or 'clean'}" if differ("distortion") else ""
    return record.description["method"] + distortion + (f", seed {record.seed}" if differ("seed") else "")
