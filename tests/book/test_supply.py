"""What is shipped: nothing is opened with a pickle, every package is locked by its hashes, everything has its licence."""

import ast
import re
import subprocess
from pathlib import Path

import pytest
from support import ROOT

#: Calls that unpickle whatever they are given, by the last two of their names.
UNPICKLING = {
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "dill.load",
    "dill.loads",
    "cloudpickle.load",
    "cloudpickle.loads",
    "joblib.load",
    "pandas.read_pickle",
    "pd.read_pickle",
    "shelve.open",
    "marshal.load",
    "marshal.loads",
}
#: The one place where others' pickles are read: CIFAR-100 as its authors publish it, behind its SHA-256. And the test that
#: reads an array of its own source as NumPy does.
ALLOWED = {("dclib/datasets/cifar.py", "pickle.load"), ("tests/execution/test_authors.py", "np.load")}
#: How a pickle begins (protocol 2 and later), and the files of PyTorch that hold one.
MAGIC, SUFFIXES = re.compile(rb"\x80[\x02-\x05]"), {".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib", ".npz", ".dill"}


def tracked() -> list[Path]:
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [path for name in listed.decode().split("\0") if name and (path := ROOT / name).is_file()]


def unpickled(source: str) -> set[str]:
    """What in Python code opens a pickle: such calls, and NumPy or torch where they are not told to refuse one."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ".".join(ast.unparse(node.func).split(".")[-2:])
        options = {option.arg: ast.unparse(option.value) for option in node.keywords}
        loads = name in UNPICKLING or (name == "torch.load" and options.get("weights_only") != "True")
        if loads or (name in ("np.load", "numpy.load") and options.get("allow_pickle", "False") != "False"):
            found.add(name)
    return found


def test_no_code_opens_a_pickle():
    found = {
        (str(path.relative_to(ROOT)), name)
        for path in tracked()
        if path.suffix == ".py"
        for name in unpickled(path.read_text(encoding="utf-8"))
    }
    assert found <= ALLOWED


def test_no_notebook_opens_a_pickle():
    cells = "\n".join(
        path.read_text(encoding="utf-8")
        for path in tracked()
        if path.suffix in (".md", ".ipynb") and path.parent.name in ("notebooks", "book", "references")
    )
    assert not re.search(r"pickle\.|torch\.load\(|allow_pickle=True|read_pickle|joblib\.load", cells)


def test_no_file_is_a_pickle():
    for path in tracked():
        assert path.suffix not in SUFFIXES, path
        with path.open("rb") as file:
            assert not MAGIC.match(file.read(2)), path


def test_these_tests_see_pickles():
    assert unpickled("import pickle\npickle.load(f)") == {"pickle.load"}
    assert unpickled("torch.load(p)\ntorch.load(p, weights_only=True)\ntorch.load(p, weights_only=False)") == {"torch.load"}
    assert unpickled("np.load(p)\nnp.load(p, allow_pickle=False)") == set()
    assert unpickled("np.load(p, allow_pickle=True)") == {"np.load"}


def locked() -> dict[str, tuple[str, int]]:
    """{package: (version, number of hashes)} of the lock."""
    found = {}
    for entry in re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text(encoding="utf-8")):
        if match := re.match(r"([A-Za-z0-9._-]+)==([^\s;\\]+)", entry):
            found[re.sub(r"[-_.]+", "-", match[1]).lower()] = match[2], entry.count("--hash=sha256:")
    return found


def test_the_lock_has_the_versions_of_the_constraints_with_hashes():
    pinned = dict(
        re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    )
    lock = locked()
    assert {"torch", "jupyter-book", "pytest", "papermill"} <= lock.keys()
    for name, (version, hashes) in lock.items():
        assert hashes > 0, name
        # A package may be there in several versions, for several systems.
        assert version in re.findall(
            rf"^{re.escape(name)}==([^\s;]+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE
        ), name
    assert pinned


#: Folders with other people's work, and the licence text that lies beside each.
VENDORED = {"book/_static/mathjax": "LICENSE", "book/vendor/onnxruntime-web": "LICENSE", "tests/vendor/axe-core": "LICENSE"}


def test_everything_shipped_has_its_licence():
    said = (ROOT / "LICENSES.md").read_text(encoding="utf-8")
    for folder, name in VENDORED.items():
        assert any(path.name.startswith(name) for path in (ROOT / folder).iterdir()), folder
        assert folder in said
    others = {path.parent for path in tracked() if "vendor" in path.parts or "mathjax" in path.parts}
    assert all(any(folder.is_relative_to(ROOT / known) for known in VENDORED) for folder in others)
