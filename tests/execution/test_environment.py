"""What a record says of the machine and the version, on systems and in places that are not this one."""

import builtins
import errno
import fcntl
import os
import platform
import pwd
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import BASE, ROOT, refused

from dclib import datasets, execution, files, notebook
from dclib.execution import environment, obtaining
from dclib.results import results_folder

# ---------------------------------------------------------------- the commit


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def repository(folder, name="dclib", package=None):
    """A repository with a project called `name`, and dclib somewhere in it."""
    package = package or folder / "dclib"
    package.mkdir(parents=True)
    (package / "environment.py").write_text("")
    (folder / "pyproject.toml").write_text(f'[project]\nname = "{name}"\n')
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return package


@pytest.fixture
def commit_in(monkeypatch):
    def commit(package):
        monkeypatch.setattr(environment, "__file__", str(package / "execution" / "environment.py"))
        return environment.commit.__wrapped__()

    return commit


def test_a_checkout(tmp_path, commit_in):
    package = repository(tmp_path / "checkout")
    head = git(package, "rev-parse", "--short=12", "HEAD")
    assert commit_in(package) == head
    (tmp_path / "checkout" / "notes.txt").write_text("beside the package")
    assert commit_in(package) == head
    (package / "environment.py").write_text("x = 1")
    assert commit_in(package) == head + "+"


def test_a_second_working_tree_and_a_link_to_it(tmp_path, commit_in):
    package = repository(tmp_path / "checkout")
    git(tmp_path / "checkout", "worktree", "add", "-q", str(tmp_path / "tree"))
    (tmp_path / "link").symlink_to(tmp_path / "tree")
    for folder in ("tree", "link"):
        assert commit_in(tmp_path / folder / "dclib") == git(package, "rev-parse", "--short=12", "HEAD")


@pytest.mark.parametrize("place", [".venv/lib/python3.11/site-packages/dclib", "vendor/dclib", "dclib"])
def test_a_repository_of_somebody_else(tmp_path, commit_in, place):
    package = repository(tmp_path / "theirs", "theirs", tmp_path / "theirs" / place)
    assert commit_in(package) == "unknown"


def test_a_project_of_that_name_inside_of_another_repository(tmp_path, commit_in):
    package = repository(tmp_path / "theirs", "theirs", tmp_path / "theirs" / "libraries" / "dclib" / "dclib")
    (package.parent / "pyproject.toml").write_text('[project]\nname = "dclib"\n')
    assert commit_in(package) == "unknown"


def test_the_repository_that_a_hook_names(tmp_path, commit_in, monkeypatch):
    package, other = repository(tmp_path / "checkout"), repository(tmp_path / "other")
    (other / "more.py").write_text("")
    git(other.parent, "add", "-A")
    git(other.parent, "commit", "-qm", "second")
    monkeypatch.setenv("GIT_DIR", str(other.parent / ".git"))
    found = commit_in(package)
    monkeypatch.delenv("GIT_DIR")
    assert found == git(package, "rev-parse", "--short=12", "HEAD")


@pytest.mark.parametrize("content", ["", "[project", "[tool.ruff]\n"])
def test_other_project_files(tmp_path, commit_in, content):
    package = repository(tmp_path / "checkout")
    (tmp_path / "checkout" / "pyproject.toml").write_text(content)
    assert commit_in(package) == "unknown"


def test_no_git(tmp_path, commit_in, monkeypatch):
    package = repository(tmp_path / "checkout")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_in(package) == "unknown"


# ---------------------------------------------------------------- memory


