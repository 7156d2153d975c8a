"""Figures as files: several panels in one, as SVG or PNG two in a row, as PDF a page for each."""

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from dclib.errors import InputError
from dclib.figures.style import STYLE
from dclib.files import write_whole

_DPI = 192
_IN_A_ROW = 2


def write(panels: Sequence[Figure], path: str | Path) -> Path:
    """Write the panels of a figure to one file; its suffix says how: .svg, .png or .pdf. Equal panels give equal files.

    An SVG has the alt texts of its panels as their titles.

    Raises:
        InputError: another suffix; a place that cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"output: expected a file that ends in {', '.join(FORMATS)}, got {str(path)!r}.")
    with mpl.rc_context(STYLE):
        content = FORMATS[path.suffix.lower()](panels)
    write_whole(path, content, "choose another with --output")
    return path


def _svg(panels: Sequence[Figure]) -> bytes:
    """The panels as drawings inside of one drawing, each at its place."""
    parts, sizes = [], []
    for panel in panels:
        buffer = io.StringIO()
        panel.savefig(buffer, format="svg", metadata={"Date": None, "Title": panel.alt_text})
        drawing = buffer.getvalue()
        parts.append(drawing[drawing.index("<svg") :])
        sizes.append([72 * side for side in panel.get_size_inches()])
    places, (width, height) = _places(sizes)
    body = "\n".join(_at(x, y, part) for part, (x, y) in zip(parts, places))
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}pt" '
        f'height="{height:g}pt" viewBox="0 0 {width:g} {height:g}">\n{body}\n</svg>\n'
    ).encode()


def _at(x: float, y: float, drawing: str) -> str:
    """An SVG element to be put into another one, whose unit is a point."""
    tag, rest = drawing.split(">", 1)
    return re.sub("^<svg ", f'<svg x="{x:g}" y="{y:g}" ', re.sub(r'="([\d.]+)pt"', r'="\1"', tag)) + ">" + rest


def _png(panels: Sequence[Figure]) -> bytes:
    pictures = []
    for panel in panels:
        panel.set_dpi(_DPI)
        canvas = FigureCanvasAgg(panel)
        canvas.draw()
        pictures.append(np.asarray(canvas.buffer_rgba()))
    places, (width, height) = _places([picture.shape[1::-1] for picture in pictures])
    whole = np.full((round(height), round(width), 4), 255, dtype=np.uint8)
    for picture, (x, y) in zip(pictures, places):
        whole[round(y) : round(y) + picture.shape[0], round(x) : round(x) + picture.shape[1]] = picture
    buffer = io.BytesIO()
    mpl.image.imsave(buffer, whole, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()


def _pdf(panels: Sequence[Figure]) -> bytes:
    buffer = io.BytesIO()
    with PdfPages(buffer, metadata={"CreationDate": None}) as pages:
        for panel in panels:
            pages.savefig(panel)
    return buffer.getvalue()


def _places(sizes: Sequence[Sequence[float]]) -> tuple[list[tuple[float, float]], tuple[float, float]]:
    """The upper left corner of each (width, height), so many in a row, and the size of the whole."""
    places, widest, top = [], 0.0, 0.0
    for first in range(0, len(sizes), _IN_A_ROW):
        left, row = 0.0, sizes[first : first + _IN_A_ROW]
        for width, _ in row:
            places.append((left, top))
            left += width
        widest, top = max(widest, left), top + max(height for _, height in row)
    return places, (widest, top)


FORMATS: dict[str, Callable[[Sequence[Figure]], bytes]] = {".svg": _svg, ".png": _png, ".pdf": _pdf}
