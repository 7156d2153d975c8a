"""Make nbval's references: every notebook of the book, in the smoke profile -> tests/references/<name>.ipynb.

    python scripts/reference_notebooks.py        (make references)

`pytest` executes the references again and compares their outputs. What is compared is decided here, for all notebooks
alike: the output of a cell is kept if it is the same for every seed in SEEDS. Counts, shapes, the paper's numbers,
values and verdicts from records are kept. What a training of a few iterations happens to give depends on the seed, and
on the processor's rounding too: such cells are executed, and fail with an error, but their outputs are not compared. A
cell that no seed changes but a machine could is tagged `nbval-ignore-output` in its source.

Records come from RECORDED alone, so that a new record does not change the references.
"""

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from execute import ROOT, Failed, execute_all, made_on, page_names

FOLDER = ROOT / "tests/references"
SEEDS = (0, 1, 2)  # the first one's outputs become the references
IGNORE = "nbval-ignore-output"
#: The published records that the references see: the first seed of rows of these targets of the profile small. They stay
#: the same when more are published.
RECORDED = {"table1": ("Baseline",), "table3": ("Baseline", "Finetune-1")}


@contextmanager
def environment() -> Iterator[dict[str, str]]:
    """The variables under which references are made and tested; its folders are gone afterwards."""
    from dclib.experiments import profile, rows
    from dclib.results import Store

    published = Store(ROOT / "data/results")
    with tempfile.TemporaryDirectory(prefix="references-") as folder:
        results = Path(folder, "results")
        results.mkdir()
        for target, methods in RECORDED.items():
            for method in methods:
                shutil.copy(published.path(rows(target, profile("small"))[method][0]), results)
        yield {
            "DCLIB_RESULTS": str(results),
            "DCLIB_MINIATURE": f"{folder}/live",
            "DCLIB_DATA": f"{folder}/data",
            "TQDM_DISABLE": "1",
        }


def reference(executions: list[nbformat.NotebookNode], patterns: list[tuple[str, str]]) -> nbformat.NotebookNode:
    """The first of several executions of one notebook, with the outputs on which they all agree.

    Args:
        executions: equal cells, executed with different seeds.
        patterns: (regular expression, replacement) pairs: what is left out of a comparison, as nbval does.
    """
    made = nbformat.v4.new_notebook(metadata={"kernelspec": executions[0].metadata.kernelspec})
    for number, cells in enumerate(zip(*(notebook.cells for notebook in executions), strict=True), start=1):
        cell = nbformat.from_dict(
            {
                "id": f"cell-{number}",
                "cell_type": cells[0].cell_type,
                "source": cells[0].source,
                "metadata": {"tags": cells[0].metadata.get("tags", [])},
            }
        )
        if cell.cell_type == "code":
            outputs = [comparable(c.outputs, patterns) for c in cells]
            alike = IGNORE not in cell.metadata.tags and all(found == outputs[0] for found in outputs)
            cell.update(execution_count=number, outputs=nbformat.from_dict(outputs[0]) if alike else [])
            if not alike and IGNORE not in cell.metadata.tags:
                cell.metadata.tags.append(IGNORE)
        made.cells.append(cell)
    return made


def comparable(outputs: list[dict], patterns: list[tuple[str, str]]) -> list[dict]:
    """`outputs` without counts, metadata, and what the patterns leave out."""
    kept = json.loads(json.dumps(outputs))
    for output in kept:
        for key in output.keys() & {"metadata", "execution_count"}:
            output[key] = {} if key == "metadata" else None
        texts = output.get("data", output)
        for key, value in texts.items():
            if isinstance(value, str):
                for pattern, replacement in patterns:
                    value = re.sub(pattern, replacement, value)
                texts[key] = value
    return kept


def main() -> int:
    """Execute every notebook once per seed and write the references; returns the exit code."""
    from nbval.plugin import get_sanitize_patterns

    patterns = get_sanitize_patterns((FOLDER / "sanitize.cfg").read_text(encoding="utf-8"))
    (ROOT / "_build/logs").mkdir(parents=True, exist_ok=True)
    with environment() as variables, tempfile.TemporaryDirectory() as folder:
        os.environ.update(variables)
        try:
            names = page_names()
            for seed in SEEDS:
                print(f"Executing {len(names)} notebooks with the profile smoke and seed {seed}.", flush=True)
                output = Path(folder, str(seed))
                output.mkdir()
                inputs = {"parameters": {"profile": "smoke", "seed": seed}}
                jobs = min(2, os.cpu_count() or 1)
                if failures := execute_all(names, dict.fromkeys(names, inputs), output, jobs, made_on("cpu")):
                    raise Failed("\n".join(failures))
        except Failed as failure:
            print(failure, "No reference was changed.", sep="\n", file=sys.stderr)
            return 1
        for old in FOLDER.glob("*.ipynb"):
            old.unlink()
        for name in names:
            executions = [nbformat.read(Path(folder, str(seed), f"{name}.ipynb"), as_version=4) for seed in SEEDS]
            made = reference(executions, patterns)
            nbformat.write(made, FOLDER / f"{name}.ipynb")
            compared = sum(bool(cell.get("outputs")) for cell in made.cells)
            shown = sum(bool(cell.get("outputs")) for cell in executions[0].cells)
            print(f"  {name}: {compared} of {shown} outputs are compared")
    return 0


if __name__ == "__main__":
    sys.exit(main())
