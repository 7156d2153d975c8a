"""What all ways to share runs out have in common: what becomes of a run, and when enough went wrong."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from dclib.errors import InputError
from dclib.execution.deadlines import Deadline
from dclib.execution.progress import Progress, line_about
from dclib.execution.queueing import Queue
from dclib.experiments import Run
from dclib.results import Store

#: A run is given up when so many workers died of it, and the sweep when so many did before they could do anything.
DEATHS = 3
#: The sweep ends when so many runs in a row were refused: what is wrong is not with the runs.
REFUSALS = 3


@dataclass(frozen=True)
class Terms:
    """Where and how workers make runs: results folder, device, threads of each, and how nice they are to others.

    `device` is "" where each worker takes its own: the graphics card that it has, else the processor.
    """

    folder: os.PathLike
    device: str
    threads: int = 1
    nice: int = 10


class Sharing:
    """Runs of a queue that are made elsewhere, and what came of them.

    Args:
        say: called with a line for every run that was made or given up.
    """

    def __init__(
        self, queue: Queue, terms: Terms, deadline: Deadline, progress: Progress, say: Callable[[str], None]
    ) -> None:
        self.queue, self.terms, self.deadline = queue, terms, deadline
        self.progress, self.say = progress, say
        self.store = Store(terms.folder)
        self.problems: list[str] = []
        self.diverged = 0
        self._deaths: Counter[str] = Counter()
        self._refused = 0

    def work(self) -> None:
        """Until no run is left, or past the deadline; `problems` are then the sentences about runs that were given up."""
        raise NotImplementedError

    def settle(self, run: Run, what: str, *values: str) -> None:
        """`run` is not under way any more: "made", "busy", "stopped", "diverged" or "refused", the last two with a sentence."""
        self.progress.end(run)
        if what == "made":
            self._refused = 0
            self.queue.finish(run)
            self.say(line_about(run, self.store.get(run)))
        elif what == "busy":
            self.queue.leave_to_others(run)
        elif what == "stopped":
            self.queue.give_back(run)
        elif what == "diverged":
            self.give_up(run, *values)
            self.diverged += 1
        else:
            self.give_up(run, *values)
            self._refused += 1
            if self._refused == REFUSALS:
                raise InputError(*values)

    def give_up(self, run: Run, sentence: str) -> None:
        self.problems.append(sentence)
        self.queue.fail(run)
        self.say(sentence)

    def died_of(self, run: Run, deaths: int, ending: str) -> None:
        """So many more workers died while they made `run`, which waits again; it is given up after `DEATHS`."""
        self._deaths[run.id] += deaths
        if self._deaths[run.id] >= DEATHS:
            self.give_up(
                run,
                f"{run}: expected to be made, got {self._deaths[run.id]} processes that died of it ({ending}); "
                "make it alone with --jobs 1.",
            )
