"""The command line: it works from an empty folder to a table, and every bad input is one line and exit code 2."""

import io
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
import torchvision
from support import ROOT, check_sentence

from dclib import cli, files, paper
from dclib.execution import runner
from dclib.experiments import HALVES, METHODS, baseline, baseline_under, profile
from dclib.results import Store

SMOKE = ["--profile", "smoke"]


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """Results and data folders that do not exist yet, and no network."""
    monkeypatch.setenv("DCLIB_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("DCLIB_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(torchvision.datasets.CIFAR100, "url", "http://127.0.0.1:9/cifar-100-python.tar.gz")
    return tmp_path


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The archive of a smoke run of Table 1."""
    folder = tmp_path_factory.mktemp("swept")
    assert cli.main(["run", "table1", *SMOKE, "--quiet", "--device", "cpu", "--results", str(folder / "results")]) == 0
    assert cli.main(["results", "export", str(folder / "all.zip"), "--results", str(folder / "results")]) == 0
    return folder / "all.zip"


@pytest.fixture
def store(folders, swept):
    store = Store(folders / "results")
    store.import_(swept)
    return store


def listing(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def python(*arguments, **environment):
    settings = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    settings |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run([sys.executable, "-m", "dclib", *arguments], capture_output=True, text=True, env=settings)


# ---------------------------------------------------------------- what works


def test_list_before_anything_was_run(capsys, folders):
    assert cli.main(["list", *SMOKE]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(HALVES["cifar100"])  # smoke has no ImageNet half
    assert lines[0].split() == ["table1", "0", "of", "2", "runs", "recorded"]
    assert listing(folders) == []


@pytest.mark.parametrize("name", ["smoke", "miniature", "small", "paper"])
def test_show_before_anything_was_run(capsys, folders, name):
    assert cli.main(["show", "table3", "--profile", name]) == 0
    out = capsys.readouterr().out
    assert all(method in out for method in METHODS) and "0.6746" in out and "1,389,804" in out
    assert out.count("not run yet") >= len(METHODS) and f"`dclib run table3 --profile {name}`" in out
    assert listing(folders) == []


def test_run_and_show(capsys, folders):
    assert cli.main(["run", "table1", *SMOKE, "--quiet", "--device", "cpu"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = captured.out.splitlines()
    assert lines[0].startswith("Baseline (photographs") and "accuracy 0." in lines[0] and "record " in lines[0]
    assert lines[-1] == f"2 of 2 runs recorded in {folders / 'results'}."
    assert cli.main(["run", "table1", *SMOKE, "--quiet", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == lines[-1] + "\n"
    assert cli.main(["show", "table1", *SMOKE]) == 0
    out = capsys.readouterr().out
    record = Store().get(baseline_under(profile("smoke"), "blur"))
    for accuracy in record.accuracy:
        assert f"{accuracy:.4f}" in out
    assert "not run yet" not in out and record.environment["commit"] in out
    assert cli.main(["list", *SMOKE]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["table1", "2", "of", "2", "runs", "recorded"]
    assert not list((folders / "results").rglob("*.partial"))


def test_progress_goes_to_stderr(capsys, folders):
    assert cli.main(["run", "table1", *SMOKE, "--device", "cpu", "--results", str(folders / "other")]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 3 and not (folders / "results").exists()
    assert len(Store(folders / "other").records()) == 2


def test_seeds(capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(
        runner, "sweep", lambda runs, *_, **options: asked.append((runs, options)) or runner.Swept(len(runs), 0, False)
    )
    options = ["--seeds", "3", "5", "--time-budget", "2m", "--recompute", "--jobs", "3"]
    assert cli.main(["run", "table2", *SMOKE, *options]) == 0
    runs, options = asked[0]
    assert {run.seed for run in runs} == {3, 5} and {run.distortion for run in runs} == {None, "awgn"}
    assert (options["time_budget"], options["recompute"], options["jobs"]) == (120, True, 3)
    assert cli.main(["run", *SMOKE]) == 0
    assert len(asked[1][0]) > 50  # without a target: all


def test_methods_come_in_the_order_asked_for_each_after_what_it_needs(monkeypatch):
    asked = []
    monkeypatch.setattr(runner, "sweep", lambda runs, *_, **options: asked.extend(runs) or runner.Swept(len(runs), 0, False))
    assert cli.main(["run", "table3", "table4", *SMOKE, "--methods", "Finetune-9", "Deepcorr-1"]) == 0
    assert [(run.method, run.distortion) for run in asked] == [
        ("Baseline", None),
        ("Finetune-9", "blur"),
        ("Finetune-9", "awgn"),
        ("Algorithm 1", "blur"),
        ("Deepcorr-1", "blur"),
        ("Algorithm 1", "awgn"),
        ("Deepcorr-1", "awgn"),
    ]


def test_time_budget(capsys):
    assert cli.main(["run", "table1", *SMOKE, "--quiet", "--device", "cpu", "--time-budget", "0s"]) == 0
    assert "0 of 2 runs recorded" in (out := capsys.readouterr().out) and "the same command goes on" in out
    assert cli.main(["run", "table1", *SMOKE, "--quiet", "--device", "cpu"]) == 0
    assert "2 of 2 runs recorded" in capsys.readouterr().out


def test_records_travel(capsys, folders, store):
    archive = folders / "all.zip"
    assert cli.main(["results", "export", str(archive)]) == 0
    assert cli.main(["results", "import", str(archive), "--results", str(folders / "there")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"2 records exported to {archive}.",
        f"2 records imported into {folders / 'there'}.",
    ]
    assert Store(folders / "there").records() == store.records()
    assert Store(folders / "there").weights(baseline(profile("smoke"))).exists()


@pytest.mark.parametrize("by, code", [((), 130), ((signal.SIGINT,), 130), ((signal.SIGTERM,), 143)])
def test_interrupted(capsys, monkeypatch, by, code):
    def interrupt(*_, **__):
        raise KeyboardInterrupt(*by)

    monkeypatch.setattr(runner, "sweep", interrupt)
    assert cli.main(["run", *SMOKE]) == code
    assert "the same command goes on" in capsys.readouterr().err


def test_help(capsys):
    for arguments in (["--help"], ["run", "--help"], ["results", "import", "--help"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert ended.value.code == 0 and capsys.readouterr().out.startswith("usage: dclib")


# ---------------------------------------------------------------- bad input


def check_refused(capsys, arguments, *words):
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("dclib: ") and captured.err.endswith(".\n") and captured.err.count("\n") == 1
    check_sentence(captured.err.strip().removeprefix("dclib: "), *words)


RUN = ["run", "table1", *SMOKE, "--quiet"]
BAD = {
    "table": (["run", "table99", *SMOKE], "'table99'"),
    "no runs": (["run", "table10", *SMOKE], "'table10'", "dclib show table10"),
    "one good table": (["run", "table1", "tabel2", *SMOKE], "'tabel2'"),
    "profile": (["run", "table1", "--profile", "huge"], "'huge'"),
    "profile of list": (["list", "--profile", "huge"], "'huge'"),
    "profile of show": (["show", "table3", "--profile", "huge"], "'huge'"),
    "table of show": (["show", "table99", *SMOKE], "'table99'"),
    "figure of show": (["show", "figure4", *SMOKE], "--output figure4.svg"),
    "suffix of a figure": (["show", "figure4", *SMOKE, "--output", "figure4.gif"], "'figure4.gif'", ".svg"),
    "file for a table": (["show", "table3", *SMOKE, "--output", "table3.svg"], "'table3.svg'"),
    "figure without records": (["show", "figure9", *SMOKE, "--output", "figure9.svg"], "dclib run figure9 --profile smoke"),
    "figure of another half": (["show", "figure11", *SMOKE, "--output", "figure11.svg"], "'smoke'"),
    "table of another half": (["show", "table14", *SMOKE], "'smoke'"),
    "device": ([*RUN, "--device", "gpu"], "'gpu'"),
    "device number": ([*RUN, "--device", "cuda:99"], "'cuda:99'"),
    "duration": ([*RUN, "--time-budget", "soon"], "'soon'"),
    "empty duration": ([*RUN, "--time-budget", ""], "''"),
    "negative duration": ([*RUN, "--time-budget=-5m"], "'-5m'"),
    "unknown method": ([*RUN, "--methods", "Finetune-10"], "Finetune-10"),
    "negative seed": ([*RUN, "--seeds", "-1"], "-1"),
    "large seed": ([*RUN, "--seeds", "0", "4294967296"], "4294967296"),
    "no jobs": ([*RUN, "--jobs", "0"], "jobs"),
    "jobs and recompute": ([*RUN, "--jobs", "2", "--recompute", "--device", "cpu"], "jobs"),
    "no archive": (["results", "import", "gone.zip"], "gone.zip"),
    "no folder for the archive": (["results", "export", "missing/folder/all.zip"], "missing/folder/all.zip"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(capsys, folders, case):
    check_refused(capsys, *BAD[case])
    assert listing(folders) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_no_gpu(capsys, folders):
    check_refused(capsys, [*RUN, "--device", "cuda"], "'cuda'", "use cpu")
    assert listing(folders) == []


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["train"],
        ["run", "table1", "--seeds", "one"],
        ["run", "--profile"],
        ["run", "--jobs", "many"],
        ["run", "--fast"],
        ["results"],
        ["results", "move"],
        ["results", "export"],
        ["show"],
        ["show", "table1", "table2"],
    ],
    ids=" ".join,
)
def test_bad_arguments(capsys, folders, arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    error = capsys.readouterr().err
    assert ended.value.code == 2 and error.startswith("usage: dclib") and "error: " in error.splitlines()[-1]
    assert "Traceback" not in error and listing(folders) == []


def test_no_data_and_no_network(capsys, folders):
    check_refused(capsys, ["run", "table1", "--profile", "small", "--quiet", "--device", "cpu"], "CIFAR-100", "DCLIB_DATA")
    assert [name for name in listing(folders) if not name.endswith(".lock")] == []


def test_damaged_data(capsys, folders):
    (folders / "data").mkdir()
    (folders / "data" / "cifar100.npz").write_bytes(b"PK\x03\x04 and no more")
    check_refused(capsys, ["run", "table1", "--profile", "small", "--quiet", "--device", "cpu"], "cifar100.npz")
    assert [name for name in listing(folders) if not name.endswith(".lock")] == ["data/cifar100.npz"]


COMMANDS = {
    "list": ["list", *SMOKE],
    "show": ["show", "table1", *SMOKE],
    "run": [*RUN, "--device", "cpu"],
    "export": ["results", "export", "all.zip"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("damage", ["truncated", "altered", "another", "folder"])
def test_damaged_records(capsys, store, folders, monkeypatch, command, damage):
    monkeypatch.chdir(folders)
    path = store.path(baseline_under(profile("smoke"), "blur"))
    content = path.read_text()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        other = store.path(baseline(profile("smoke"))).read_text()
        path.write_text(
            {"truncated": content[:300], "altered": content.replace('"seconds": 0', '"seconds": 9', 1), "another": other}[
                damage
            ]
        )
    if (damage, command) == ("another", "export"):
        return  # both files are whole records; which run they are of is seen when that run is asked for
    before = listing(folders)
    check_refused(capsys, COMMANDS[command], path.name)
    assert [name for name in listing(folders) if not name.endswith(".lock")] == before


def test_damaged_weights(capsys, store):
    weights = store.weights(baseline(profile("smoke")))
    weights.write_bytes(weights.read_bytes()[:1000])
    store.path(baseline_under(profile("smoke"), "blur")).unlink()
    check_refused(capsys, [*RUN, "--device", "cpu"], weights.name)


def test_damaged_archive(capsys, folders, swept):
    (folders / "half.zip").write_bytes(swept.read_bytes()[:3000])
    check_refused(capsys, ["results", "import", str(folders / "half.zip")], "half.zip")
    assert listing(folders) == ["half.zip"]


def test_a_results_folder_that_is_a_file(capsys, folders):
    (folders / "results").touch()
    check_refused(capsys, [*RUN, "--device", "cpu"], str(folders / "results"))
    check_refused(capsys, ["list", *SMOKE], str(folders / "results"))
    assert listing(folders) == ["results"]


def test_a_read_only_results_folder(capsys, folders, read_only):
    (folders / "results").mkdir()
    read_only(folders / "results")
    check_refused(capsys, [*RUN, "--device", "cpu"], str(folders / "results"), "DCLIB_RESULTS")
    assert listing(folders) == []


@pytest.mark.parametrize(
    "error",
    [PermissionError(13, "Permission denied"), OSError(30, "Read-only file system"), OSError(28, "No space left on device")],
)
def test_results_that_cannot_be_written(capsys, folders, store, monkeypatch, error):
    store.path(baseline_under(profile("smoke"), "blur")).unlink()
    before = listing(folders)

    def fail(*_):
        raise error

    monkeypatch.setattr(files.os, "fsync", fail)
    check_refused(capsys, [*RUN, "--device", "cpu"], error.strerror, "DCLIB_RESULTS")
    assert [name for name in listing(folders) if not name.endswith(".lock")] == before


@pytest.mark.parametrize("content", [None, "{", '{"rows"'])
def test_the_papers_numbers_are_missing_or_damaged(capsys, folders, monkeypatch, content):
    monkeypatch.setattr(paper, "FOLDER", folders)
    if content is not None:
        (folders / "table03.json").write_text(content)
    assert cli.main(["show", "table3", *SMOKE]) == 2
    error = capsys.readouterr().err
    assert error.startswith("dclib: Expected") and error.count("\n") == 1 and "table03.json" in error


# ---------------------------------------------------------------- as a program


@pytest.mark.slow
def test_as_a_module(store):
    shown = python("show", "table1", *SMOKE)
    assert (shown.returncode, shown.stderr) == (0, "")
    record = store.get(baseline_under(profile("smoke"), "blur"))
    assert f"{np.mean(record.accuracy):.4f}" in shown.stdout


@pytest.mark.slow
def test_bad_input_as_a_module(folders):
    done = python("run", "table1", *SMOKE, "--device", "cuda:99")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("dclib: device: expected") and done.stderr.count("\n") == 1
    assert listing(folders) == []


@pytest.mark.slow
def test_a_reader_that_leaves_early(folders, swept):
    """`dclib ... | head` ends without a complaint, also where output waits in a buffer until the end."""
    read, write = os.pipe()
    os.close(read)
    settings = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "dclib", "results", "import", str(swept)],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        env=settings,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


SHOWN = ((["show", "table3", *SMOKE], 0), (["show", "t\u00e4ble3\u03c3", *SMOKE], 2))


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "ascii"])
def test_output_that_has_no_sign_for_all_letters(monkeypatch, encoding):
    """A pipe on Windows, an old terminal: what can be printed is."""
    for arguments, code in SHOWN:
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2))
        monkeypatch.setattr(sys, "stdout", out), monkeypatch.setattr(sys, "stderr", err)
        assert cli.main(arguments) == code
        out.flush(), err.flush()
        assert (b"0.6746" in out.buffer.getvalue()) == (code == 0) == (not err.buffer.getvalue())


@pytest.mark.slow
def test_output_in_the_c_locale():
    settings = os.environ | {"PYTHONPATH": str(ROOT), "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for arguments, code in SHOWN:
        done = subprocess.run([sys.executable, "-m", "dclib", *arguments], capture_output=True, env=settings)
        assert done.returncode == code and b"Traceback" not in done.stderr
        assert (b"0.6746" in done.stdout) == (code == 0)
