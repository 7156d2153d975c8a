"""Worksheets, launch buttons, and the environment behind them; the course plan's exercises exist."""

import ast
import re
from types import SimpleNamespace

import pytest
import yaml
from execute import page_names, read_source
from support import ROOT
from worksheets import main, plain, worksheet


@pytest.fixture(params=page_names(), scope="module")
def pair(request):
    """A notebook's source and its worksheet."""
    return read_source(request.param), worksheet(read_source(request.param))


def solutions(notebook):
    return [i for i, cell in enumerate(notebook.cells) if "hide-cell" in cell.metadata.get("tags", [])]


def test_worksheet_has_no_solution_but_all_else(pair):
    source, made = pair
    hidden = solutions(source)
    assert len(made.cells) == len(source.cells)
    for i, (cell, original) in enumerate(zip(made.cells, source.cells)):
        if i in hidden:
            assert not ast.parse(cell.source).body  # comments only
            assert "# assert " in cell.source and "text(" not in cell.source
        elif cell.cell_type == "code":
            assert cell.source == original.source


def test_worksheet_is_plain_markdown(pair):
    text = "\n".join(cell.source for cell in pair[1].cells if cell.cell_type == "markdown")
    assert ":::" not in text and not re.search(r"\{[a-z:]+\}`", text)


def test_roles_and_directives_become_plain():
    text = ":::{admonition} Exercise 1: a name\n:class: tip\nSee {doc}`audit`, {term}`Finetune-9 <Finetune-k>`.\n:::\n"
    assert plain(text) == "**Exercise 1: a name**\n\nSee `audit`, `Finetune-9`.\n"
    assert plain("```bash\nmake book\n```\n") == "```bash\nmake book\n```\n"


def test_worksheets_for_colab_fetch_the_project(tmp_path, capsys):
    assert main(["--output", str(tmp_path), "--repository", "someone/book"]) == 0
    assert {path.stem for path in tmp_path.glob("*.ipynb")} == set(page_names())
    assert "github.com/someone/book" in (tmp_path / "audit.ipynb").read_text(encoding="utf-8")
    assert f"{len(page_names())} worksheets" in capsys.readouterr().out


def test_binder_has_the_pinned_versions():
    environment = yaml.safe_load((ROOT / ".binder/environment.yml").read_text(encoding="utf-8"))
    pins = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    asked = dict(entry.split("=") for entry in environment["dependencies"] if isinstance(entry, str) and "=" in entry)
    assert asked.pop("python") in ("3.11", "3.12", "3.13")
    assert {name.removesuffix("-cpu").replace("pytorch", "torch"): version for name, version in asked.items()} == {
        "torch": pins["torch"],
        "torchvision": pins["torchvision"],
    }
    (pip,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert pip == ["-c ../constraints.txt", "-e ..[book]"]


@pytest.fixture
def launch(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "book/extensions")
    import launch

    return launch


def test_launch_buttons_point_to_the_branch_of_the_worksheets(launch, monkeypatch):
    monkeypatch.setenv("GITHUB_REPOSITORY", "someone/book")
    config = SimpleNamespace(html_theme_options={"kept": 1})
    launch.configure(None, config)
    options = config.html_theme_options
    assert options["repository_url"].endswith("/someone/book") and options["kept"] == 1
    assert {"binderhub_url", "colab_url"} <= set(options["launch_buttons"])
    workflow = (ROOT / ".github/workflows/book.yml").read_text(encoding="utf-8")
    assert f"git push --force origin HEAD:{options['repository_branch']}\n" in workflow


@pytest.mark.parametrize(
    "origin, expected",
    [
        ("git@github.com:someone/book.git", "someone/book"),
        ("https://github.com/someone/my.book", "someone/my.book"),
        ("https://example.org/someone/book.git", None),
        ("", None),
    ],
)
def test_repository_is_that_of_the_checkout(launch, monkeypatch, origin, expected):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    monkeypatch.setattr(launch.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=origin + "\n"))
    assert launch.repository() == expected


def test_course_names_exercises_that_exist():
    plan = (ROOT / "book/course.md").read_text(encoding="utf-8")
    for name, first, last in re.findall(r"<\.\./executed/(\w+)>`: (\d) (?:to|and) (\d)", plan):
        source = (ROOT / f"notebooks/{name}.md").read_text(encoding="utf-8")
        assert all(f"Exercise {number}:" in source for number in (first, last))
    assert len(re.findall(r"`: \d (?:to|and) \d", plan)) == 3
