"""Executing notebooks: what fails leaves no page, what is older than its inputs says so, what is unchanged rests."""

import json
import os
import shutil
import sys

import execute
import nbformat
import pytest

CELLS = """---
kernelspec: {{display_name: Python 3, name: python3}}
---

# A page

```{{code-cell}} ipython3
:tags: [parameters]

profile = "miniature"
device = "cpu"
recompute = False
seed = 0
```

```{{code-cell}} ipython3
{last}
```
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of two notebooks, of which each test can break one."""
    for folder in ("notebooks", "book", "dclib", "data/results"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "_toc.yml").write_text(
        "root: book/index\nparts:\n  - chapters:\n"
        + "".join(f"      - file: executed/{name}\n" for name in ("first", "second", "status"))
    )
    for name in ("first", "second"):
        (tmp_path / f"notebooks/{name}.md").write_text(CELLS.format(last="1 + 1"))
    monkeypatch.setattr(execute, "ROOT", tmp_path)
    monkeypatch.setattr(execute, "made_on", lambda device: "a machine, commit abc")
    monkeypatch.setattr(execute, "execute_all", one_after_the_other)
    return tmp_path


def one_after_the_other(names, inputs, output, jobs, environment):
    """`execute_all` without processes, and with a run that does not start a kernel."""
    failures = []
    for name in names:
        try:
            make(name, inputs[name], output, environment)
        except execute.Failed as failure:
            (output / f"{name}.ipynb").unlink(missing_ok=True)
            failures.append(str(failure))
    return failures


def make(name, inputs, output, environment):
    notebook = execute.read_source(name)
    if "raise" in notebook.cells[-1].source:
        raise execute.Failed(f"notebooks/{name}.md failed")
    notebook.metadata[execute.METADATA_KEY] = {
        "inputs": inputs,
        "environment": environment,
        "peak_memory_mb": 512,
        "seconds": 3.4,
        "date": "2026-01-02 03:04",
    }
    nbformat.write(notebook, output / f"{name}.ipynb")


def run(*arguments):
    return execute.main(["--profile", "smoke", *arguments])


def status(project):
    return (project / "executed/status.md").read_text(encoding="utf-8")


def test_status_page_says_how_each_page_was_made(project):
    assert run() == 0
    for name in ("first", "second"):
        assert f"| {{doc}}`{name}` | current | smoke | 3 | 512 MB | 2026-01-02 03:04 |" in status(project)
    assert "- a machine, commit abc" in status(project)


@pytest.mark.parametrize(
    "path, what", [("dclib/new.py", "dclib"), ("data/results/new.json", "records"), ("notebooks/first.md", "source")]
)
def test_page_older_than_its_inputs_is_flagged(project, path, what):
    run()
    target = project / path
    target.write_text((target.read_text() if target.exists() else "") + "\nmore\n")
    assert run("--status-only") == 0
    assert f"{{doc}}`first` | older than its {what} |" in status(project)
    assert ("`second` | current" in status(project)) == (what == "source")


def test_unchanged_pages_rest(project, capsys):
    run()
    capsys.readouterr()
    run()
    assert "All notebooks are executed and unchanged." in capsys.readouterr().out


def test_failing_notebook_leaves_no_page_and_an_exit_code(project, capsys):
    assert run() == 0
    (project / "notebooks/first.md").write_text(CELLS.format(last="raise ValueError('no')"))
    assert run() == 1
    assert not (project / "executed/first.ipynb").exists() and (project / "executed/second.ipynb").exists()
    assert "notebooks/first.md failed" in capsys.readouterr().err
    assert "| first | not executed yet |" in status(project)


def test_notebook_without_parameters_is_refused(project, capsys):
    (project / "notebooks/first.md").write_text("# A page\n")
    assert run() == 1 and "expected one code cell tagged `parameters`" in capsys.readouterr().err


def test_page_without_a_notebook_is_refused(project, capsys):
    (project / "notebooks/second.md").unlink()
    assert run() == 1 and "there is no notebooks/second.md" in capsys.readouterr().err


def foreign_kernel(folder, argv):
    """A kernel of another environment under the name python3, as hubs install it."""
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "A hub's Python", "language": "python"}))


