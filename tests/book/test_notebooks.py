"""The notebooks' structure: their rooms, their parameters, their exercises, and no result typed by hand."""

import ast
import re

import jupytext
import pytest
import yaml
from support import ROOT

SECTIONS = sorted((ROOT / "notebooks").glob("section*.md"))
NEIGHBOURS = sorted((ROOT / "notebooks").glob("neighbour_*.md"))
PARAMETERS = {"profile": "miniature", "device": "cpu", "recompute": False, "seed": 0}
ROOMS = ("In miniature", "At paper scale", "Verdict", "Exercises", "Make this page again")


@pytest.fixture(params=SECTIONS + NEIGHBOURS, ids=lambda path: path.stem, scope="module")
def notebook(request):
    return jupytext.read(request.param)


@pytest.fixture(params=SECTIONS, ids=lambda path: path.stem, scope="module")
def section(request):
    return jupytext.read(request.param)


def prose(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_sections_are_there_and_in_the_book():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    pages = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    assert SECTIONS and len(NEIGHBOURS) == 3
    assert {f"executed/{path.stem}" for path in SECTIONS + NEIGHBOURS} <= set(pages)


def test_first_code_cell_holds_the_parameters(notebook):
    cell = code(notebook)[0]
    assert cell.metadata["tags"] == ["parameters"]
    assert {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(cell.source).body} == PARAMETERS
    assert [c for c in code(notebook) if "parameters" in c.metadata.get("tags", [])] == [cell]


def test_kernel_is_named(notebook):
    assert notebook.metadata.kernelspec["name"] == "python3"


def test_rooms_are_in_order(notebook):
    headings = re.findall(r"^## (.+)$", "\n\n".join(prose(notebook)), flags=re.MULTILINE)
    assert headings[0].startswith(("The idea", "The paper's idea"))
    positions = [headings.index(room) for room in ROOMS]
    assert positions == sorted(positions)


def test_learning_goals_and_an_equation_come_first(notebook):
    text = "\n\n".join(prose(notebook))
    goals = text.index("Learning goals")
    assert goals < text.index("## ") and len(re.findall(r"^- ", text[goals : text.index("## ")], flags=re.MULTILINE)) >= 3
    assert "$$" in text[: text.index("## In miniature")]


def test_exercises_have_hidden_solutions_that_check_themselves(notebook):
    exercises = re.findall(r"\{admonition\} Exercise (\d+): ", "\n\n".join(prose(notebook)))
    solutions = [cell for cell in code(notebook) if "hide-cell" in cell.metadata.get("tags", [])]
    assert exercises == [str(i) for i in range(1, len(exercises) + 1)] and len(exercises) >= 3
    prompts = [cell.metadata["mystnb"]["code_prompt_show"] for cell in solutions]
    assert prompts == [f"Solution of exercise {i}" for i in exercises]
    for cell in solutions:
        assert any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(cell.source)))


def test_no_result_is_typed(notebook):
    """A number with three decimals or more in prose would be an accuracy; in code it would be one in a text."""
    for text in prose(notebook):
        assert not re.findall(r"\b0?\.\d{3,}", text)
    for cell in code(notebook):
        strings = [
            node.value
            for node in ast.walk(ast.parse(cell.source))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        assert not [s for s in strings if re.search(r"\b0?\.\d{3,}", s)]


def test_whether_something_was_run_is_not_typed(section):
    """Records decide it; only what this project cannot read at all may be said in prose."""
    for text in prose(section):
        for sentence in re.split(r"(?<=[.:])\s", re.sub(r"\s+", " ", text)):
            assert "not run yet" not in sentence.lower() or "column" in sentence, sentence


def test_intervals_in_miniature_have_tiles_as_their_units(notebook):
    """Patches of one tile overlap: no interval or verdict of a live run treats them as independent."""
    for cell in code(notebook):
        for node in ast.walk(ast.parse(cell.source)):
            name = getattr(getattr(node, "func", None), "attr", getattr(getattr(node, "func", None), "id", ""))
            if name == "bootstrap_interval":
                assert "groups" in [keyword.arg for keyword in node.keywords], cell.source
            if name == "claims_in_miniature":
                assert len(node.args) == 3 and ast.unparse(node.args[2]).endswith(".tiles")


def test_live_runs_are_shared(notebook):
    source = "\n".join(cell.source for cell in code(notebook))
    assert "page = live(profile, device, recompute, seed)" in source and "page.make(" in source


def test_records_are_read(section):
    """Published numbers come from the results folder, live ones through `Live.make`."""
    source = "\n".join(cell.source for cell in code(section))
    assert "published = Store()" in source and "train(" not in source


def test_every_section_shows_its_verdicts(section):
    assert any(cell.source.startswith("verdict((") for cell in code(section))


@pytest.mark.parametrize("path", NEIGHBOURS, ids=lambda path: path.stem)
def test_neighbours_say_what_their_verdicts_speak_of(path):
    source = path.read_text(encoding="utf-8")
    assert "claims_in_miniature([" in source and "and of nothing larger" in source
    assert re.search(
        r"\*not\s+run\s+yet\*|None of it is \*run\*", source[source.index("## At paper scale") :], re.IGNORECASE
    )


def test_page_says_how_it_is_made_again(notebook):
    last = prose(notebook)[-1]
    assert "papermill" in last and "-p profile miniature" in last


def test_code_names_no_place_outside_of_the_project(notebook):
    everything = "\n".join(cell.source for cell in notebook.cells)
    assert not re.search(r"(?<![\w./])/(?:home|work|tmp|root|usr)/", everything)


def test_visible_code_is_short(notebook):
    visible = [cell for cell in code(notebook) if not {"hide-input", "hide-cell"} & set(cell.metadata.get("tags", []))]
    assert max(len(line) for cell in visible for line in cell.source.splitlines()) <= 88
    assert max(len(cell.source.splitlines()) for cell in visible) <= 25
