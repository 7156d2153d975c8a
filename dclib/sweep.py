"""A queue of runs, made one after another; it can be stopped at any moment and shared by several processes."""

import multiprocessing
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue

import torch
from tqdm import tqdm

from dclib.environment import check_device, commit
from dclib.errors import InputError
from dclib.execution import BusyError, obtain
from dclib.results import Store
from dclib.runs import Run
from dclib.training import Diverged, OutOfTime


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
          recompute: bool = False, progress: bool = True, jobs: int = 1,
          say: Callable[[str], None] = say_at_once) -> Swept:
    """Make every run of `runs` that has no record yet, in order, skipping what another process is making.

    Args:
        time_budget: seconds; the training under way then writes its checkpoint and the sweep ends.
        recompute: make runs again although they have records.
        progress: show a bar per training.
        jobs: processes that share the runs, and the processor cores. Small networks leave a GPU idle and two cores
            waiting for each other.

    Killed at any moment, the same call goes on: finished runs are found, a training resumes from its checkpoint.

    Raises:
        InputError: at once, for bad input; at the end, where trainings diverged: they are said, and left out with what
            needs them.
    """
    check_device(device)
    commit()  # read now: the checkout may change while the sweep runs
    if jobs > 1:
        return _share(runs, store, device, time_budget, recompute, jobs)
    deadline = None if time_budget is None else time.monotonic() + time_budget
    waiting, done, diverged = list(runs), 0, set()
    while waiting:
        busy: list[Run] = []
        for position, run in enumerate(waiting):
            chain = _chain(run)
            if not diverged.isdisjoint(chain):
                continue
            try:
                made = recompute or store.get(run) is None
                with _Bar(run, progress and made) as bar:
                    for current in chain if made else (run,):
                        record = obtain(current, store, device=device, recompute=recompute and current is run,
                                        deadline=deadline, report=bar.report)
                if made:
                    say(f"{run}: {_summary(record.outcome)}, {record.cost['seconds']:.0f} s, record {run.id}")
                done += 1
            except BusyError:
                busy.append(run)
            except Diverged as error:
                diverged.add(current)
                say(f"{current}: {error}")
            except OutOfTime:
                return Swept(done, len(busy) + len(waiting) - position, True)
        if len(busy) == len(waiting):
            if deadline is not None and time.monotonic() > deadline:
                return Swept(done, len(busy), True)
            time.sleep(2)
        waiting = busy
    if diverged:
        raise InputError(f"sweep: expected every training to converge, got {len(diverged)} that did not, which have no "
                         "record; choose lower learning rates for them.")
    return Swept(done, 0, False)


def _share(runs: Sequence[Run], store: Store, device: str, time_budget: float | None, recompute: bool,
           jobs: int) -> Swept:
    """Let `jobs` processes sweep the same queue; the locks of the runs keep them apart."""
    if recompute:
        raise InputError("jobs: expected one process with recompute, for several would each make every run again.")
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // jobs)
    problems = context.SimpleQueue()
    workers = [context.Process(target=_work, args=(list(runs), store.folder, device, time_budget, threads, problems))
               for _ in range(jobs)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if not problems.empty():
        raise InputError(problems.get())
    left = sum(store.get(run) is None for run in runs)
    if left and time_budget is None:
        raise InputError(f"jobs: expected every process to end well, got {left} runs without a record; the same command "
                         "goes on.")
    return Swept(len(runs) - left, left, left > 0)


def _work(runs: list[Run], folder: os.PathLike, device: str, time_budget: float | None, threads: int,
          problems: SimpleQueue) -> None:
    torch.set_num_threads(threads)
    try:
        sweep(runs, Store(folder), device=device, time_budget=time_budget, progress=False)
    except InputError as error:
        problems.put(str(error))
    except KeyboardInterrupt:
        pass  # the process that waits for this one was interrupted too, and says so


def _chain(run: Run) -> tuple[Run, ...]:
    """All that `run` needs, in the order in which it can be made, and itself."""
    return (*dict.fromkeys(needed for direct in run.needs for needed in _chain(direct)), run)


def parse_duration(text: str) -> float:
    """Seconds in "90", "90s", "9m" or "1.5h"."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if not match:
        raise InputError(f"time budget: expected a duration such as 90s, 9m or 1.5h, got {text!r}.")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


class _Bar:
    """A progress bar for one training; nothing at all where `shown` is false or the run needs no training."""

    def __init__(self, run: Run, shown: bool) -> None:
        self.run, self.shown, self.bar = run, shown, None

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_) -> None:
        if self.bar is not None:
            self.bar.close()

    def report(self, iteration: int, loss: float) -> None:
        if not self.shown:
            return
        if self.bar is None or iteration < self.bar.n:
            self.__exit__()
            self.bar = tqdm(desc=str(self.run), unit="it", leave=False, initial=iteration, dynamic_ncols=True,
                            total=self.run.schedule.iterations if self.run.schedule else None)
        self.bar.update(iteration - self.bar.n)
        self.bar.set_postfix(loss=f"{loss:.3f}", refresh=False)


def _summary(outcome: dict) -> str:
    if isinstance(outcome.get("accuracy"), list):
        levels = " ".join(f"{a:.3f}" for a in outcome["accuracy"])
        return f"accuracy {levels}"
    if "separation" in outcome:
        levels = " ".join(f"{share:.3f}" for share in outcome["separation"])
        return f"{outcome['images']} images, near their own {levels}"
    return f"{outcome['images']} images, clean accuracy {outcome['clean_accuracy']:.3f}"
