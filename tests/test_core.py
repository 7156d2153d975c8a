"""The core: what `pip install dclib` brings is enough to correct a network of one's own, and the rest says what it needs.

The installations here are folders of links to packages of this environment, and Python sees nothing else.
"""

import os
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from support import ROOT

pytestmark = pytest.mark.slow

#: A network and images for the README's lines, which take any.
BEFORE = """
import torch
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
                            torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 4))
images, labels, layers = torch.randint(0, 256, (80, 3, 16, 16)).float(), torch.arange(80) % 4, ["0"]
"""
AFTER = """
import dclib
print(sorted(path.name for path in __import__("pathlib").Path().iterdir()), type(dclib.load(model, "corrected.safetensors")))
"""


def with_needs(names):
    """Names of distributions and of all that they need here, each once."""
    found, waiting = {}, list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name not in found:
            found[name] = distribution(name)
            needed = [Requirement(line) for line in found[name].requires or ()]
            waiting += [r.name for r in needed if not r.marker or r.marker.evaluate({"extra": ""})]
    return found.values()


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    """A folder with numpy, safetensors, torch and what they need, as pip installs them."""
    folder = tmp_path_factory.mktemp("core")
    for found in with_needs(core_requirements()):
        for top in {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (folder / top).exists():
                (folder / top).symlink_to(found.locate_file(top))
    return folder


def core_requirements():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [Requirement(line).name for line in project["dependencies"]]


def python(*arguments, folders, cwd):
    """Python with the standard library and `folders` alone."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DCLIB"))}
    code = f"import sys; sys.path += {[str(folder) for folder in folders]}; "
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", code + arguments[0], *arguments[1:]],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=settings | {"OMP_NUM_THREADS": "1"},
    )


def readmes_lines():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.search(r"```python\n(from dclib import correct, fit.*?)```", text, re.DOTALL).group(1)


def test_core_has_three_dependencies():
    assert core_requirements() == ["numpy", "safetensors", "torch"]


def test_readmes_lines_need_the_core_alone(core, tmp_path):
    (tmp_path / "lines.py").write_text(BEFORE + readmes_lines() + AFTER)
    done = python("exec(open('lines.py').read())", folders=[ROOT, core], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "corrected.safetensors" in done.stdout and "Sequential" in done.stdout


@pytest.mark.parametrize("arguments", [["list"], ["show", "table3"]], ids=" ".join)
def test_the_command_says_what_it_needs(core, tmp_path, arguments):
    done = python("from dclib.__main__ import main; sys.exit(main())", *arguments, folders=[ROOT, core], cwd=tmp_path)
    assert done.returncode == 2 and not done.stdout and len(done.stderr.splitlines()) == 1
    assert re.match(r"dclib: .*expected.*got.*pip install 'dclib\[repro\]'", done.stderr)


def test_a_name_of_the_face_says_what_it_needs(core, tmp_path):
    done = python("import dclib; dclib.load_model", folders=[ROOT, core], cwd=tmp_path)
    assert done.stderr.splitlines()[-1].startswith("dclib.errors.InputError: load_model: expected")
    assert "pip install 'dclib[repro]'" in done.stderr


def test_our_own_missing_module_is_no_missing_package():
    from dclib.errors import without_extra

    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        without_extra("it", ModuleNotFoundError("No module named 'dclib.nowhere'", name="dclib.nowhere"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built by the backend of this environment and unpacked as pip does it, outside of the checkout."""
    pytest.importorskip("hatchling", reason="hatchling is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("dclib-*.whl")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            "--target",
            folder / "installed",
            built,
        ],
        check=True,
        capture_output=True,
    )
    return folder / "installed"


SITE = Path(distribution("torch").locate_file(""))


def installed(wheel, *arguments, cwd):
    return python("from dclib.__main__ import main; sys.exit(main())", *arguments, folders=[wheel, SITE], cwd=cwd)


def test_wheel_holds_the_package_and_the_papers_numbers_alone(wheel):
    assert {path.name for path in wheel.iterdir() if not path.name.endswith((".dist-info", "bin"))} == {"dclib"}
    for path in (ROOT / "data/paper").iterdir():
        assert (wheel / "dclib/data/paper" / path.name).read_bytes() == path.read_bytes()
    assert (wheel / "dclib/py.typed").exists()


def test_wheel_shows_a_table_and_lists(wheel, tmp_path):
    home = {"cwd": tmp_path}
    shown = installed(wheel, "show", "table3", "--profile", "small", **home)
    assert shown.returncode == 0, shown.stderr
    assert "Deepcorr-6c" in shown.stdout and "0.6023" in shown.stdout and "not run yet" in shown.stdout
    listed = installed(wheel, "list", **home)
    assert listed.returncode == 0 and "table15" in listed.stdout, listed.stderr


def test_wheel_runs_the_readmes_lines_on_the_core(wheel, core, tmp_path):
    (tmp_path / "lines.py").write_text(BEFORE + readmes_lines() + AFTER)
    done = python("exec(open('lines.py').read())", folders=[wheel, core], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "corrected.safetensors" in done.stdout


def test_wheel_says_where_networks_are(wheel, tmp_path):
    done = python("import dclib; dclib.load_model('finetune-1')", folders=[wheel, SITE], cwd=tmp_path)
    sentence = done.stderr.splitlines()[-1]
    assert (
        sentence.startswith("dclib.errors.InputError: load_model: expected a published network")
        and "DCLIB_RESULTS" in sentence
    )
