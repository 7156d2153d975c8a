"""Sliders for the pages: every position is computed beforehand, so they work without a kernel and without a network.

Without JavaScript and in print all positions stand side by side. Nothing is computed here but means.
"""

import base64
import hashlib
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from dclib.errors import InputError
from dclib.figures.style import CAPTION
from dclib.figures.words import NAMES, TITLES

UNITS = {"blur": "pixels", "awgn": "grey values"}


@dataclass(frozen=True)
class Position:
    """One position of a slider: its name, what it shows as HTML, and the same in words for who cannot see it."""

    name: str
    content: str
    words: str


@dataclass(frozen=True)
class Slider:
    """A control with its label, under a title, and its positions from left to right."""

    title: str
    label: str
    positions: tuple[Position, ...]


def distorted_image(
    images: np.ndarray,
    what: str,
    distortion: str,
    sigmas: Sequence[float],
    accuracy: Mapping[str, Sequence[float]],
    source: str,
) -> Slider:
    """One image at every level beside the accuracy of networks at that level (Tables 1 to 4).

    Args:
        images: values in 0..255 [1 + levels, 3, H, W], level 0 clean; clipped for the screen only.
        what: names the image.
        accuracy: {method: [1 + levels]}; may be empty.
        source: whose accuracies these are ("here, small").
    """
    images = np.asarray(images, dtype=float)
    if len(images) != 1 + len(sigmas) or any(len(values) != len(images) for values in accuracy.values()):
        raise InputError(
            f"slider: expected {1 + len(sigmas)} images and accuracies, clean and one per level, got "
            f"{len(images)} images and {', '.join(str(len(v)) for v in accuracy.values()) or 'no'} accuracies."
        )
    names = ["clean", *(f"σ = {sigma:g} {UNITS[distortion]}" for sigma in sigmas)]
    top = max((max(values) for values in accuracy.values()), default=1)
    positions = []
    for level, name in enumerate(names):
        now = {method: float(values[level]) for method, values in accuracy.items()}
        alt = f"{what}, {name}: its pixels have a standard deviation of {images[level].std():.0f} grey values."
        beside = _bars(now, top) if now else "<p>No accuracy: <em>not run yet</em>.</p>"
        positions.append(
            Position(name, f'{_picture(images[level], alt)}<div class="dclib-beside">{beside}</div>', _in_words(now))
        )
    return Slider(f"{TITLES[distortion]}: {source}", f"σ of the {NAMES[distortion]}", tuple(positions))


def corrected_fraction(
    accuracy: Mapping[str, np.ndarray],
    fractions: Sequence[float],
    distortion: str,
    source: str,
    *,
    before: Sequence[float] | None = None,
) -> Slider:
    """Mean accuracy over the levels when a fraction of one layer's filters is clean again (Figures 4 and 5).

    Args:
        accuracy: {layer: [fractions, levels]}.
        before: accuracy [levels] without any swap, the first position of the slider.
    """
    means = {layer: np.asarray(values).mean(axis=1) for layer, values in accuracy.items()}
    if not means or any(len(values) != len(fractions) for values in means.values()):
        raise InputError(
            f"slider: expected accuracies [{len(fractions)} fractions, levels] of at least one layer, got "
            f"{[len(values) for values in means.values()]}."
        )
    steps = [
        (f"{fraction:.0%} of a layer", {layer: float(values[i]) for layer, values in means.items()})
        for i, fraction in enumerate(fractions)
    ]
    if before is not None:
        steps.insert(0, ("no filter", dict.fromkeys(means, float(np.mean(before)))))
    top = max(max(now.values()) for _, now in steps)
    return Slider(
        f"{TITLES[distortion]}: {source}",
        "Share of filters with clean output",
        tuple(Position(name, f'<div class="dclib-beside">{_bars(now, top)}</div>', _in_words(now)) for name, now in steps),
    )


def show(*sliders: Slider, caption: str = ""):
    """The sliders as one HTML `<figure>`, side by side where there is room, then the caption, which may hold HTML."""
    from IPython.display import HTML

    below = f'<figcaption style="{CAPTION}">{caption}</figcaption>' if caption else ""
    return HTML(f'{STYLE}<figure class="dclib-sliders"><div>{"".join(map(_slider, sliders))}</div>{below}</figure>')


