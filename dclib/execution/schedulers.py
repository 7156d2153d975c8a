"""How the command comes to a scheduler of dask: one of its own on this machine, or one that others started."""

import logging
import queue as queues
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import dask
from distributed import Client, LocalCluster

from dclib.execution.sharing import Terms
from dclib.execution.workers import inherited

#: Seconds between two tries.
_OFTEN = 0.5


@contextmanager
def local_cluster(jobs: int, terms: Terms) -> Iterator[LocalCluster]:
    """So many workers on this machine, for this process alone."""
    quiet()
    with (
        tempfile.TemporaryDirectory(prefix="dclib-") as folder,
        dask.config.set(
            {
                # Each death is to be heard of here: the scheduler would count those beside it too.
                "distributed.scheduler.allowed-failures": 0,
                "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
            }
        ),
    ):
        with inherited(terms.threads):  # by the nannies' thread too, which starts workers anew
            started = LocalCluster(
                n_workers=jobs,
                threads_per_worker=1,
                memory_limit=0,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                worker_dashboard_address="127.0.0.1:0",
                local_directory=folder,
                silence_logs=logging.CRITICAL,
            )
        with started as cluster:
            yield cluster


def opened(where: str | LocalCluster, patience: float) -> Client:
    """A client, in a thread of its own: dask waits for ever for a greeting where something other than a scheduler listens."""
    answers: queues.SimpleQueue = queues.SimpleQueue()
    end = time.monotonic() + patience

    def open_it() -> None:
        while True:
            try:
                answers.put(Client(where, timeout=max(end - time.monotonic(), _OFTEN), set_as_default=False))
            except OSError as error:  # what leads to a scheduler, as a proxy, may listen before it does
                if time.monotonic() + _OFTEN < end:
                    time.sleep(_OFTEN)
                    continue
                answers.put(error)
            except Exception as error:  # raised where it is waited for
                answers.put(error)
            return

    threading.Thread(target=open_it, daemon=True).start()
    try:
        answer = answers.get(timeout=patience + 2.0)  # a little longer, for dask's own words about it
    except queues.Empty:
        raise TimeoutError("what listens there does not answer as a scheduler") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def quiet() -> None:
    """What dask logs of deaths and cuts is said here in other words, or mended without a word."""
    for name in [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]:
        logging.getLogger(name).setLevel(logging.CRITICAL)
