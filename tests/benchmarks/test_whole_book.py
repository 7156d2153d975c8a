"""The benchmark of the whole book: bytes on disk, and the memory of a process with all that it started."""

import subprocess
import sys

import psutil
import pytest

from benchmarks import book

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="du's bytes and shared pages are those of Linux")


@on_linux
def test_disk_counts_blocks_and_follows_no_link(tmp_path):
    (tmp_path / "kept" / "deep").mkdir(parents=True)
    (tmp_path / "kept" / "deep" / "a").write_bytes(b"1" * 100_000)
    (tmp_path / "elsewhere").write_bytes(b"1" * 1_000_000)
    (tmp_path / "kept" / "link").symlink_to(tmp_path / "elsewhere")
    measured = subprocess.run(["du", "-s", "-B1", "kept"], cwd=tmp_path, capture_output=True, text=True, check=True)
    said = int(measured.stdout.split()[0])
    directories = 2 * (tmp_path / "kept").lstat().st_blocks * 512  # du counts them too
    assert 100_000 <= book.disk(tmp_path / "kept") == pytest.approx(said, abs=directories + 8192)


@on_linux
def test_memory_of_a_process_includes_its_children(tmp_path):
    """A child of a child holds 60 MB, which another process could not have by chance."""
    inner = "held = bytearray(b'x') * 60_000_000; print('ready', flush=True); input()"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    running = subprocess.Popen([sys.executable, "-c", outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert running.stdout.readline().strip() == b"ready"
        with book.Peaks(psutil.Process(running.pid), tmp_path) as peaks:
            assert book.memory(psutil.Process(running.pid)) > 60_000_000
            (tmp_path / "left").write_bytes(b"1" * 50_000)
        assert peaks.disk >= 50_000
    finally:
        running.communicate(b"\n")