def _slider(slider: Slider) -> str:
    frames = "".join(
        f'<div class="dclib-frame"><p class="dclib-stop">{html.escape(p.name)}</p>{p.content}</div>'
        for p in slider.positions
    )
    words = html.escape("|".join(f"{p.name}. {p.words}" for p in slider.positions))
    # From what is said and not from how its pictures are packed, which another version of Pillow may do otherwise.
    name = "slider-" + hashlib.sha256((slider.title + words).encode()).hexdigest()[:10]
    return (
        f'<div class="dclib-slider" id="{name}"><p class="dclib-title">{html.escape(slider.title)}</p>'
        f'<label class="dclib-control" hidden>{html.escape(slider.label)}'
        f'<input type="range" min="0" max="{len(slider.positions) - 1}" value="0" data-words="{words}"></label>'
        f'<div class="dclib-frames">{frames}</div></div>{SCRIPT.replace("NAME", name)}'
    )


def _bars(values: Mapping[str, float], top: float) -> str:
    """Named bars with their values; a bar as wide as its place stands for `top`."""
    rows = "".join(
        f'<li><span class="dclib-name">{html.escape(name)}</span><span class="dclib-track">'
        f'<span style="width:{100 * value / top if top else 0:.1f}%"></span></span>'
        f"<span>{value:.3f}</span></li>"
        for name, value in values.items()
    )
    return f'<ul class="dclib-bars">{rows}</ul>'


def _in_words(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items())


def _picture(image: np.ndarray, alt: str) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.clip(np.rint(image), 0, 255).astype(np.uint8).transpose(1, 2, 0)).save(buffer, format="PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    # In dark mode the theme changes the colours of images, but not of those of this class.
    return f'<img class="dark-light" src="data:image/png;base64,{data}" alt="{html.escape(alt)}">'


#: Hides all positions but one. What was chosen is told in words, too.
SCRIPT = """<script>
(() => {
  const slider = document.getElementById("NAME"), control = slider.querySelector(".dclib-control");
  const range = control.querySelector("input"), frames = [...slider.querySelectorAll(".dclib-frame")];
  const words = range.dataset.words.split("|");
  const show = () => {
    frames.forEach((frame, i) => { frame.hidden = i !== Number(range.value); });
    range.setAttribute("aria-valuetext", words[range.value]);
  };
  range.addEventListener("input", show);
  control.hidden = false;
  show();
})();
</script>"""

STYLE = """<style>
.dclib-sliders { margin: 0.5rem 0; }
.dclib-sliders > div { display: flex; flex-wrap: wrap; gap: 1rem 2rem; }
.dclib-slider { flex: 1 1 280px; min-width: 0; }
.dclib-slider p { margin: 0 0 0.3rem; }
.dclib-slider .dclib-title { font-weight: 600; }
.dclib-control:not([hidden]) { display: block; font-size: 0.9rem; }
.dclib-control input { display: block; width: 100%; accent-color: var(--pst-color-primary, #176de8); }
.dclib-frames { display: flex; flex-wrap: wrap; gap: 1rem; }
.dclib-frame { flex: 1 1 240px; min-width: 0; }
.dclib-frame[hidden] { display: none; }
.dclib-frame img { float: left; width: 96px; height: 96px; margin: 0 0.75rem 0.5rem 0; image-rendering: pixelated; }
.dclib-beside { overflow: hidden; }
.dclib-bars { list-style: none; margin: 0 !important; padding: 0 !important; }
.dclib-bars li { display: grid; grid-template-columns: 5.6em 1fr 3em; gap: 0.4em; align-items: center;
  margin: 0; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
.dclib-track > span { display: block; height: 0.75em; background: var(--pst-color-primary, #176de8); border-radius: 2px; }
@media print {
  .dclib-control { display: none !important; }
  .dclib-frame[hidden] { display: block !important; }
  .dclib-frame { break-inside: avoid; }
}
</style>"""
