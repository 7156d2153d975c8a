"""A queue of runs, made one after another; it can be stopped at any moment and shared by several processes."""

import re
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec

import torch

from dclib.errors import InputError
from dclib.execution.deadlines import Deadline
from dclib.execution.environment import check_device, commit, free_bytes
from dclib.execution.forecast import Forecast
from dclib.execution.obtaining import BusyError, found, obtain
from dclib.execution.progress import Progress, Silent, line_about
from dclib.execution.queueing import Queue
from dclib.execution.sharing import Sharing, Terms
from dclib.execution.workers import Pool
from dclib.experiments import Run
from dclib.results import Store, published
from dclib.training import Diverged, OutOfTime, distributed

#: Seconds between two looks for what other processes are making.
_PATIENCE = 2.0


@dataclass(frozen=True)
class Swept:
    """How a sweep ended: runs found or made, runs left, and whether the time budget ended it."""

    done: int
    left: int
    out_of_time: bool


def say_at_once(line: str) -> None:
    """Print a line so that whoever watches the log sees it now."""
    print(line, flush=True)


def sweep(
    runs: Sequence[Run],
    store: Store,
    *,
    device: str = "cpu",
    time_budget: float | None = None,
    recompute: bool = False,
    progress: bool = True,
    jobs: int = 1,
    threads: int | None = None,
    nice: int | None = None,
    gentle: bool = False,
    scheduler: str | None = None,
    say: Callable[[str], None] = say_at_once,
) -> Swept:
    """Make every run of `runs` that has no record yet, the most valuable ones first, each after what it needs.

    A run that another process is making, in this sweep or another one that shares the folder, is left to it, and others
    are made meanwhile.

    Args:
        time_budget: seconds; the runs under way then write their checkpoints and the sweep ends.
        recompute: make runs again although they have records.
        progress: show one line about all of it.
        jobs: how many runs are made at once, each in a process of its own where there are several. Small networks leave
            a GPU idle and several cores waiting for each other. A process that is killed costs its run alone, which is
            taken up again from its checkpoint.
        threads: cores of each job; one where there are several jobs, all where there is one.
        nice: how far jobs stand back behind other processes, 0 to 19; 10 where there are several jobs.
        scheduler: the address of a scheduler of dask.distributed, whose workers then make the runs; `device` may be "" for
            each worker's own choice.
        gentle: a first Ctrl-C or SIGTERM ends the sweep with checkpoints, only a second one at once.

    Killed at any moment, the same call goes on: finished runs are found, the others resume from their checkpoints.

    Raises:
        InputError: at once, for bad input; at the end, where trainings diverged or processes died of a run: these are
            said, and left out with what needs them.
        KeyboardInterrupt: after Ctrl-C, or with the number of the signal after another one.
    """
    if scheduler is None:
        check_device(device)
    commit()  # read now: the checkout may change while the sweep runs
    _check(jobs, threads, nice, recompute, scheduler)
    # Under torchrun as process 0 sees it, so that all have the same queue.
    queue = Queue(runs, lambda run: bool(distributed.agreed(found(run, store) is not None)), again=recompute)
    shared = jobs > 1 or scheduler is not None
    known = [*store.readable(), *published().readable()] if queue.waiting and (progress or shared) else []
    forecast = Forecast(known, device or "cpu")
    line = (Progress if progress else Silent)(queue, forecast, jobs)
    deadline = Deadline(time_budget)

    def speak(text: str) -> None:
        line.clear()
        say(text)

    with deadline.brought_forward_by_signals() if gentle and distributed.world_size() == 1 else nullcontext():
        if not shared:
            ended = _alone(queue, store, device, deadline, line, speak, threads)
        else:
            terms = Terms(store.folder, device, threads or 1, 10 if nice is None else nice)
            ended = _share(queue, deadline, line, speak, terms, scheduler)
    line.clear()
    if deadline.ended_by is not None:
        raise KeyboardInterrupt(deadline.ended_by)
    return ended


def _check(jobs: int, threads: int | None, nice: int | None, recompute: bool, scheduler: str | None) -> None:
    if jobs < 1:
        raise InputError(f"jobs: expected one process or more, got {jobs}.")
    if threads is not None and threads < 1:
        raise InputError(f"threads: expected one for each job or more, got {threads}.")
    if nice is not None and not 0 <= nice <= 19:
        raise InputError(f"nice: expected 0 (as others) to 19 (behind all others), got {nice}.")
    if recompute and jobs > 1:
        raise InputError(f"jobs: expected one process with recompute, got {jobs}.")
    if scheduler is None:
        return
    if jobs > 1 or recompute or distributed.world_size() > 1:
        got = f"jobs {jobs}" if jobs > 1 else "recompute" if recompute else "torchrun"
        raise InputError(
            f"scheduler: expected it without jobs, recompute or torchrun, got {got} too; leave one of them out."
        )
    if not _has_cluster():
        raise InputError(
            "scheduler: expected dask.distributed, got an installation without it; install it with pip install "
            "'dclib[cluster]'."
        )


