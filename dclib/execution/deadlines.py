"""When to stop: a moment that comes with the time budget, or as soon as somebody asks."""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

#: What asks a sweep to end: the keyboard's Ctrl-C, and what batch systems, containers and `kill` send before they kill.
ENDING = (signal.SIGINT, signal.SIGTERM)


class Deadline:
    """A moment on the clock of `time.monotonic()`, and like a number compared with it: ``time.monotonic() > deadline``.

    Args:
        budget: seconds from now; None where there is no end.
    """

    def __init__(self, budget: float | None = None) -> None:
        self._at = float("inf") if budget is None else time.monotonic() + budget
        self.ended_by: signal.Signals | None = None

    def __lt__(self, moment: float) -> bool:
        return self._at < moment

    @property
    def ends(self) -> bool:
        """Whether there is an end at all."""
        return self._at != float("inf")

    @property
    def passed(self) -> bool:
        return time.monotonic() > self

    def bring_forward(self) -> None:
        """Let it have passed: whatever is under way writes its checkpoint after the step that it is in."""
        self._at = float("-inf")

    @contextmanager
    def brought_forward_by_signals(self) -> Iterator[None]:
        """During the block a first signal of `ENDING` brings the deadline forward; a second one interrupts as Ctrl-C does."""

        def end(number: int, _) -> None:
            if self.ended_by is not None:
                raise KeyboardInterrupt(number)
            self.ended_by = signal.Signals(number)
            self.bring_forward()
            print("\ndclib: stopping with a checkpoint; once more stops at once.", file=sys.stderr, flush=True)

        if threading.current_thread() is not threading.main_thread():  # where no signal arrives
            yield
            return
        before = {number: signal.signal(number, end) for number in ENDING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
