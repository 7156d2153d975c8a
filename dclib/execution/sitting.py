"""One sitting at a run, on a machine that shares no folder with anybody: all that it needs comes as bytes, and so does
what came of it.

A worker of the cluster calls `sit`. It makes a results folder for the time of the sitting, puts there what it was given,
goes on with the run by the very code that one process uses, and answers with the record or, when the sitting ends
before the run does, with the checkpoint. So there is nothing on a worker that could be lost with it.
"""

import hashlib
import platform
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

import dclib
from dclib.errors import InputError
from dclib.execution.checkpoint import Report
from dclib.execution.deadlines import Deadline
from dclib.execution.environment import check_device
from dclib.execution.inputs import collection_for, data_for
from dclib.execution.obtaining import check_same_network, obtain
from dclib.experiments import Run
from dclib.files import write_whole
from dclib.results import Record, Store
from dclib.training import Diverged, OutOfTime

#: Seconds that a sitting lasts: what is lost with a worker at most.
SITTING = 300.0
#: Seconds between two messages on how far a run is.
_OFTEN = 2.0
#: What a worker may be unable for: everything; a `Run.fingerprint` names the data that it lacks.
ALL = "all"


@dataclass(frozen=True)
class Kept:
    """What there is of a run, each a file's content: of a run that is made its record and network, else its checkpoint."""

    record: bytes | None = None
    weights: bytes | None = None
    checkpoint: bytes | None = None

    @classmethod
    def made(cls, run: Run, store: Store) -> "Kept":
        """What `store` has of a run that is made; its network may be a published one."""
        return cls(_content(store.path(run)), _content(store.weights(run)))

    @classmethod
    def begun(cls, run: Run, store: Store) -> "Kept":
        """What `store` has of a run that is to be made: a training that is being tested has a network already."""
        return cls(None, _content(store.own_weights(run)), _content(store.checkpoint(run)))

    def put(self, run: Run, store: Store) -> None:
        """Write it to `store`, the record last and after it is checked, which is when the checkpoint goes.

        Raises `InputError` for a damaged record, and for a baseline of which `store` knows another network.
        """
        record = None if self.record is None else Record.from_json(self.record.decode(), f"record of {run}")
        if record is not None:
            check_same_network(run, record, store)
        for path, content in ((store.own_weights(run), self.weights), (store.checkpoint(run), self.checkpoint)):
            if content is not None:
                write_whole(path, content)
        if record is not None:
            store.put(record)
            store.checkpoint(run).unlink(missing_ok=True)


@dataclass(frozen=True)
class Order:
    """What is to be made and how.

    Args:
        session: the client's name for all of its orders, which `stop` ends.
        device, threads: as in `Terms`.
        seconds: how long the sitting lasts at most, beside the step that is under way.
        code: the client's `code_versions`.
    """

    run: Run
    session: str
    device: str
    threads: int
    seconds: float
    code: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """What came of a sitting.

    what: "made"; "stopped", to go on; "diverged" or "refused" with a sentence; "wanting", since a run that it needs is not
        made yet; "unable", since this `worker` lacks what `subject` names.
    """

    what: str
    kept: Kept = Kept()
    sentence: str = ""
    worker: str = ""
    subject: str = ""


def given(kept: Kept) -> Answer:
    """What the client has of a run, in the place of a sitting that makes it."""
    return Answer("made", kept)


def sit(order: Order, kept: Kept, needs: Sequence[Run], *answers: Answer) -> Answer:
    """Go on with a run from what is `kept` of it.

    Args:
        needs: all that it is made from, also indirectly; `answers` to each of them, in the same order.
    """
    from distributed import get_worker

    worker = get_worker()
    if any(answer.what != "made" for answer in answers):
        return Answer("wanting")
    device = order.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if unable := _unable(order, device, worker.state.nthreads):
        subject, sentence = unable
        return Answer("unable", sentence=sentence, worker=worker.address, subject=subject)
    torch.set_num_threads(order.threads)
    with tempfile.TemporaryDirectory(prefix="dclib-", dir=worker.local_directory) as folder:
        store = Store(folder)
        for run, answer in zip(needs, answers, strict=True):
            answer.kept.put(run, store)
        kept.put(order.run, store)
        with _until_stopped(order) as deadline:
            return _make(order.run, store, device, deadline, _reporting(order, worker))


def _make(run: Run, store: Store, device: str, deadline: Deadline, report: Report) -> Answer:
    try:
        obtain(run, store, device=device, deadline=deadline, report=report)
    except Diverged as error:
        return Answer("diverged", sentence=str(error))
    except InputError as error:
        return Answer("refused", sentence=str(error))
    except OutOfTime:
        return Answer("stopped", Kept.begun(run, store))
    return Answer("made", Kept.made(run, store))


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


# ---------------------------------------------------------------- what a worker has to have


@lru_cache
def code_versions() -> dict[str, str]:
    """What has to be equal wherever records are to be equal: versions, and a digest of dclib's own sources.

    The builds of one torch for several kinds of hardware ("+cpu", "+cu128") are of one version.
    """
    package = Path(dclib.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package).as_posix()}\0".encode() + path.read_bytes())
    return {
        "dclib": dclib.__version__,
        "sources": digest.hexdigest()[:12],
        "torch": torch.__version__.partition("+")[0],
        "Python": ".".join(platform.python_version_tuple()[:2]),
    }


def _unable(order: Order, device: str, threads: int) -> tuple[str, str] | None:
    """What this worker lacks, with a sentence about it; None where it lacks nothing."""
    here = code_versions()
    if different := [name for name in order.code if here.get(name) != order.code[name]]:
        expected, got = (", ".join(f"{name} {versions.get(name)}" for name in different) for versions in (order.code, here))
        return ALL, f"worker: expected {expected} as where the command runs, got {got}; install the same on both."
    if threads != 1:
        return ALL, (
            f"worker: expected one that makes one run at a time, got {threads} threads; start it with "
            "dask worker --nthreads 1."
        )
    try:
        check_device(device)
    except InputError as error:
        return ALL, str(error)
    try:
        collection_for(order.run) if order.run.kind == "transfer" else data_for(order.run)
    except InputError as error:
        return order.run.fingerprint, str(error)
    return None


# ---------------------------------------------------------------- the way to the client and back

_sessions_lock = threading.Lock()
_stopped: set[str] = set()
_deadlines: dict[str, set[Deadline]] = defaultdict(set)


def stop(session: str) -> None:
    """End all sittings of a session with a checkpoint, those that are under way and those to come; called in a worker."""
    with _sessions_lock:
        _stopped.add(session)
        for deadline in _deadlines[session]:
            deadline.bring_forward()


@contextmanager
def _until_stopped(order: Order):
    """The deadline of a sitting, which `stop` brings forward."""
    deadline = Deadline(0.0 if order.session in _stopped else order.seconds)
    with _sessions_lock:
        _deadlines[order.session].add(deadline)
    if order.session in _stopped:
        deadline.bring_forward()
    try:
        yield deadline
    finally:
        with _sessions_lock:
            _deadlines[order.session].discard(deadline)


def _reporting(order: Order, worker) -> Callable[[int, int, str], None]:
    """Sends word of how far the run is, on the topic that is called like the session."""
    last = 0.0

    def report(done: int, total: int, note: str) -> None:
        nonlocal last
        if time.monotonic() - last > _OFTEN:
            last = time.monotonic()
            worker.log_event(order.session, [order.run.id, done, total, note])

    return report
