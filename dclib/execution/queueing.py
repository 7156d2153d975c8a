"""Which run to make next: in the order of their value, none before what it needs. Nothing is made here."""

from collections.abc import Callable, Iterable

from dclib.experiments import Run


class Queue:
    """Runs that have no record yet, and what they need.

    Args:
        runs: in the order of their value.
        made: whether a run has its record.
        again: make `runs` even if they have one; what they need is not made again.
    """

    def __init__(self, runs: Iterable[Run], made: Callable[[Run], bool], *, again: bool = False) -> None:
        self.wanted = {run.id: run for run in runs}
        self.again = frozenset(self.wanted) if again else frozenset()
        self.made = made
        self.waiting: dict[str, Run] = {}
        self.failed: dict[str, Run] = {}
        self._taken: set[str] = set()
        self._elsewhere: set[str] = set()
        for run in self.wanted.values():
            self._add(run)

    def _add(self, run: Run) -> None:
        if run.id in self.waiting or (run.id not in self.again and self.made(run)):
            return
        for needed in run.needs:
            self._add(needed)
        self.waiting[run.id] = run

    def take(self, *, ahead: bool = False) -> Run | None:
        """The next run whose needs are all there, or `ahead` of it also under way; None where each waits for another."""
        for name, run in list(self.waiting.items()):
            missing = {needed.id for needed in run.needs if needed.id in self.waiting}
            if name in self._taken or name in self._elsewhere or missing - (self._taken if ahead else set()):
                continue
            if name not in self.again and self.made(run):  # by somebody else, meanwhile
                self.finish(run)
                continue
            self._taken.add(name)
            return run
        return None

    def finish(self, run: Run) -> None:
        """`run` has its record."""
        del self.waiting[run.id]
        self._taken.discard(run.id)

    def give_back(self, run: Run) -> None:
        """`run` was not finished, and is to be taken again."""
        self._taken.discard(run.id)

    def leave_to_others(self, run: Run) -> None:
        """A process that has nothing to do with this queue is making `run`: take others until `look_again`."""
        self.give_back(run)
        self._elsewhere.add(run.id)

    def look_again(self) -> None:
        """Take what others were making when it has no record yet; forget it when it has one."""
        for name in self._elsewhere:
            if self.made(self.waiting[name]):
                self.finish(self.waiting[name])
        self._elsewhere.clear()

    def fail(self, run: Run) -> None:
        """`run` cannot be made, and so nothing that needs it."""
        self.finish(run)
        self.failed[run.id] = run
        for other in [other for other in self.waiting.values() if any(n.id == run.id for n in other.needs)]:
            if other.id in self.waiting:
                self.fail(other)

    @property
    def taken(self) -> list[Run]:
        """The runs under way."""
        return [self.waiting[name] for name in self.waiting if name in self._taken]

    @property
    def left(self) -> int:
        """How many of the wanted runs have no record yet and may still get one."""
        return sum(name in self.waiting for name in self.wanted)

    @property
    def done(self) -> int:
        """How many of the wanted runs have a record."""
        return sum(name not in self.waiting and name not in self.failed for name in self.wanted)
