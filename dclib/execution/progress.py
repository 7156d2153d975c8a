"""One line that says how far a sweep is: redrawn on a terminal, now and then in a log."""

import shutil
import sys
import time
from datetime import datetime, timedelta
from typing import TextIO

from dclib.execution.forecast import Forecast, duration
from dclib.execution.queueing import Queue
from dclib.experiments import Run
from dclib.results import Record

#: Seconds between two lines: on a terminal, and in a log.
_OFTEN, _SELDOM = 0.5, 60.0


class Progress:
    """Runs done and left, what is under way, and when the end is expected.

    The end is reckoned from the costs of like runs and from how fast those under way get on.

    Args:
        jobs: how many runs are made at once.
        stream: where the line goes; standard error when None.
    """

    def __init__(self, queue: Queue, forecast: Forecast, jobs: int = 1, stream: TextIO | None = None) -> None:
        self.queue, self.forecast, self.jobs = queue, forecast, jobs
        self.stream = stream or sys.stderr
        self.terminal = self.stream.isatty()
        self._under_way: dict[str, _UnderWay] = {}
        self._last, self._drawn = time.monotonic(), False

    def begin(self, run: Run) -> None:
        self._under_way[run.id] = _UnderWay(run)
        self.tick()

    def report(self, run: Run, done: int, total: int, note: str = "") -> None:
        """`done` of `total` parts of `run` are made."""
        self._under_way[run.id].report(done, total, note)
        self.tick()

    def end(self, run: Run) -> None:
        """`run` is not under way any more."""
        self._under_way.pop(run.id, None)

    def tick(self) -> None:
        """Write the line if it is time to."""
        if time.monotonic() - self._last < (_OFTEN if self.terminal else _SELDOM):
            return
        self._last = time.monotonic()
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            self.stream.write(f"\r\033[K{self.line()[:width]}")
            self._drawn = True
        else:
            self.stream.write(self.line() + "\n")
        self.stream.flush()

    def clear(self) -> None:
        """Take the line off the terminal, so that another can be printed there."""
        if self._drawn:
            self.stream.write("\r\033[K")
            self.stream.flush()
            self._drawn = False

    def line(self) -> str:
        """What is to be said now."""
        runs = len(self.queue.wanted)
        parts = [f"{self.queue.done} of {runs} runs"]
        if self._under_way:
            parts.append(", ".join(map(str, self._under_way.values())))
        seconds, unknown = self.left()
        if seconds:
            end = datetime.now() + timedelta(seconds=seconds)
            parts.append(f"about {duration(seconds)} left, until {end:{'%H:%M' if seconds < 43200 else '%a %H:%M'}}")
        if unknown:
            parts.append(f"{unknown} run{'s' * (unknown > 1)} of unknown length")
        return "; ".join(parts)

    def left(self) -> tuple[float, int]:
        """Seconds until the end, as far as is known, and how many runs nothing is known of."""
        known, unknown = [], 0
        for name, run in self.queue.waiting.items():
            expected = self.forecast.seconds(run)
            if name in self._under_way:
                expected = self._under_way[name].left(expected)
            known += [] if expected is None else [expected]
            unknown += expected is None
        return max(sum(known) / self.jobs, max(known, default=0.0)), unknown


class Silent(Progress):
    """No line at all."""

    def tick(self) -> None:
        pass


class _UnderWay:
    """A run under way. What a checkpoint holds was not made in the time that is measured."""

    def __init__(self, run: Run) -> None:
        self.run, self.note, self.share, self.first = run, "", 0.0, None
        self.since = time.monotonic()

    def report(self, done: int, total: int, note: str) -> None:
        self.share, self.note = done / max(total, done, 1), note
        if self.first is None:
            self.first, self.since = self.share, time.monotonic()

    def left(self, expected: float | None) -> float | None:
        """Seconds: by its own pace where that is known, else its share of what is expected."""
        if self.first is not None and self.share - self.first > 0.02:
            return (1 - self.share) * (time.monotonic() - self.since) / (self.share - self.first)
        return None if expected is None else (1 - self.share) * expected

    def __str__(self) -> str:
        condition = f" {self.run.distortion}" if self.run.distortion else ""
        return f"{self.run.method}{condition} {100 * self.share:.0f} %" + (f" {self.note}" if self.note else "")


def line_about(run: Run, record: Record) -> str:
    """What a log says of a run that was made."""
    return f"{run}: {_summary(record.outcome)}, {record.cost['seconds']:.0f} s, record {run.id}"


def _summary(outcome: dict) -> str:
    if isinstance(outcome.get("accuracy"), list):
        levels = " ".join(f"{a:.3f}" for a in outcome["accuracy"])
        return f"accuracy {levels}"
    if "separation" in outcome:
        levels = " ".join(f"{share:.3f}" for share in outcome["separation"])
        return f"{outcome['images']} images, near their own {levels}"
    clean = f", clean accuracy {outcome['clean_accuracy']:.3f}" if "clean_accuracy" in outcome else ""
    return f"{outcome['images']} images{clean}"