def _alone(
    queue: Queue,
    store: Store,
    device: str,
    deadline: Deadline,
    line: Progress,
    say: Callable[[str], None],
    threads: int | None,
) -> Swept:
    """Make the runs in this process, one after another."""
    if threads is not None:
        torch.set_num_threads(threads)
    diverged = 0
    until = deadline if distributed.world_size() == 1 or deadline.ends else None
    while queue.waiting:
        run = queue.take()
        if run is None:
            if deadline.passed:
                break
            time.sleep(_PATIENCE)
            queue.look_again()
            continue
        line.begin(run)
        try:
            record = obtain(
                run,
                store,
                device=device,
                recompute=run.id in queue.again,
                deadline=until,
                report=lambda *values, run=run: line.report(run, *values),
            )
        except BusyError:
            queue.leave_to_others(run)
        except Diverged as error:
            queue.fail(run)
            diverged += 1
            say(f"{run}: {error}")
        except OutOfTime:
            break
        else:
            queue.finish(run)
            say(line_about(run, record))
        finally:
            line.end(run)
    if diverged and not queue.waiting:
        raise InputError(_DIVERGED.format(diverged))
    return Swept(queue.done, queue.left, queue.left > 0)


_DIVERGED = (
    "sweep: expected every training to converge, got {} that did not, which have no record; choose lower learning "
    "rates for them."
)


def _has_cluster() -> bool:
    """Whether the extra `cluster` is installed."""
    return find_spec("distributed") is not None


def _share(
    queue: Queue, deadline: Deadline, line: Progress, say: Callable[[str], None], terms: Terms, scheduler: str | None
) -> Swept:
    """Let several processes make the runs: a cluster's, or without dask.distributed our own."""
    jobs, bytes_of = line.jobs, line.forecast.bytes
    if queue.waiting and scheduler is None:
        _check_memory(queue, line.forecast, jobs, terms, say)
    if not queue.waiting or deadline.passed:
        return Swept(queue.done, queue.left, queue.left > 0)
    if not _has_cluster():
        return _ended(Pool(queue, jobs, terms, deadline, line, say))
    from dclib.execution.cluster import Cluster  # not installed everywhere
    from dclib.execution.schedulers import local_cluster

    if scheduler is not None:
        return _ended(Cluster(queue, scheduler, terms, deadline, line, say, bytes_of))
    with local_cluster(jobs, terms) as cluster:
        return _ended(Cluster(queue, cluster, terms, deadline, line, say, bytes_of))


def _ended(pool: Sharing) -> Swept:
    """Let a pool work, and say how that ended."""
    pool.work()
    queue = pool.queue
    if pool.problems and not queue.waiting:
        if pool.diverged == len(pool.problems):
            raise InputError(_DIVERGED.format(pool.diverged))
        more = f" ({len(pool.problems)} runs were given up)" if len(pool.problems) > 1 else ""
        raise InputError(pool.problems[0].removesuffix(".") + f"{more}.")
    return Swept(queue.done, queue.left, queue.left > 0)


def _check_memory(queue: Queue, forecast: Forecast, jobs: int, terms: Terms, say: Callable[[str], None]) -> None:
    """Say what the jobs will need; `InputError` if there is not as much."""
    each = max(map(forecast.bytes, queue.waiting.values()))
    free = free_bytes(terms.device)
    if free is not None and jobs * each > free and jobs > 1:
        most = max(1, int(free / each))
        raise InputError(
            f"jobs: expected at most {most}, since a job may need {each / 1e9:.1f} GB and {free / 1e9:.1f} GB "
            f"are free, got {jobs}; ask for fewer, or choose targets whose runs are smaller."
        )
    say(
        f"{jobs} jobs with {terms.threads} thread{'s' * (terms.threads > 1)} each, nice {terms.nice}; a job may need "
        f"{each / 1e9:.1f} GB" + (f" of {free / 1e9:.1f} GB that are free." if free is not None else ".")
    )


def parse_duration(text: str) -> float:
    """Seconds in "90", "90s", "9m" or "1.5h"."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if not match:
        raise InputError(f"time budget: expected a duration such as 90s, 9m or 1.5h, got {text!r}.")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
