"""What every notebook of the book opens with: where its live runs are kept, how they are made, how text is shown."""

import base64
import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure

from dclib.datasets import photographs
from dclib.errors import InputError
from dclib.execution.environment import check_device
from dclib.execution.runner import sweep
from dclib.experiments import PROFILES, Profile, Run, profile
from dclib.figures.style import CAPTION, STYLE
from dclib.files import named_folder
from dclib.results import Record, Store, results_folder
from dclib.tables import signed, styled_verdicts
from dclib.verdicts.judgement import judge_in_miniature

#: Bytes up to which a figure is shown as SVG.
SVG_LIMIT = 150_000
FLEXIBLE = "flex:1 1 300px;min-width:0"


@dataclass(frozen=True)
class Live:
    """The runs that a notebook makes itself, in one profile.

    What is recorded in `store` is read, not made again, unless `recompute`.
    """

    profile: Profile
    store: Store
    device: str
    recompute: bool
    seed: int

    def make(self, *runs: Run) -> list[Record]:
        """The records of `runs`, in that order; missing ones are made, with all that they need.

        Notebooks that are executed at the same time share the work: each waits for what another is making.
        """
        sweep(runs, self.store, device=self.device, recompute=self.recompute, progress=False, say=lambda line: None)
        return [self.store.get(run) for run in runs]

    @property
    def tiles(self) -> np.ndarray | None:
        """The tile of a photograph that each test image was cut from, int64 [images]; None where images stand alone.

        Patches of one tile overlap: what tests differences between networks takes tiles as its units, not patches.
        """
        if not self.profile.photographs:
            return None
        return photographs(*self.profile.photographs).test.tiles.numpy()

    @property
    def label(self) -> str:
        """Whose numbers these are, for captions."""
        return f"here, {self.profile.name}"


def live(profile_name: str, device: str = "cpu", recompute: bool | str = False, seed: int = 0) -> Live:
    """The live runs of a notebook with these papermill parameters.

    papermill hands words on as text: `recompute` may be "true" or "false", however written. A seed is a whole number;
    as text it is refused, because the notebook goes on with the value that it was given.

    Raises:
        InputError: another profile; a device that this machine has not; another `recompute`; a seed that is none.
    """
    if not isinstance(profile_name, str):
        raise InputError(f"profile: expected one of {', '.join(PROFILES)}, got {profile_name!r}.")
    if not isinstance(device, str):
        raise InputError(f"device: expected cpu or cuda, got {device!r}.")
    p = profile(profile_name)
    check_device(device)
    return Live(p, Store(live_folder(profile_name)), device, _truth("recompute", recompute), _seed(seed))


def _truth(name: str, value: bool | str) -> bool:
    """A parameter that is true or false, also as papermill hands it on: in words."""
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.strip().lower(), value)
    if not isinstance(value, bool):
        raise InputError(f"{name}: expected true or false, got {value!r}.")
    return value


