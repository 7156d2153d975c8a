"""What a claim comes to, and what kinds of claims share: the rule for a share that is asked for, a value in words."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dclib.statistics import Outcome


@dataclass(frozen=True)
class Finding:
    """What a claim comes to: our value, its interval, the outcome and why.

    spread: by how much our value may differ from the paper's number for the two to count as equal; None without a number.
    """

    ours: float | None
    interval: tuple[float, float] | None
    outcome: Outcome
    explanation: str  # one sentence without its full stop
    pvalues: Mapping[str, float | list[float]] = field(default_factory=dict)
    spread: float | None = None


def at_least(ours: float, bounds: tuple[float, float] | None, spread: float, bound: float) -> Finding:
    """The rule for "most" and "a large part": a share above a bound, in direction if above half of it."""
    low = bounds[0] if bounds else ours - spread
    outcome = Outcome.HOLDS if low >= bound else Outcome.DIRECTION if low >= bound / 2 else Outcome.FAILS
    return Finding(ours, bounds, outcome, f"The share is {show(ours, bounds)}, {bound:g} is asked for")


def show(value: float, bounds: tuple[float, float] | None) -> str:
    """A value and its interval in words."""
    return f"{value:.4f} (no interval)" if bounds is None else f"{value:.4f} [{bounds[0]:.4f}, {bounds[1]:.4f}]"
