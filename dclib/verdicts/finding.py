"""What a claim comes to, and the rules that kinds of claims share: for a difference, a share, a likeness, a number.

Each rule asks an `Estimate`: our value and the interval that decides. What an interval does not show is inconclusive, not
contradicted; dclib.verdicts.rule has the rule in words.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from dclib.verdicts.replication import POWER, power, smallest_effect


class Outcome(StrEnum):
    """The six verdicts on a claim. What was not shown is not contradicted: it is inconclusive."""

    HOLDS = "holds"
    DIRECTION = "holds in direction"
    CONTRADICTED = "contradicted"
    INCONCLUSIVE = "inconclusive"
    OPEN = "cannot be judged"
    NOT_RUN = "not run yet"


#: Verdicts of claims that no record judges.
WAITING = (Outcome.OPEN, Outcome.NOT_RUN)


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


@dataclass(frozen=True)
class Estimate:
    """A value with the interval low..high that decides a claim about it.

    interval: over images (or what stands for them) alone, to be shown; None where there is none.
    unreplicated: nothing says how much another training would move it, so that it cannot be ticked.
    words: what the interval rests on. pvalue: two-sided, over images. common: how many images both methods saw, where one
    of them saw more.
    """

    value: float
    low: float
    high: float
    interval: tuple[float, float] | None = None
    unreplicated: bool = False
    words: str = ""
    pvalue: float | None = None
    common: int | None = None

    def side(self, null: float = 0.0) -> int:
        """1 if the value is above `null` beyond doubt, -1 if below, else 0."""
        return int(self.low > null) - int(self.high < null)


def difference(found: Estimate, effect: float | None = None, null: float = 0.0) -> Outcome:
    """The rule for order: is the value above `null`? effect: the paper's own value, where sizes may be compared."""
    side = found.side(null)
    if side > 0:
        return _for(found)
    if side < 0 or (effect is not None and excluded(found, effect, null)):
        return _against(found)
    return Outcome.INCONCLUSIVE


def excluded(found: Estimate, effect: float, null: float = 0.0) -> bool:
    """Whether the interval shows the paper's effect to be absent: it was very likely to be seen, and lies outside."""
    outside = found.high < effect if effect > null else found.low > effect
    return outside and power(effect - null, found.low, found.high) >= POWER


def at_least(found: Estimate, bound: float) -> Outcome:
    """The rule for "most" and "a large part": a share above a bound, in direction if above half of it."""
    if found.low >= bound:
        return _for(found)
    if found.low >= bound / 2:
        return Outcome.DIRECTION
    return _against(found) if found.high < bound / 2 else Outcome.INCONCLUSIVE


def alike(found: Estimate, margin: float) -> Outcome:
    """The rule for likeness: the whole interval lies within the margin. One that could not fit into it judges nothing."""
    if -margin <= found.low and found.high <= margin:
        return _for(found)
    if found.side(margin) > 0 or found.side(-margin) < 0:
        return _against(found)
    return Outcome.OPEN if found.high - found.low > 2 * margin else Outcome.INCONCLUSIVE


def number(found: Estimate, paper: float, spread: float, null: float | None, sizes: bool) -> Outcome:
    """The rule for a number.

    spread: by how much ours may be off and still count as equal; null: what no effect would give, None where there is no
    such value; sizes: whether sizes may be compared with the paper's, else only the side of `null` is judged.
    """
    equal = found.low <= paper <= found.high or abs(found.value - paper) <= spread
    if null is None:
        return Outcome.OPEN if not sizes else _for(found) if equal else _against(found)
    side = found.side(null) * (1 if paper > null else -1)
    if side >= 0 and spread >= abs(paper - null):  # a tick would be one for no effect at all
        return Outcome.OPEN
    if side > 0:
        return _for(found) if equal and sizes else Outcome.DIRECTION
    if side < 0 or (sizes and not equal and excluded(found, paper, null)):
        return _against(found)
    return Outcome.INCONCLUSIVE


def _for(found: Estimate) -> Outcome:
    return Outcome.DIRECTION if found.unreplicated else Outcome.HOLDS


def _against(found: Estimate) -> Outcome:
    return Outcome.INCONCLUSIVE if found.unreplicated else Outcome.CONTRADICTED


def told(finding: Finding, found: Estimate) -> Finding:
    """`finding` with what its interval rests on and, where it is inconclusive, the smallest effect that could be shown."""
    words = f"; {found.words}" if found.words else ""
    if finding.outcome is Outcome.INCONCLUSIVE:
        words += could_show(found)
    return replace(finding, explanation=finding.explanation + words)


def could_show(found: Estimate) -> str:
    """What an inconclusive finding owes its reader: the smallest effect that would have been shown."""
    least = smallest_effect(found.low, found.high)
    return (
        "; this sample shows no effect of any size"
        if least == float("inf")
        else (f"; the smallest effect that this sample could have shown is {least:.4f}")
    )


def show(value: float, bounds: tuple[float, float] | None) -> str:
    """A value and its interval in words."""
    return f"{value:.4f} (no interval)" if bounds is None else f"{value:.4f} [{bounds[0]:.4f}, {bounds[1]:.4f}]"
