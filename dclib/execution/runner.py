"""A queue of runs, made one after another; it can be stopped at any moment and shared by several processes."""

import re
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from dclib.errors import InputError
from dclib.execution.deadlines import Deadline
from dclib.execution.environment import check_device, commit, free_bytes
from dclib.execution.forecast import Forecast
from dclib.execution.obtaining import BusyError, found, obtain
from dclib.execution.progress import Progress, Silent, line_about
from dclib.execution.queueing import Queue
from dclib.execution.workers import Pool, Terms
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


def sweep(runs: Sequence[Run], store: Store, *, device: str = "cpu", time_budget: float | None = None,
          recompute: bool = False, progress: bool = True, jobs: int = 1, threads: int | None = None, nice: int | None = None,
          gentle: bool = False, say: Callable[[str], None] = say_at_once) -> Swept:
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
        gentle: a first Ctrl-C ends the sweep with checkpoints, only a second one at once.

    Killed at any moment, the same call goes on: finished runs are found, the others resume from their checkpoints.

    Raises:
        InputError: at once, for bad input; at the end, where trainings diverged or processes died of a run: these are
            said, and left out with what needs them.
        KeyboardInterrupt: after Ctrl-C.
    """
    check_device(device)
    commit()  # read now: the checkout may change while the sweep runs
    _check(jobs, threads, nice, recompute)
    # Under torchrun as process 0 sees it, so that all have the same queue.
    queue = Queue(runs, lambda run: bool(distributed.agreed(found(run, store) is not None)), again=recompute)
    known = [*store.readable(), *published().readable()] if queue.waiting and (progress or jobs > 1) else []
    forecast = Forecast(known, device)
    line = (Progress if progress else Silent)(queue, forecast, jobs)
    deadline = Deadline(time_budget)

    def speak(text: str) -> None:
        line.clear()
        say(text)

    with deadline.brought_forward_by_interrupt() if gentle and distributed.count() == 1 else nullcontext():
        if jobs == 1:
            ended = _alone(queue, store, device, deadline, line, speak, threads)
        else:
            ended = _share(queue, store, device, deadline, line, speak, Terms(store.folder, device, threads or 1,
                                                                              10 if nice is None else nice))
    line.clear()
    if deadline.interrupted:
        raise KeyboardInterrupt
    return ended


def _check(jobs: int, threads: int | None, nice: int | None, recompute: bool) -> None:
    if jobs < 1:
        raise InputError(f"jobs: expected one process or more, got {jobs}.")
    if threads is not None and threads < 1:
        raise InputError(f"threads: expected one for each job or more, got {threads}.")
    if nice is not None and not 0 <= nice <= 19:
        raise InputError(f"nice: expected 0 (as others) to 19 (behind all others), got {nice}.")
    if recompute and jobs > 1:
        raise InputError(f"jobs: expected one process with recompute, got {jobs}.")


def _alone(queue: Queue, store: Store, device: str, deadline: Deadline, line: Progress, say: Callable[[str], None],
           threads: int | None) -> Swept:
    """Make the runs in this process, one after another."""
    if threads is not None:
        torch.set_num_threads(threads)
    diverged = 0
    until = deadline if distributed.count() == 1 or deadline.ends else None
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
            record = obtain(run, store, device=device, recompute=run.id in queue.again, deadline=until,
                            report=lambda *values, run=run: line.report(run, *values))
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


_DIVERGED = ("sweep: expected every training to converge, got {} that did not, which have no record; choose lower learning "
             "rates for them.")


def _share(queue: Queue, store: Store, device: str, deadline: Deadline, line: Progress, say: Callable[[str], None],
           terms: Terms) -> Swept:
    """Let several processes make the runs."""
    jobs = line.jobs
    if queue.waiting:
        _check_memory(queue, line.forecast, jobs, terms, say)
    pool = Pool(queue, jobs, terms, deadline, line, say)
    pool.work()
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
        raise InputError(f"jobs: expected at most {most}, since a job may need {each / 1e9:.1f} GB and {free / 1e9:.1f} GB "
                         f"are free, got {jobs}; ask for fewer, or choose targets whose runs are smaller.")
    say(f"{jobs} jobs with {terms.threads} thread{'s' * (terms.threads > 1)} each, nice {terms.nice}; a job may need "
        f"{each / 1e9:.1f} GB" + (f" of {free / 1e9:.1f} GB that are free." if free is not None else "."))


def parse_duration(text: str) -> float:
    """Seconds in "90", "90s", "9m" or "1.5h"."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if not match:
        raise InputError(f"time budget: expected a duration such as 90s, 9m or 1.5h, got {text!r}.")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
