"""nbval's references: one per notebook, made from its current source, with outputs that any machine gives again.

nbval itself executes them, see addopts in pyproject.toml.
"""

import json
import re
import subprocess
import sys

import nbformat
import pytest
from execute import page_names, read_source
from nbval.plugin import get_sanitize_patterns
from reference_notebooks import FOLDER, IGNORE, reference

AGAIN = "make references"
KERNEL = {"name": "python3", "display_name": "Python 3"}
REFERENCES = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture(params=REFERENCES, ids=lambda path: path.stem, scope="module")
def referenced(request):
    """A reference, and the notebook of today's source."""
    return nbformat.read(request.param, as_version=4), read_source(request.param.stem)


def test_every_notebook_of_the_book_has_a_reference():
    assert {path.stem for path in REFERENCES} == set(page_names()), AGAIN


def test_reference_comes_from_the_current_source(referenced):
    reference, source = referenced
    cells = [cell for cell in reference.cells if "injected-parameters" not in cell.metadata.tags]
    assert [(c.cell_type, c.source) for c in cells] == [(c.cell_type, c.source) for c in source.cells], AGAIN
    for cell, original in zip(cells, source.cells):
        assert set(original.metadata.get("tags", [])) <= set(cell.metadata.tags), AGAIN


def test_reference_was_made_in_the_smoke_profile(referenced):
    (injected,) = (cell for cell in referenced[0].cells if "injected-parameters" in cell.metadata.tags)
    assert 'profile = "smoke"' in injected.source and "seed = 0" in injected.source


def test_reference_has_outputs_that_are_compared(referenced):
    code = [cell for cell in referenced[0].cells if cell.cell_type == "code"]
    compared = [cell for cell in code if cell.outputs]
    assert not any(IGNORE in cell.metadata.tags for cell in compared)
    assert len(compared) >= max(3, sum(IGNORE in cell.metadata.tags for cell in code) // 2)


def test_reference_names_no_place_and_holds_no_picture(referenced):
    everything = json.dumps(referenced[0])
    assert not re.search(r"(?<![\w./<])/(?:home|work|tmp|root|usr|Users|opt)/", everything)
    assert ";base64," not in everything and len(everything) < 500_000


def test_reference_knows_no_error(referenced):
    for cell in referenced[0].cells:
        assert not [o for o in cell.get("outputs", []) if o.output_type in ("error", "stream")]


def notebook(*outputs, tags=()):
    """One code cell per output."""
    cells = [
        nbformat.v4.new_code_cell(
            "show()",
            metadata={"tags": list(tags)},
            outputs=[nbformat.v4.new_output("execute_result", {"text/html": shown}, execution_count=7)],
        )
        for shown in outputs
    ]
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL})


def test_only_outputs_that_no_seed_changes_are_kept():
    made = reference([notebook("864 filters", "0.31"), notebook("864 filters", "0.32")], [])
    first, second = made.cells
    assert first.outputs[0].data["text/html"] == "864 filters" and IGNORE not in first.metadata.tags
    assert not second.outputs and second.metadata.tags == [IGNORE]


def test_author_can_leave_out_a_cell():
    (cell,) = reference([notebook("864", tags=[IGNORE])] * 2, []).cells
    assert not cell.outputs and cell.metadata.tags == [IGNORE]


def test_pictures_are_left_out_but_not_their_alt_text():
    patterns = get_sanitize_patterns((FOLDER / "sanitize.cfg").read_text(encoding="utf-8"))
    shown = ['<img src="data:image/svg+xml;base64,{}==" alt="{}">'.format(*of) for of in ("Aa", "Ba", "Ab")]
    (same,) = reference([notebook(shown[0]), notebook(shown[1])], patterns).cells
    assert same.outputs[0].data["text/html"] == '<img src="picture" alt="a">'
    (other,) = reference([notebook(shown[0]), notebook(shown[2])], patterns).cells
    assert not other.outputs


@pytest.mark.slow
@pytest.mark.parametrize("stored, passes", [("4", True), ("5", False)])
def test_pytest_compares_what_a_reference_holds(tmp_path, stored, passes):
    cell = nbformat.v4.new_code_cell(
        "2 + 2",
        execution_count=1,
        outputs=[nbformat.v4.new_output("execute_result", {"text/plain": stored}, execution_count=1)],
    )
    made = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": KERNEL})
    nbformat.write(made, tmp_path / "sum.ipynb")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval",
        "--nbval-current-env",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        tmp_path,
        tmp_path,
    ]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (found.returncode == 0) == passes and ("mismatch" in found.stdout) != passes, found.stdout