@pytest.mark.parametrize("where", ["JUPYTER_PATH", "JUPYTER_DATA_DIR", "two entries"])
def test_the_environments_own_kernel_comes_first(tmp_path, monkeypatch, where):
    """Found by Jupyter itself, wherever the other kernel lies; the variable is afterwards as it was."""
    from jupyter_client.kernelspec import KernelSpecManager

    foreign_kernel(tmp_path / "hub/kernels/python3", ["/bin/false", "{connection_file}"])
    path = {"JUPYTER_PATH": str(tmp_path / "hub"), "two entries": f"{tmp_path / 'none'}:{tmp_path / 'hub'}"}.get(where)
    if path is None:
        monkeypatch.delenv("JUPYTER_PATH", raising=False)
        monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "hub"))
        monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    else:
        monkeypatch.setenv("JUPYTER_PATH", path)
    assert KernelSpecManager().get_kernel_spec("python3").argv[0] == "/bin/false"
    with execute.own_kernel():
        assert KernelSpecManager().get_kernel_spec("python3").argv[0] == sys.executable
    assert KernelSpecManager().get_kernel_spec("python3").argv[0] == "/bin/false"


@pytest.mark.slow
def test_a_page_is_made_by_this_environment_though_a_hub_has_its_own_python3(tmp_path, monkeypatch):
    """The real thing, with a kernel that dies at once in JUPYTER_PATH."""
    import subprocess

    foreign_kernel(tmp_path / "hub/kernels/python3", ["/bin/false", "{connection_file}"])
    shutil.copytree(execute.ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_toc.yml").write_text(
        "parts:\n  - chapters:\n      - file: executed/first\n      - file: executed/status\n"
    )
    (tmp_path / "notebooks/first.md").write_text(CELLS.format(last="import sys; sys.executable"))
    made = subprocess.run(
        [sys.executable, "scripts/execute.py", "--profile", "smoke"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "JUPYTER_PATH": str(tmp_path / "hub")},
    )
    assert made.returncode == 0, made.stderr
    page = nbformat.read(tmp_path / "executed/first.ipynb", 4)
    assert page.cells[-1].outputs[0]["data"]["text/plain"] == repr(sys.executable)


@pytest.mark.slow
def test_error_in_a_cell_removes_the_old_page(tmp_path, monkeypatch):
    """The real thing, in a process of its own with a kernel: nothing of a failed notebook can be published."""
    import subprocess

    shutil.copytree(execute.ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "executed").mkdir()
    (tmp_path / "executed/first.ipynb").write_text(json.dumps({"an": "old page"}))
    (tmp_path / "_toc.yml").write_text(
        "parts:\n  - chapters:\n      - file: executed/first\n      - file: executed/status\n"
    )
    (tmp_path / "notebooks/first.md").write_text(CELLS.format(last="raise ValueError('this cell fails')"))
    made = subprocess.run(
        [sys.executable, "scripts/execute.py", "--profile", "smoke"], cwd=tmp_path, capture_output=True, text=True
    )
    assert made.returncode == 1 and "ValueError: this cell fails" in made.stderr
    assert not list((tmp_path / "executed").glob("*.ipynb"))
    assert "not executed yet" in (tmp_path / "executed/status.md").read_text()


def test_book_target_stops_where_a_notebook_failed():
    """`make book` executes before it builds, and each of its lines stops at an error."""
    lines = (execute.ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    start = lines.index("book: .venv/installed")
    target = lines[start : start + 6]
    assert any("scripts/execute.py" in line and not line.lstrip("\t").startswith(("-", "@-")) for line in target)
    assert ".SHELLFLAGS := -euo pipefail -c" in lines


@pytest.mark.parametrize("names, order", [("", ""), ("a", "a"), ("abcd", "adbc"), ("abcde", "aebdc")])
def test_neighbouring_notebooks_are_not_executed_side_by_side(names, order):
    assert execute.in_order(list(names)) == list(order)


def test_the_longest_notebook_begins_first():
    names = execute.page_names()
    assert execute.LONGEST in names and execute.in_order(names)[:2] == [execute.LONGEST, names[0]]
    assert sorted(execute.in_order(names)) == sorted(names)
