"""When to stop: a moment that comes with the time budget, or as soon as somebody asks."""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Deadline:
    """A moment on the clock of `time.monotonic()`, and like a number compared with it: ``time.monotonic() > deadline``.

    Args:
        budget: seconds from now; None where there is no end.
    """

    def __init__(self, budget: float | None = None) -> None:
        self._at = float("inf") if budget is None else time.monotonic() + budget
        self.interrupted = False

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
    def brought_forward_by_interrupt(self) -> Iterator[None]:
        """During the block a first Ctrl-C brings the deadline forward; a second one interrupts as ever."""

        def interrupt(*_) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True
            self.bring_forward()
            print("\ndclib: stopping with a checkpoint; once more stops at once.", file=sys.stderr, flush=True)

        if threading.current_thread() is not threading.main_thread():  # where no signal arrives
            yield
            return
        before = signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
