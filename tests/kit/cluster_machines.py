"""Machines for the tests of the cluster: processes of dask, each in a folder of its own and with none in common."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from support import ROOT

#: So that the tests need not wait for minutes until somebody is missed.
_HASTE = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "8s", "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s"}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Machines:
    """A scheduler and workers that are started, killed and started again; all end with the block.

    Args:
        folder: each process gets one of its own in it.
        paths: what Python imports from, before what is installed.
    """

    def __init__(self, folder: Path, paths: str = str(ROOT)) -> None:
        self.folder, self.paths = folder, paths
        self.host, self.port = "127.0.0.1", free_port()
        self.processes: list[subprocess.Popen] = []
        self.scheduler: subprocess.Popen | None = None

    @property
    def address(self) -> str:
        return f"tcp://{self.host}:{self.port}"

    def start_scheduler(self, prefix: tuple[str, ...] = ()) -> None:
        """Start it, also anew at the old address."""
        self.scheduler = self._start(
            "scheduler",
            "dask_scheduler",
            "--host",
            self.host,
            "--port",
            str(self.port),
            "--no-dashboard",
            "--no-show",
            "--idle-timeout",
            "900",
            prefix=prefix,
        )

    def start_worker(
        self,
        *options: str,
        address: str | None = None,
        prefix: tuple[str, ...] = (),
        variables: dict[str, str] | None = None,
        kept: bool = False,
    ) -> subprocess.Popen:
        """A worker with a nanny that starts it anew when it dies.

        Both end when the connection to their scheduler breaks. Where they are `kept`, as by systemd or Kubernetes, they are
        then started anew.
        """
        if kept:
            prefix = (*prefix, "sh", "-c", 'while :; do "$@"; sleep 1; done', "kept")
        return self._start(
            "worker",
            "dask_worker",
            address or self.address,
            "--nthreads",
            "1",
            "--memory-limit",
            "0",
            "--no-dashboard",
            "--death-timeout",
            "300",
            *options,
            prefix=prefix,
            variables=variables,
        )

    def _start(
        self, name: str, program: str, *options: str, prefix: tuple[str, ...] = (), variables: dict[str, str] | None = None
    ) -> subprocess.Popen:
        folder = self.folder / f"{name}{len(self.processes)}"
        folder.mkdir(parents=True)
        paths = os.pathsep.join(filter(None, (self.paths, os.environ.get("PYTHONPATH"))))
        settings = (
            os.environ
            | _HASTE
            | {
                "PYTHONPATH": paths,
                "DCLIB_DATA": str(folder / "data"),
                "OMP_NUM_THREADS": "1",
                "DCLIB_RESULTS": str(folder / "results"),
                "TMPDIR": str(folder),
            }
        )
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*prefix, sys.executable, "-m", f"distributed.cli.{program}", *options],
                cwd=folder,
                env=settings | (variables or {}),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def kill(self, process: subprocess.Popen) -> None:
        """End a process and all that it started, with SIGKILL: nobody is told."""
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()

    def freeze(self, process: subprocess.Popen) -> None:
        """A machine that is not heard of any more: its connections stay open, and nothing answers."""
        os.killpg(process.pid, signal.SIGSTOP)

    def __enter__(self) -> "Machines":
        return self

    def __exit__(self, *_) -> None:
        for process in self.processes:
            self.kill(process)


def wait_until(true, seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
