"""Making runs: each is found in the records, or made from what it needs, and recorded."""

from contextlib import AbstractContextManager

import torch
from filelock import FileLock, Timeout

from dclib.errors import InputError
from dclib.execution.checkpoint import Parts, Report
from dclib.execution.environment import environment, forget_peak, peak_bytes
from dclib.execution.inputs import gather, test_images
from dclib.execution.makers import MAKERS, help_with
from dclib.experiments import Run
from dclib.results import Record, Store
from dclib.training import distributed


def obtain(
    run: Run,
    store: Store,
    *,
    device: str = "cpu",
    recompute: bool = False,
    deadline: float | None = None,
    report: Report | None = None,
) -> Record:
    """The record of `run`: read if it is there, else made, with all that it needs, and written.

    Args:
        recompute: make this run again although its record is there (what it needs is still read).
        deadline: `time.monotonic()` at which the run writes its checkpoint and stops; under torchrun a training does.
        report: called with (parts done, parts in all, a few words) now and then.

    Raises:
        OutOfTime: at the deadline.
        InputError: another process is making this run; data, weights or records that cannot be used; a baseline that comes
            out as another network than its record is of.
    """
    record = None if recompute else found(run, store)
    if distributed.agreed(record is not None):
        return record or store.get(run)
    for needed in run.needs:
        obtain(needed, store, device=device, deadline=deadline, report=report)
    if distributed.rank() > 0:
        return _help(run, store, torch.device(device), deadline)
    with claim(run, store):
        record = None if recompute else found(run, store)  # another process may have made it since
        if not distributed.agreed(record is not None):
            record = _made(run, store, device, deadline, report, recompute)
    distributed.agreed(None)  # let the others go on, who find the record
    return record


def _made(run: Run, store: Store, device: str, deadline: float | None, report: Report | None, recompute: bool) -> Record:
    """Gather what the run needs, make it, and write its record."""
    if distributed.world_size() > 1 and run.kind != "train":
        deadline = None  # the other processes wait for the record
    forget_peak(device)
    outcome, cost = make(run, store, device, deadline, report)
    if (peak := peak_bytes(device)) is not None:
        cost["peak_bytes"] = peak
    record = Record(run.description, outcome, cost, environment(device))
    if not recompute:
        check_same_network(run, record, store)
    store.put(record)
    store.checkpoint(run).unlink(missing_ok=True)
    return record


def check_same_network(run: Run, record: Record, store: Store) -> None:
    """`InputError` where `record` is of a baseline that was made again and answers otherwise than the recorded one.

    Comparisons by image are between runs that start from one network. The other one's weights are removed.
    """
    if run.kind != "train" or run.base is not None:
        return
    earlier = store.get(run)
    if earlier is None or earlier.outcome["correct"] == record.outcome["correct"]:
        return
    store.own_weights(run).unlink(missing_ok=True)
    store.checkpoint(run).unlink(missing_ok=True)
    raise InputError(
        f"{run}: expected the network of its record, with accuracy {earlier.accuracy[0]:.3f}, got another one, with accuracy "
        f"{record.accuracy[0]:.3f}, as on a processor that rounds otherwise; bring the network in with dclib results import, "
        "or make it and what starts from it again with --recompute."
    )


def make(
    run: Run, store: Store, device: str = "cpu", deadline: float | None = None, report: Report | None = None
) -> tuple[dict, dict]:
    """The outcome of `run` and what it took; what it needs has to be there. Its record is not written."""
    inputs = gather(run, store)
    with _parts(run, store, deadline, report) as parts:
        outcome = MAKERS[run.kind](run, inputs, torch.device(device), parts)
        cost = {"seconds": round(parts.seconds, 2)}
    if "seconds_per_image" in parts.facts:
        cost["seconds_per_image"] = {what: round(seconds, 6) for what, seconds in parts.facts["seconds_per_image"].items()}
    if run.restoration:
        restored = len(test_images(run, inputs.data)) * len(run.sigmas)
        cost["restoration_seconds_per_image"] = round(parts.facts["restoring"] / restored, 2)
    return outcome, cost


def _parts(run: Run, store: Store, deadline: float | None, report: Report | None) -> Parts:
    return Parts(run, store.checkpoint(run), store.own_weights(run), deadline=deadline, report=report)


def _help(run: Run, store: Store, device: torch.device, deadline: float | None) -> Record:
    """What the processes other than 0 do under torchrun: their share of a training, and wait for its record."""
    found = distributed.agreed(None)  # process 0 looks once more when the run is its own
    if run.kind == "train" and not found:
        help_with(run, gather(run, store), device, _parts(run, store, deadline, None))
    distributed.agreed(None)
    return store.get(run)


def found(run: Run, store: Store) -> Record | None:
    """The record of `run`; None also for a baseline without its network, which other runs start from."""
    record = store.get(run)
    usable = run.kind not in ("train", "import") or run.base or run.from_published or store.weights(run).exists()
    return record if usable else None


def claim(run: Run, store: Store) -> AbstractContextManager:
    """A lock that ends with its process, so that two sweeps share the work and a killed one leaves none behind."""
    path = store.checkpoint(run).with_suffix(".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise InputError(
            f"{store.folder}: expected a folder that can be written, got {error}; choose another with "
            "DCLIB_RESULTS or --results."
        ) from error
    try:
        return FileLock(path, fallback_to_soft=False).acquire(timeout=0)
    except Timeout as error:
        # Under torchrun the other processes of the group cannot be told to take another run.
        kind = BusyError if distributed.world_size() == 1 else InputError
        raise kind(
            f"{run}: expected to make it, got another process that is making it; wait for it or choose other runs."
        ) from error
    except (OSError, NotImplementedError) as error:
        raise InputError(
            f"{store.folder}: expected a file system with locks, which keep two processes from making one run, "
            f"got {error}; choose a folder on a disk of this machine with DCLIB_RESULTS or --results."
        ) from error


class BusyError(InputError):
    """Another process is making the same run."""
