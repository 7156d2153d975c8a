"""The book's pages: the reference is complete, and no result is typed by hand."""

import ast
import importlib
import pkgutil
import re

import pytest
from support import ROOT

import dclib

PAGES = sorted([*(ROOT / "book").glob("*.md"), *(ROOT / "notebooks").glob("*.md")])
#: Shares that are no results: the confidence of every interval, a setting of the augmentation, fractions beta.
SETTINGS = {"95", "15", "50", "75"}


def documented():
    """The modules in the reference of the library, lowest first: by task, between what lies beneath and above."""
    tasks, inside = ((ROOT / f"book/{page}.md").read_text(encoding="utf-8") for page in ("api", "api_internals"))
    beneath, title, above = inside.partition("## Making runs")
    assert title
    return re.findall(r"^\.\. automodule:: (\S+)$", beneath + tasks + above, re.MULTILINE)


def test_reference_has_every_public_module():
    """A module inside of a package counts if the package, with its `__all__`, is there; without, each of its modules."""
    listed = documented()
    for module in pkgutil.walk_packages(dclib.__path__, "dclib."):
        package = module.name.rpartition(".")[0]
        inside = package in listed and hasattr(importlib.import_module(package), "__all__")
        bare = module.ispkg and not hasattr(importlib.import_module(module.name), "__all__")
        assert module.name in listed or inside or bare or module.name.rpartition(".")[2].startswith("_"), (
            f"book/api.md or book/api_internals.md: {module.name} is missing"
        )


def test_reference_names_what_is_there():
    listed = documented()
    assert len(listed) == len(set(listed))
    for name in listed:
        assert importlib.import_module(name).__doc__, name


def imported_modules(path):
    """The dotted names that a file imports when it is imported itself, as far as they are dclib's."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dclib"):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("dclib."))


def test_modules_import_only_from_those_above_them():
    """As the reference's first paragraph says; the design's order of modules is this one."""
    listed = documented()
    for number, name in enumerate(listed):
        folder = ROOT / name.replace(".", "/")
        for path in folder.glob("*.py") if folder.is_dir() else [folder.with_suffix(".py")]:
            for imported in imported_modules(path):
                below = [
                    m
                    for m in listed[number + 1 :]
                    if f"{imported}.".startswith(f"{m}.") and m != "dclib.errors" and not m.startswith(f"{name}.")
                ]  # what a package holds stands below it
                assert not below, f"{path.relative_to(ROOT)} imports {below[0]}, which stands below {name}"


def test_public_names_have_docstrings():
    for name in documented():
        module = importlib.import_module(name)
        for public in getattr(module, "__all__", [n for n in vars(module) if not n.startswith("_")]):
            found = getattr(module, public)
            if callable(found) and getattr(found, "__module__", "").startswith(name):
                assert found.__doc__, f"{name}.{public}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_no_result_is_typed_into_prose(page):
    """An accuracy has three decimals or more, a share a per cent sign; results come from cells, or from `glue`."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"<!-- trials: written by .*?<!-- /trials -->", "", text, flags=re.DOTALL)  # see tests/book/test_trials.py
    for pattern in (r"^(`{3,}|~{3,}).*?^\1", r"\$\$.*?\$\$", r"(?<!`)`[^`\n]+`"):
        text = re.sub(pattern, "", text, flags=re.DOTALL | re.MULTILINE)
    assert not re.findall(r"(?<![\d.])0?\.\d{3,}", text)
    assert set(re.findall(r"(\d+(?:\.\d+)?) ?%", text)) <= SETTINGS


def test_workflow_publishes_what_passed_and_makes_no_record():
    workflow = (ROOT / ".github/workflows/book.yml").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"run: make (\S+)", workflow)
    assert {"test", "book"} <= set(targets) and workflow.rindex("run: make") < workflow.index("upload-pages-artifact")
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    assert re.findall(r"^    needs: (.*)$", workflow, re.MULTILINE) == ["build", "build"]
    assert "jupyter-book build . --all -W " in makefile
    for text in (workflow, makefile):
        assert "dclib run" not in text and "--recompute" not in text


def test_no_module_is_in_the_reference_twice():
    assert len(documented()) == len(set(documented()))