def _seed(value: int) -> int:
    """A seed as NumPy's generators take it."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**32:
        raise InputError(
            f"seed: expected a whole number from 0 to {2**32 - 1}, got {value!r}; give it as -p seed 3 (-r would "
            "make text of it)."
        )
    return value


def live_folder(profile_name: str) -> Path:
    """Where live runs are kept: beside the published records, but apart from them; never committed.

    DCLIB_MINIATURE names another folder for `smoke` and `miniature`. The other profiles use the results folder itself.
    """
    if profile_name not in ("smoke", "miniature"):
        return results_folder()
    if folder := named_folder("DCLIB_MINIATURE"):
        return folder
    return results_folder().parent / profile_name


def show(*figures: Figure, caption: str = ""):
    """The figures as one HTML `<figure>`: images with alt text, side by side where there is room, then the caption.

    SVG where it is small, PNG at twice the screen's resolution where not. `caption` may hold HTML.
    """
    from IPython.display import HTML

    images = "".join(_image(figure) for figure in figures)
    if len(figures) > 1 and len(figures) % 2:  # else the last of an odd number would grow into the room beside it
        images += f'<span style="{FLEXIBLE}"></span>'
    below = f'<figcaption style="{CAPTION}">{caption}</figcaption>' if caption else ""
    return HTML(
        f'<figure class="dclib-figure" style="margin:0.5rem 0"><div style="display:flex;flex-wrap:wrap;'
        f'gap:0.75rem;justify-content:center">{images}</div>{below}</figure>'
    )


def _image(figure: Figure) -> str:
    alt = getattr(figure, "alt_text", "")
    if not alt:
        raise InputError("show: expected a figure with an alt text, got none; set figure.alt_text.")
    content, kind = _saved(figure, "svg"), "svg+xml"
    if len(content) > SVG_LIMIT:
        content, kind = _saved(figure, "png", dpi=192), "png"
    width = round(figure.get_figwidth() * 96)
    data = base64.b64encode(content).decode()
    return (
        f'<img src="data:image/{kind};base64,{data}" alt="{html.escape(alt)}" '
        f'style="{FLEXIBLE};max-width:{round(1.35 * width)}px;height:auto;background:white;'
        'border-radius:4px">'
    )


def _saved(figure: Figure, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else None, **options)
    return buffer.getvalue()


def text(markdown: str):
    """Markdown whose numbers were computed in the cell."""
    from IPython.display import Markdown

    return Markdown(markdown)


def table(*styled, below: str = ""):
    """Styled tables as HTML, each under its caption and scrolling inside itself; `below` is Markdown with `code`."""
    from IPython.display import HTML

    return HTML("\n".join([*map(_table, styled), f'<p style="{CAPTION}">{inline(below)}</p>' if below else ""]))


def verdict(sections: Sequence[str], store: Store):
    """The verdicts on all claims of these sections; those that no run judges yet are folded away."""
    from IPython.display import HTML

    judged, waiting = styled_verdicts(sections, store)
    parts = (
        [_table(judged)]
        if judged is not None
        else [f'<p style="{CAPTION}">No claim of Section {" and ".join(sections)} is judged yet.</p>']
    )
    if waiting is not None:
        parts.append(f"<details><summary>{html.escape(waiting.caption)}</summary>{_table(waiting)}</details>")
    return HTML("\n".join(parts))


def claims_in_miniature(claims: Sequence[tuple], label: str, tiles: np.ndarray | torch.Tensor | None = None):
    """A verdict on each claim (words, bits that should be better, bits that should be worse, by more than what).

    For pages on other works than the paper; bits [levels, images], see `judgement.judge_in_miniature`. `tiles` [images]
    are the units of the intervals (`Live.tiles`, `Split.tiles`); the images themselves when None.
    """
    unit = "images" if tiles is None else "tiles of the photographs"
    lines = [f"| claim | difference (95 % interval over {unit}) | asked for | verdict |", "|---|---|---|---|"]
    for words, better, worse, margin in claims:
        outcome, found = judge_in_miniature(better, worse, margin, None if tiles is None else np.asarray(tiles))
        lines.append(
            f"| {words} | {found.estimate:+.3f} ({found.low:+.3f} to {found.high:+.3f}) | more than {margin:+.3f} "
            f"| {signed(outcome)} |"
        )
    return text("\n".join([f"Claims judged by live runs, {label}:", "", *lines]))


def inline(markdown: str) -> str:
    """One line of Markdown as HTML: `code` and *emphasis*."""
    escaped = html.escape(markdown, quote=False)
    return re.sub(r"\*([^*]+)\*", r"<em>\1</em>", re.sub(r"`([^`]+)`", r'<code style="color:inherit">\1</code>', escaped))


def _table(styled) -> str:
    """The caption stands outside of the table, so that it wraps while the table scrolls."""
    caption, bare = styled.caption, styled.set_caption("")
    box = f'<div style="overflow-x:auto" tabindex="0" role="region" aria-label="{html.escape(caption)}">'
    found = f'<p style="{CAPTION}">{html.escape(caption)}</p>{box}{bare.to_html()}</div>'
    styled.set_caption(caption)
    return found.replace("<caption></caption>", "")
