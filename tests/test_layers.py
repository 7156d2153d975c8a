"""The house stands: no room imports one above it, and what may be known where is known only there.

A room is a module or package at the top of dclib. Imports inside of functions count.
"""

import ast
import sys

import pytest
from support import ROOT

#: The rooms from the ground up; a room knows those below it, and of its own layer those that do not know it.
LAYERS = (
    ("errors", "files", "tensors", "statistics", "paper"),
    ("distortions", "kernels", "models"),
    ("ranking", "correction"),
    ("datasets", "evaluation", "published", "restoration", "transfer", "neighbours"),
    ("training",),
    ("experiments",),
    ("results",),
    ("execution", "verdicts", "figures"),
    ("tables",),
    ("notebook", "zoo", "cli"),
    ("__main__",),
)
#: What a stranger's network needs: these rooms ask for torch, numpy and safetensors alone.
CORE = ("errors", "files", "tensors", "distortions", "kernels", "models", "ranking", "correction")
#: Rooms of one layer that do not know each other.
APART = ({"execution", "verdicts"}, {"execution", "figures"}, {"figures", "verdicts"})


def imported(source):
    """The dotted names that Python code imports, wherever it does."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports hide what is imported"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def files(room):
    folder = ROOT / "dclib" / room
    return folder.glob("*.py") if folder.is_dir() else [folder.with_suffix(".py")]


def rooms():
    """The names of all rooms; the face of the package is none."""
    return {
        path.stem
        for path in (ROOT / "dclib").iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists()) and path.stem != "__init__"
    }


def arrows():
    """{room: the rooms that it imports}."""
    return {
        room: {
            name.split(".")[1]
            for path in files(room)
            for name in imported(path.read_text(encoding="utf-8"))
            if name.startswith("dclib.")
        }
        & rooms() - {room}
        for room in rooms()
    }


def circles(known):
    """The arrows {name: names} that lie on a circle."""

    def reached(name, seen):
        for below in known.get(name, set()) - seen:
            seen.add(below)
            reached(below, seen)
        return seen

    return {(name, other) for name, others in known.items() for other in others if name in reached(other, set())}


def wrong(known):
    """The arrows {room: rooms} that run up, close a circle or join what stands apart."""
    height = {room: number for number, layer in enumerate(LAYERS) for room in layer}
    return circles(known) | {
        (room, other)
        for room, others in known.items()
        for other in others
        if height[other] > height[room] or {room, other} in APART
    }


def test_every_room_has_its_place():
    assert sorted(rooms()) == sorted(room for layer in LAYERS for room in layer)
    assert len(rooms() - {"__main__"}) <= 26


def test_no_arrow_runs_up():
    assert not wrong(arrows())


def test_no_modules_import_each_other():
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (ROOT / "dclib").rglob("*.py")
    }

    def module(name):
        return name if name in paths else name.rpartition(".")[0]

    assert not circles(
        {
            name: {module(found) for found in imported(path.read_text(encoding="utf-8")) if found.startswith("dclib.")}
            - {"dclib"}
            for name, path in paths.items()
        }
    )


def test_core_asks_for_torch_numpy_and_safetensors_alone():
    asked = {
        name.split(".")[0] for room in CORE for path in files(room) for name in imported(path.read_text(encoding="utf-8"))
    }
    assert asked - sys.stdlib_module_names <= {"dclib", "torch", "numpy", "safetensors"}


def test_verdicts_draw_nothing():
    asked = {name.split(".")[0] for path in files("verdicts") for name in imported(path.read_text(encoding="utf-8"))}
    assert not asked & {"pandas", "matplotlib", "seaborn"}


@pytest.mark.parametrize(
    "path",
    sorted(path for folder in ("benchmarks", "scripts") for path in (ROOT / folder).glob("*.py")),
    ids=lambda path: f"{path.parent.name}/{path.stem}",
)
def test_tools_take_public_names_alone(path):
    taken = [name for name in imported(path.read_text(encoding="utf-8")) if name.startswith("dclib.")]
    assert not [name for name in taken if any(part.startswith("_") for part in name.split("."))]


def test_these_tests_see_what_is_wrong():
    code = "def f():\n    from dclib.tables import beside\n    import dclib.cli, os.path"
    assert list(imported(code)) == ["dclib.tables.beside", "dclib.cli", "os.path"]
    assert wrong({"results": {"experiments"}, "tables": {"results", "figures"}}) == set()
    assert wrong({"models": {"execution"}}) == {("models", "execution")}
    assert wrong({"figures": {"verdicts"}}) == {("figures", "verdicts")}
    assert wrong({"zoo": {"cli"}, "cli": {"notebook"}, "notebook": {"zoo"}}) == {
        ("zoo", "cli"),
        ("cli", "notebook"),
        ("notebook", "zoo"),
    }
    with pytest.raises(AssertionError, match="relative"):
        list(imported("from . import paper"))
