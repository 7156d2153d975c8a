"""`make` fails where what it runs fails, whichever make it is: 3.81, which macOS has, knows no .SHELLFLAGS."""

import shutil
import subprocess

import pytest
from support import ROOT

FLAGS = {"as it is": [], "make 3.81": [".SHELLFLAGS=-c"]}


@pytest.fixture
def checkout(tmp_path):
    """The Makefile beside an environment whose programs do nothing, but fail where they are told to."""
    if not (shutil.which("make") and shutil.which("bash")):
        pytest.skip("make or bash is not installed")
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "jupyter-book"):
        (programs / name).write_text(f'#!/bin/sh\necho {name} says something\ncase "{name} $*" in $FAILING) exit 3;; esac\n')
        (programs / name).chmod(0o755)
    for name in ("book", "executed", "notebooks", "dclib"):
        (tmp_path / name).mkdir()
    for name in ("_config.yml", "_toc.yml", "CHANGELOG.md", "README.md", "CITATION.cff"):
        (tmp_path / name).touch()
    (tmp_path / ".venv" / "installed").touch()
    return tmp_path


def make(checkout, target, flags, failing="nothing"):
    done = subprocess.run(
        ["make", target, *FLAGS[flags]],
        cwd=checkout,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "FAILING": failing},
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize(
    "target, failing",
    [
        ("test", "*pytest*"),
        ("book", "*execute.py*"),
        ("book", "*export_demo*"),
        ("book", "jupyter-book*"),
        ("html", "jupyter-book*"),
        ("pdf", "*singlehtml*"),
        ("pdf", "*print_pdf*"),
        ("pdf", "*execute.py*"),
        ("smoke", "*execute.py*"),
        ("lint", "*ruff check*"),
        ("lint", "*ruff format*"),
        ("lint", "*mypy*"),
        ("archive", "*archive.py*"),
        ("lint", "*codespell*"),
        ("front", "*front.py*"),
        ("trials", "*trials.py*"),
        ("zoo", "*benchmarks.zoo*"),
        ("zoo", "*trials.py*"),
        ("references", "*reference_notebooks*"),
        ("check-pages", "*pytest*"),
        ("check-pages", "jupyter-book*"),
    ],
)
def test_a_failure_is_one(checkout, target, failing, flags):
    code, said = make(checkout, target, flags, failing)
    assert code != 0 and (target != "book" or "The book is in" not in said) and "deepcorrect.pdf" not in said


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize(
    "target", ["test", "book", "html", "pdf", "smoke", "lint", "front", "trials", "zoo", "references", "archive"]
)
def test_a_success_is_one(checkout, target, flags):
    code, said = make(checkout, target, flags)
    assert code == 0, said
    assert ("The book is in" in said) == (target in ("book", "pdf", "archive"))
