"""Several processes that make runs at the same time, each one at a time; one that is killed costs its run alone.

They share the results folder, and need nothing that is not installed with dclib: so `--jobs` is made of them where the
extra `cluster` is missing. With it `dclib.execution.cluster` takes their place, one code path for one machine and many.
"""

import multiprocessing
import os
import queue as queues
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait

import torch

from dclib.errors import InputError
from dclib.execution.deadlines import ENDING, Deadline
from dclib.execution.obtaining import BusyError, obtain
from dclib.execution.progress import Progress
from dclib.execution.queueing import Queue
from dclib.execution.sharing import DEATHS, Sharing, Terms
from dclib.experiments import Run
from dclib.results import Store
from dclib.training import Diverged, OutOfTime

#: Seconds between two messages on how far a run is, and between two looks for what others are making.
_OFTEN, _PATIENCE = 0.5, 2.0
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


# ---------------------------------------------------------------- the process that shares the runs out


class Pool(Sharing):
    """Makes the runs of a queue in `jobs` processes."""

    def __init__(
        self, queue: Queue, jobs: int, terms: Terms, deadline: Deadline, progress: Progress, say: Callable[[str], None]
    ) -> None:
        super().__init__(queue, terms, deadline, progress, say)
        self.jobs = jobs
        self.workers: list[_Worker] = []
        self._stillborn = 0
        self._stopped, self._looked = False, time.monotonic()

    def work(self) -> None:
        """Until no run is left, or past the deadline; `problems` are then the sentences about runs that were given up.

        Raises:
            InputError: processes that do not start; one run after the other that is refused.
        """
        try:
            while self._share_out() or self.workers_at_work:
                self._listen()
        finally:
            self._dismiss()

    @property
    def workers_at_work(self) -> list["_Worker"]:
        return [worker for worker in self.workers if worker.run]

    def _share_out(self) -> bool:
        """Give runs to who is idle; whether there is anything to wait for."""
        if self.deadline.passed:
            self._stop()
            return False
        while len(self.workers_at_work) < self.jobs and (run := self.queue.take()):
            worker = next((worker for worker in self.workers if not worker.run), None)
            if worker is None:
                self.workers.append(worker := _Worker(self.terms))
            worker.give(run)
            self.progress.begin(run)
        return bool(self.queue.waiting)

    def _listen(self) -> None:
        """Wait a moment for what workers say, and act on it."""
        if time.monotonic() - self._looked > _PATIENCE:
            self._looked = time.monotonic()
            self.queue.look_again()
        connections = [worker.connection for worker in self.workers]
        if not connections:
            time.sleep(_OFTEN)  # until others have made what all runs wait for
        for connection in wait(connections, timeout=_OFTEN) if connections else ():
            worker = next(worker for worker in self.workers if worker.connection is connection)
            try:
                self._hear(worker, *connection.recv())
            except (EOFError, OSError):
                self._bury(worker)
        self.progress.tick()

    def _hear(self, worker: "_Worker", what: str, *values) -> None:
        run = worker.run
        if what == "ready":
            self._stillborn, worker.ready = 0, True
            return
        if what == "part":
            self.progress.report(run, *values)
            return
        worker.run = None
        self.settle(run, what, *values)

    def _bury(self, worker: "_Worker") -> None:
        """A worker died: its run goes back into the queue, and a new worker will take its place."""
        self.workers.remove(worker)
        code = worker.leave()
        if run := worker.run:
            self.progress.end(run)
            self.queue.give_back(run)
        if not worker.ready:
            self._stillborn += 1
            if self._stillborn == DEATHS:
                raise InputError(
                    f"jobs: expected processes that start, got {DEATHS} that ended with code {code} at once; use --jobs 1."
                )
        elif run:
            self.died_of(run, 1, f"exit code {code}" + (", as where memory runs out" if code == -9 else ""))

    def _stop(self) -> None:
        """Ask all for a checkpoint, once."""
        if not self._stopped:
            self._stopped = True
            for worker in self.workers:
                worker.stop()

    def _dismiss(self) -> None:
        """Let all go, at work ones with a checkpoint; at once where this is interrupted again."""
        self._stop()
        try:
            for worker in self.workers:
                worker.leave()
        except BaseException:
            for worker in self.workers:
                worker.process.kill()
            raise


class _Worker:
    """A process, and what it is making."""

    def __init__(self, terms: Terms) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, terms))
        self.run: Run | None = None
        self.ready = False
        with inherited(terms.threads):
            self.process.start()
        theirs.close()

    def give(self, run: Run) -> None:
        self.run = run
        self._tell(run)

    def stop(self) -> None:
        self._tell("stop")

    def leave(self) -> int | None:
        """Wait for its end; the exit code."""
        self.connection.close()
        self.process.join()
        return self.process.exitcode

    def _tell(self, what: Run | str) -> None:
        with suppress(OSError):  # it died, which its connection says too
            self.connection.send(what)


@contextmanager
def inherited(threads: int) -> Iterator[None]:
    """What a process has from its start: signals to end are for its parent to answer, and libraries read their threads at once.

    Who ends a whole group of processes, as a terminal or a batch system does, ends the workers by way of their parent, which
    takes their checkpoints. Blocked, a signal waits for the parent until the block's end; ignored, it would be lost.
    """
    blocks = hasattr(signal, "pthread_sigmask")  # not on Windows
    if blocks:
        resource_tracker.ensure_running()  # for whoever starts it first has its interrupts unblocked
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING) if blocks else None
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ |= dict.fromkeys(_THREADS, str(threads))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        if blocks:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


# ---------------------------------------------------------------- the process that makes runs


def work(connection: Connection, terms: Terms) -> None:
    """Make one run after the other, as the other end of `connection` says, until it is closed."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    if terms.nice and hasattr(os, "nice"):
        os.nice(terms.nice)
    torch.set_num_threads(terms.threads)
    deadline, orders = Deadline(), queues.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, orders, deadline), daemon=True).start()
    with suppress(OSError):  # nobody is left to listen
        connection.send(("ready",))
        while (run := orders.get()) is not None:
            connection.send(_answer(run, Store(terms.folder), terms.device, deadline, connection))


def _answer(run: Run, store: Store, device: str, deadline: Deadline, connection: Connection) -> tuple:
    last = 0.0

    def report(done: int, total: int, note: str) -> None:
        nonlocal last
        if time.monotonic() - last > _OFTEN:
            last = time.monotonic()
            with suppress(OSError):
                connection.send(("part", done, total, note))

    try:
        obtain(run, store, device=device, deadline=deadline, report=report)
    except BusyError:
        return ("busy",)
    except Diverged as error:
        return "diverged", str(error)
    except InputError as error:
        return "refused", str(error)
    except OutOfTime:
        return ("stopped",)
    return ("made",)


def _listen(connection: Connection, orders: queues.SimpleQueue, deadline: Deadline) -> None:
    """Runs to make and the word to stop; that the other process died is a word to stop too."""
    while True:
        try:
            order = connection.recv()
        except (EOFError, OSError):
            order = None
        if order is None or order == "stop":
            deadline.bring_forward()
        if order != "stop":
            orders.put(order)
        if order is None:
            return
