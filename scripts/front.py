"""Write what README and the book's first page open with: one picture and one table, from records and the paper's numbers.

    python scripts/front.py        (make front)

The picture is book/_static/front.svg, the table stands in README.md between two marks. Both are the same for the same
records, so that a test compares them. Records that git does not track are not published, and are not read.
"""

import io
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from dclib import tables
from dclib.distortions import LEVELS
from dclib.experiments import in_words, profile
from dclib.figures.style import STYLE, WIDTH, look_of
from dclib.figures.words import TITLES, UNITS
from dclib.files import write_whole
from dclib.results import Store
from dclib.tables import Row

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "book/_static/front.svg"
README = ROOT / "README.md"
BEGIN, END = "<!-- front: written by `make front` -->\n", "<!-- /front -->"
METHODS = ("Baseline", "Finetune-9", "Deepcorr-6c")
TARGETS = {"table3": "blur", "table4": "awgn"}
#: The tables of the baseline alone, which may be there at a larger scale than those that compare it with others.
ALONE = {"table1": "blur", "table2": "awgn"}


def tracked() -> set[str] | None:
    """The ids of the records that git tracks; None outside of git, where all records came with the checkout."""
    try:
        # Records alone: what lies in folders beside them, a checkpoint of an unfinished run say, is not published.
        kept = ":(glob)data/results/*.json"
        listed = subprocess.run(["git", "ls-files", kept], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return {Path(name).stem for name in listed.stdout.split()} or None


def gathered(store: Store, published: set[str] | None) -> dict[str, tuple[str, list[Row]]]:
    """{target: (profile, rows of METHODS)}, each table in the one profile that its own page shows."""
    found = {}
    for target in (*ALONE, *TARGETS):
        name = tables.published_profile(target, store)
        rows = {row.method: row for row in tables.collect(target, name, store)}
        found[target] = (
            name,
            [
                replace(row, records=tuple(r for r in row.records if published is None or r.id in published))
                for row in (rows[method] for method in METHODS[: 1 if target in ALONE else None])
            ],
        )
    return found


def picture(found: dict[str, tuple[str, list[Row]]]) -> Figure:
    """Blur above noise, so that it is legible on a telephone; the paper's curves thin and dashed, ours with markers."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 6.2), layout="constrained")
        panels = figure.subplots(2)
        for axes, (target, distortion) in zip(panels, TARGETS.items(), strict=True):
            name, rows = found[target]
            sigmas = [0, *LEVELS["cifar100"][distortion]]
            for i, row in enumerate(rows):
                own = look_of(row.method, i)
                axes.plot(sigmas, row.paper_accuracy, color=own["color"], linestyle=(0, (4, 2)), linewidth=1.1)
                if row.records:
                    axes.plot(sigmas, row.accuracy.mean(0), color=own["color"], marker=own["marker"])
            axes.set(xlabel=UNITS[distortion], ylabel="top-1 accuracy", ylim=(0, 0.85), xticks=sigmas)
            axes.set_xticklabels(["clean" if s == 0 else f"{s:g}" for s in sigmas])
            missing = [row.method for row in rows if not row.records]
            unmade = f"; {tables.NOT_RUN}: {', '.join(missing)}" if missing else ""
            axes.set_title(f"{TITLES[distortion]}, here {name}", loc="left", pad=18 if missing else None)
            if missing:
                axes.text(0, 1.02, unmade.removeprefix("; "), transform=axes.transAxes, fontsize=9, color="0.3")
        looks = [look_of(method, i) for i, method in enumerate(METHODS)]
        handles = [
            mpl.lines.Line2D([], [], color=own["color"], marker=own["marker"], label=method)
            for own, method in zip(looks, METHODS, strict=True)
        ]
        handles += [
            mpl.lines.Line2D([], [], color="0.3", linestyle=style, linewidth=width, label=label)
            for style, width, label in (((0, (4, 2)), 1.1, "the paper"), ("-", 1.6, "here"))
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def drawn(figure: Figure) -> bytes:
    """The picture as SVG: without a date, with names that do not change from one drawing to the next."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def block(found: dict[str, tuple[str, list[Row]]]) -> str:
    """The picture with its alt text, and the table, as Markdown that README and the book both read."""
    lines = ["| CIFAR-100, mean accuracy | the paper | here | profile | seeds |", "|---|---:|---:|---|---:|"]
    compared = {TARGETS[target]: found[target][0] for target in TARGETS}
    shown = [target for target in ALONE if found[target][0] != compared[ALONE[target]]]
    for target in (*shown, *TARGETS):
        name, rows = found[target]
        title = f"Table {target.removeprefix('table')}, {TITLES[(ALONE | TARGETS)[target]].lower()}"
        lines += [f"| {title}: {_cells(row, name)} |" for row in rows]
    names = dict.fromkeys(found[target][0] for target in (*shown, *TARGETS))
    return "\n".join(
        [
            f"![{_in_words(found)}](book/_static/front.svg)",
            "",
            *lines,
            "",
            *textwrap.wrap(" ".join(["Means over clean images and six levels.", *map(_what_it_is, names)]), 120),
            "",
        ]
    )


def _cells(row: Row, name: str) -> str:
    """A row's method, and its numbers with the spread over seeds where there are several."""
    here, made = f"*{tables.NOT_RUN}*", "– | –"
    if row.records:
        averages = row.accuracy.mean(1)
        here = f"{averages.mean():.4f}" + (f" ± {averages.std(ddof=1):.4f}" if len(averages) > 1 else "")
        made = f"{name} | {len(averages)}"
    return f"{row.method} | {row.paper_average:.4f} | {here} | {made}"


def _what_it_is(name: str) -> str:
    """A sentence on a profile: what it stands in for, or that it is the paper's own."""
    stands_in = in_words(profile(name).stand_in)
    return f"*{name}* is {stands_in}." if stands_in else f"*{name}* is the paper's own scale."


def _in_words(found: dict[str, tuple[str, list[Row]]]) -> str:
    """What the picture shows, for who does not see it."""
    said = []
    for target, distortion in TARGETS.items():
        methods = []
        for row in found[target][1]:
            own = f"here {np.round(row.accuracy.mean(0)[-1], 3):.3f}" if row.records else tables.NOT_RUN
            methods.append(f"{row.method} {row.paper_accuracy[-1]:.3f} in the paper, {own}")
        said.append(f"{TITLES[distortion]} at its strongest: {'; '.join(methods)}")
    return f"Accuracy over sigma, the paper's curves beside ours. {'; '.join(said)}."


def made() -> tuple[str, bytes]:
    """The block of README and the picture, as the tracked records have them now."""
    found = gathered(Store(ROOT / "data/results"), tracked())
    return block(found), drawn(picture(found))


def in_readme() -> tuple[str, str, str]:
    """README's text before the block, the block, and the text after it."""
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    inside, _, after = rest.partition(END)
    return before, inside, after


def main() -> int:
    text, svg = made()
    before, _, after = in_readme()
    write_whole(PICTURE, svg)
    write_whole(README, (before + BEGIN + text + END + after).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
