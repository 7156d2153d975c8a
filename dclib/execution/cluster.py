"""Runs made by the workers of dask.distributed, here or on any number of machines; one code path for both.

The parts and who has them:

- **The graph** is the runs': each is a task of the scheduler whose arguments are the tasks of what it is made from. A
  network or ranking goes from worker to worker; the client sees it too, for it keeps everything.
- **The client**, which is the command, has the results folder alone. It claims each run there by the same lock as every
  other process, so that two clients, on one cluster or on two, share a folder's work and not its runs. It hands out
  about as many runs as there are workers, the most valuable first, and those that wait for them.
- **Workers have no folder in common with anybody.** What a run needs travels as bytes, and so do record, network and
  checkpoint (`dclib.execution.sitting`). Images do not travel: each worker finds them in its own data folder, by the
  fingerprint in the run's description, and says so where it cannot. The run is then given to others.
- **A run is a chain of sittings** of some minutes. A sitting ends with the run's checkpoint, which the client writes
  into its folder and sends with the next one. A checkpoint is thus a result like any other, and nothing is kept for a
  client that is gone: its tasks are forgotten, and a sitting that is under way ends soon. A queue or a variable on the
  scheduler would have to be swept out after it. A dead worker, a cut connection or a lost scheduler costs one sitting.
- **Who mends what.** A worker that dies, or is not heard of any more: the scheduler gives its task to another, with the
  same arguments. A scheduler that goes: the client waits for it, and hands out again what has no record.
- **Ctrl-C and the time budget** are a word to all workers, `stop`: whoever makes a run of ours ends after its step and
  answers with the checkpoint.

Records are those of one process: each worker makes one run at a time, with the versions that the client has.
"""

import dataclasses
import math
import queue as queues
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack, suppress

import dask
from distributed import Client, Future, KilledWorker, LocalCluster

from dclib.errors import InputError
from dclib.execution.deadlines import Deadline
from dclib.execution.obtaining import BusyError, claim, found
from dclib.execution.progress import Progress
from dclib.execution.queueing import Queue
from dclib.execution.schedulers import opened, quiet
from dclib.execution.sharing import Sharing, Terms
from dclib.execution.sitting import ALL, SITTING, Answer, Kept, Order, code_versions, given, sit, stop
from dclib.experiments import Run

#: Seconds to wait for a scheduler: at first, when it was there before, and for an answer to a question.
_AT_FIRST, _AGAIN, _ANSWER = 15.0, 600.0, 10.0
#: Seconds between two looks for news, and at the workers and what others are making.
_OFTEN, _PATIENCE = 0.5, 2.0
#: Seconds after the word to stop in which checkpoints are waited for.
_DRAIN = 120.0


@dataclasses.dataclass
class _Flight:
    """A run that is handed out: its place in the order of value, its lock, its sitting, and who alone may take that."""

    run: Run
    number: int
    lock: ExitStack
    future: Future | None = None
    able: tuple[str, ...] = ()