def without_proc(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(environment.Path, "read_text", missing)
    monkeypatch.setattr(environment.Path, "write_text", missing)


def test_memory_here():
    environment.forget_peak("cpu")
    assert 10**7 < environment.peak_bytes("cpu") < 10**12
    assert environment.free_bytes("cpu") > 10**7


ONE_RUN = """
from dclib.execution import environment
block = bytearray(300 * 2**20)
block[::4096] = b"x" * len(block[::4096])
high = environment.peak_bytes("cpu")
del block
environment.forget_peak("cpu")
print(high - environment.peak_bytes("cpu"))
"""


def test_the_peak_is_that_of_one_run():
    """In a process of its own: a training has told this one's memory to stay."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the system keeps one peak for the whole process")
    found = subprocess.run([sys.executable, "-c", ONE_RUN], capture_output=True, text=True, check=True)
    assert int(found.stdout) > 200 * 2**20


@pytest.mark.parametrize("platform, unit", [("linux", 1024), ("darwin", 1), ("freebsd14", 1024)])
def test_units_of_other_systems(monkeypatch, platform, unit):
    without_proc(monkeypatch)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setitem(
        sys.modules, "resource", SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda who: SimpleNamespace(ru_maxrss=7_000_000))
    )
    assert environment.peak_bytes("cpu") == 7_000_000 * unit
    environment.forget_peak("cpu")
    assert environment.free_bytes("cpu") is None


def test_a_system_without_resource(monkeypatch, store):
    """Windows: what asks for it is imported, and a record says nothing of memory."""
    without_proc(monkeypatch)
    real = builtins.__import__

    def absent(name, *arguments, **options):
        if name == "resource":
            raise ModuleNotFoundError("No module named 'resource'")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", absent)
    assert environment.peak_bytes("cpu") is None
    monkeypatch.setattr(obtaining, "make", lambda *_: ({"accuracy": [1.0]}, {"seconds": 2.0}))
    assert obtaining._made(BASE, store, "cpu", None, None, False).cost == {"seconds": 2.0}


@pytest.mark.slow
def test_no_module_asks_for_resource_when_it_is_imported():
    code = (
        "import sys; sys.modules['resource'] = None\n"
        "import dclib.models, dclib.execution, dclib.execution.runner, dclib.notebook, dclib.cli"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert (done.returncode, done.stderr) == (0, "")


# ---------------------------------------------------------------- folders

FOLDERS = {
    "DCLIB_DATA": datasets.data_folder,
    "DCLIB_CACHE": datasets.cache_folder,
    "DCLIB_RESULTS": results_folder,
    "DCLIB_MINIATURE": lambda: notebook.live_folder("miniature"),
}


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("value", ["~nobody-of-that-name/x", "~no-one"])
def test_the_home_of_nobody(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with refused(name, repr(value)):
        FOLDERS[name]()


@pytest.fixture
def homeless(monkeypatch):
    """As in a container with a user id that has no name."""

    def unknown(user):
        raise KeyError(f"getpwuid(): uid not found: {user}")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.parametrize("name", ["DCLIB_DATA", "DCLIB_CACHE"])
def test_no_home(monkeypatch, tmp_path, homeless, name):
    monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DCLIB_DATA", str(tmp_path / "gone")) if name == "DCLIB_CACHE" else None
    with refused(name, "home"):
        FOLDERS[name]()
    monkeypatch.setenv(name, "~/there")
    with refused(name, "'~/there'"):
        FOLDERS[name]()
    monkeypatch.setenv(name, str(tmp_path))
    assert FOLDERS[name]() == tmp_path


def test_no_home_for_results(monkeypatch, tmp_path, homeless):
    monkeypatch.delenv("DCLIB_RESULTS", raising=False)
    monkeypatch.setattr("dclib.results._ROOT", tmp_path)
    with refused("DCLIB_RESULTS"):
        results_folder()


def test_a_setting_that_is_empty_is_none(monkeypatch):
    monkeypatch.setenv("DCLIB_DATA", "")
    assert files.named_folder("DCLIB_DATA") is None


# ---------------------------------------------------------------- locks


@pytest.mark.parametrize("number", [errno.ENOLCK, 524, errno.EOPNOTSUPP, errno.ENOSYS, errno.EIO])
def test_a_file_system_without_locks(store, monkeypatch, number):
    """What a lock answers on NFS without its daemon, and on other shares; the folder itself can be written."""

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with refused("locks", os.strerror(number), "DCLIB_RESULTS"):
        execution.obtain(BASE, store)


def test_a_folder_that_cannot_be_written_is_no_matter_of_locks(store):
    store.folder.mkdir()
    (store.folder / "checkpoints").touch()
    with refused("can be written", "DCLIB_RESULTS"):
        execution.obtain(BASE, store)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the names are those of x86-64 processors")
def test_two_kinds_of_processors_of_one_name_are_told_apart():
    code = "from dclib.execution.environment import environment; print(environment()['instructions'])"
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=True,
            env=os.environ | {"ATEN_CPU_CAPABILITY": name},
        ).stdout.strip()
        for name in ("default", "avx2")
    }
    assert told == {"DEFAULT", "AVX2"}


def test_a_process_that_makes_runs_waits_for_no_package_that_it_may_not_need():
    """Each of these takes seconds to import, in every worker: they come with the kind of run that uses them."""
    code = "import sys, dclib.execution.workers, dclib.execution.missing; from dclib.models import *; "
    code += "block = shapes_alone(); block.__enter__(); AllConvNet(); AlexNet(); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout.split()
    slow = {"matplotlib", "pandas", "scipy.stats", "seaborn", "sklearn", "statsmodels", "torch._dynamo", "torchvision"}
    assert not slow & set(loaded)
