"""What the calls of a process say about power cuts: each rule is seen to be broken, and what keeps them is let pass."""

import shutil
import subprocess
import sys

import pytest
from support import ROOT

from benchmarks.power_cuts import Call, calls_in, violations

WHOLE = [
    Call("write", "/d/.a.partial"),
    Call("sync", "/d/.a.partial"),
    Call("rename", "/d/a", "/d/.a.partial"),
    Call("sync", "/d"),
]


def test_whole_files_break_no_rule():
    assert violations([*WHOLE, Call("delete", "/d/old")]) == []


def test_unfinished_files_of_others_may_become_ours():
    """safetensors writes to a name of its own, which it then changes to the one that it was given."""
    calls = [Call("write", "/d/.tmpX"), Call("rename", "/d/.a.partial", "/d/.tmpX"), *WHOLE[1:]]
    assert violations(calls) == []
    assert violations([calls[0], calls[1], *WHOLE[2:]]) == ["a gets its name before its contents are on the disk"]


@pytest.mark.parametrize(
    "calls, said",
    [
        ([Call("write", "/d/a")], "a is written under its own name"),
        ([WHOLE[0], *WHOLE[2:]], "a gets its name before its contents are on the disk"),
        ([*WHOLE[:3], Call("delete", "/d/old")], "old is deleted while the name of a may be lost"),
    ],
    ids=["own name", "not synchronised", "deleted too early"],
)
def test_broken_rules_are_seen(calls, said):
    assert violations(calls) == [said]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_calls_are_read_from_a_real_log(tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from pathlib import Path; from dclib.files import write_whole; "
        f"write_whole(Path({str(tmp_path / 'a')!r}), b'a')"
    )
    done = subprocess.run(["strace", "-f", "-y", "-o", tmp_path / "log", sys.executable, "-c", code], capture_output=True)
    if done.returncode:
        pytest.skip("strace may not trace here")
    calls = calls_in(tmp_path / "log", tmp_path)
    assert [call.name for call in calls if "log" not in call.path] == ["write", "sync", "rename", "sync"]
    assert violations(calls) == []