class Cluster(Sharing):
    """Makes the runs of a queue on a cluster.

    Args:
        where: the address of a scheduler, or a `local_cluster`.
        bytes_of: the memory that a run needs.
    """

    def __init__(
        self,
        queue: Queue,
        where: str | LocalCluster,
        terms: Terms,
        deadline: Deadline,
        progress: Progress,
        say: Callable[[str], None],
        bytes_of: Callable[[Run], float],
    ) -> None:
        super().__init__(queue, terms, deadline, progress, say)
        self.where, self.bytes_of = where, bytes_of
        self.client: Client | None = None
        self.session = ""
        self.workers: dict[str, dict] = {}
        self._flights: dict[str, _Flight] = {}
        self._made: dict[str, Future] = {}
        self._unable: dict[str, dict[str, str]] = defaultdict(dict)
        self._news: queues.SimpleQueue = queues.SimpleQueue()
        self._launched, self._stopped, self._looked = 0, math.inf, -math.inf
        self._alone = False

    def work(self) -> None:
        """Until no run is left, or past the deadline; `problems` are then the sentences about runs that were given up.

        Raises:
            InputError: a scheduler that is not there, or stays away; workers of which none can make any run; one run
                after the other that is refused.
        """
        self._connect(_AT_FIRST)
        try:
            while self._hand_out() or self._under_way:
                self._listen()
        finally:
            self._leave()

    @property
    def _under_way(self) -> bool:
        """Whether answers are to be waited for: not for ever after the word to stop, nor without a worker."""
        drained = time.monotonic() > self._stopped + _DRAIN or (self._stopped < math.inf and not self.workers)
        return bool(self._flights) and not drained

    # ------------------------------------------------------------ handing out

    def _hand_out(self) -> bool:
        """Give out runs for all workers, and as many ahead; whether there is anything to wait for."""
        if self.deadline.passed:
            self._stop()
            return False
        self._look_around()
        slots = max(1, len(self.workers))
        while self._ready < slots and (run := self.queue.take()):
            self._launch(run)
        while len(self._flights) < 2 * slots and (run := self.queue.take(ahead=True)):
            self._launch(run)
        return bool(self.queue.waiting)

    @property
    def _ready(self) -> int:
        """How many runs are handed out that wait for no other."""
        return sum(not any(needed.id in self._flights for needed in flight.run.needs) for flight in self._flights.values())

    def _launch(self, run: Run) -> None:
        lock = ExitStack()
        try:
            lock.enter_context(claim(run, self.store))
        except BusyError:
            self.queue.leave_to_others(run)
            return
        if found(run, self.store) is not None:  # by another process, since the queue looked
            lock.close()
            self.queue.finish(run)
            return
        self._launched += 1
        flight = self._flights[run.id] = _Flight(run, self._launched, lock)
        self.progress.begin(run)
        self._sit(flight, Kept.begun(run, self.store))

    def _sit(self, flight: _Flight, kept: Kept) -> None:
        """Hand out the next sitting of a run; give the run up where no worker is able."""
        run, flight.able = flight.run, self._able(flight.run)
        if not flight.able and self.workers:
            self._settle(flight, "refused", self._why_unable(run))
            return
        needs = _all_needs(run)
        order = Order(run, self.session, self.terms.device, self.terms.threads, SITTING, code_versions())
        everybody = set(flight.able) == set(self.workers)
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):  # networks are large
            flight.future = self.client.submit(
                sit,
                order,
                kept,
                needs,
                *map(self._answer_of, needs),
                key=self._key(run),
                priority=-flight.number,
                workers=None if everybody else list(flight.able),
                resources=self._resources(run),
                pure=False,
            )
        flight.future.add_done_callback(lambda future, run=run: self._news.put(("answer", run.id, future)))

    def _answer_of(self, run: Run) -> Future:
        """The task that makes `run`, or gives what the results folder has of it."""
        if run.id in self._flights:
            return self._flights[run.id].future
        if run.id not in self._made:
            with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):
                self._made[run.id] = self.client.submit(given, Kept.made(run, self.store), key=self._key(run), pure=False)
        return self._made[run.id]

    def _key(self, run: Run) -> str:
        """A name like no other: what an earlier sitting left behind is never taken for this one's."""
        return f"{run.method.replace(' ', '-')}-{run.id}-{uuid.uuid4().hex}"

    def _resources(self, run: Run) -> dict[str, float] | None:
        """What the run takes of that which workers declare (`dask worker --resources`)."""
        declared = {name for worker in self.workers.values() for name in worker.get("resources", {})}
        wanted = {"GPU": float(self.terms.device.startswith("cuda")), "MEMORY": self.bytes_of(run)}
        return {name: amount for name, amount in wanted.items() if amount and name in declared} or None

    def _able(self, run: Run) -> tuple[str, ...]:
        """The workers that may make `run`, as far as is known."""
        unable = self._unable[ALL].keys() | self._unable[run.fingerprint].keys()
        return tuple(
            address
            for address, worker in self.workers.items()
            if address not in unable and not 0 < (worker.get("memory_limit") or 0) < self.bytes_of(run)
        )

    def _why_unable(self, run: Run) -> str:
        """What the first of the workers that cannot make `run` said; or that they are too small."""
        for unable in (self._unable[ALL], self._unable[run.fingerprint]):
            for address in self.workers.keys() & unable.keys():
                return unable[address]
        return (
            f"{run}: expected a worker with {self.bytes_of(run) / 1e9:.1f} GB, got none; start one with "
            "dask worker --memory-limit."
        )

    # ------------------------------------------------------------ listening

    def _listen(self) -> None:
        """Wait a moment for news, and act on it."""
        with suppress(queues.Empty):
            news = self._news.get(timeout=_OFTEN)
            while True:
                self._hear(*news)
                news = self._news.get_nowait()
        if self.client.status != "running":
            self._connect_again()
        self.progress.tick()

    def _hear(self, what: str, name: str, value) -> None:
        flight = self._flights.get(name)
        if flight is None:
            return
        if what == "part":
            self.progress.report(flight.run, *value)
        elif flight.future is value:
            self._hear_answer(flight, value)

    def _hear_answer(self, flight: _Flight, future: Future) -> None:
        if future.status == "cancelled":
            self._connect_again()
            return
        try:
            answer = future.result(timeout=_AGAIN)
        except KilledWorker as error:
            self._settle(flight, "stopped")
            self.died_of(flight.run, error.allowed_failures + 1, "killed, as where memory runs out")
        except TimeoutError:  # its worker went while it was to be fetched
            self._settle(flight, "stopped")
        else:
            self._act_on(flight, answer)

    def _act_on(self, flight: _Flight, answer: Answer) -> None:
        try:
            answer.kept.put(flight.run, self.store)
        except InputError as error:
            self._settle(flight, "refused", str(error))
            return
        if answer.what == "stopped" and not self.deadline.passed:
            self._sit(flight, answer.kept)
        elif answer.what == "unable":
            self._unable[answer.subject][answer.worker] = answer.sentence
            self.say(f"{answer.worker} is left out: {answer.sentence}")
            if len(self._unable[ALL].keys() & self.workers.keys()) == len(self.workers) > 0:
                raise InputError(answer.sentence)
            self._sit(flight, Kept.begun(flight.run, self.store))
        elif answer.what in ("made", "diverged", "refused"):
            if answer.what == "made":
                self._made[flight.run.id] = flight.future
            self._settle(flight, answer.what, *filter(None, (answer.sentence,)))
        else:  # a lost answer was made anew, and its sitting ended before the run: here is its record
            for needed in _all_needs(flight.run):
                self._made.pop(needed.id, None)
            self._settle(flight, "stopped")

    def _settle(self, flight: _Flight, what: str, *values: str) -> None:
        """A run is not under way any more; `what` became of it, as in `Sharing.settle`."""
        del self._flights[flight.run.id]
        flight.lock.close()
        if flight.run.id in self.queue.waiting:
            self.settle(flight.run, what, *values)
        else:  # it was given up with what it needs
            self.progress.end(flight.run)
        wanted = {needed.id for run in self.queue.waiting.values() for needed in _all_needs(run)}
        self._made = {name: future for name, future in self._made.items() if name in wanted}

    def _look_around(self) -> None:
        """Now and then: who is there, what others have made, and whether a sitting waits for workers that went."""
        if time.monotonic() - self._looked < _PATIENCE:
            return
        self._looked = time.monotonic()
        self.queue.look_again()
        with suppress(OSError, TimeoutError):
            info = self.client.sync(self.client.scheduler.identity, n_workers=-1, callback_timeout=_ANSWER)
            self.workers = dict(info["workers"])
        if not self.workers and not self._alone:
            self.say(f"Waiting for workers at {self.client.scheduler.address}.")
        self._alone = not self.workers
        for flight in list(self._flights.values()):
            if self.workers and not set(flight.able) & self.workers.keys():
                flight.future.cancel()
                self._sit(flight, Kept.begun(flight.run, self.store))

    # ------------------------------------------------------------ the connection

    def _connect(self, patience: float) -> None:
        """Have a client under a new session's name. Raises `InputError` when there is no scheduler after `patience` seconds."""
        quiet()
        try:
            self.client = opened(self.where, patience)
        except (OSError, ValueError, TypeError, ImportError, RuntimeError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(
                f"scheduler: expected one at {self.where} within {patience:.0f} s, got none ({reason}); start "
                "it with dask scheduler and name it as tcp://host:8786."
            ) from error
        self.session = f"dclib-{uuid.uuid4().hex}"
        self.client.subscribe_topic(self.session, self._hear_event)
        self._looked = -math.inf

    def _hear_event(self, event: tuple) -> None:
        name, *part = event[1]
        self._news.put(("part", name, part))

    def _connect_again(self) -> None:
        """The scheduler was lost, and with it all that was handed out: wait for it, and let everything be handed out anew."""
        left, waited = self.session, time.monotonic()
        self.say("The connection to the scheduler was lost; waiting for it.")
        for flight in list(self._flights.values()):
            self._settle(flight, "stopped")
        self._made.clear()
        self._unable.clear()
        self._close()
        while not self.deadline.passed:
            try:
                self._connect(min(_ANSWER, _AGAIN))
            except InputError:
                if time.monotonic() - waited > _AGAIN:
                    raise
            else:
                self._tell_to_stop(left)  # what the cut left at work
                return

    def _stop(self) -> None:
        """Ask for checkpoints, once."""
        if self._stopped == math.inf:
            self._stopped = time.monotonic()
            if self._flights:
                self._tell_to_stop(self.session)
        self._look_around()

    def _tell_to_stop(self, session: str) -> None:
        """Tell all workers; in a thread, for one that does not answer would keep the others waiting."""

        def tell(client: Client) -> None:
            with suppress(Exception):  # without a scheduler, sittings end by themselves
                client.run(stop, session, on_error="ignore")

        threading.Thread(target=tell, args=(self.client,), daemon=True).start()

    def _leave(self) -> None:
        for flight in list(self._flights.values()):
            with suppress(Exception):
                flight.future.cancel()
            self._settle(flight, "stopped")
        self._made.clear()
        self._close()

    def _close(self) -> None:
        with suppress(OSError, TimeoutError):
            self.client.close(timeout=_ANSWER)


def _all_needs(run: Run) -> list[Run]:
    """All that `run` is made from, also indirectly, each once."""
    found: dict[str, Run] = {}
    for needed in run.needs:
        found |= {other.id: other for other in (*_all_needs(needed), needed)}
    return list(found.values())
