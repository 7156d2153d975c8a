"""Filters chosen by joint swaps beside the ranking of Eq. 1: how far the orders agree, and what is behind a late jump.

The paper sees AlexNet's accuracy under blur rise more from 50 to 75 % of conv1's filters than before, and explains it by
filters that are alike among the top half (Section 4.1). If that is so, a choice that avoids them has at 50 % what the ranking
reaches later. Both orders come from the same images, and are tried on others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dclib.experiments import FRACTIONS
from dclib.results import Record, unpack_bits
from dclib.statistics import percentile_interval, resample_means
from dclib.verdicts.finding import Estimate

_QUARTER, _HALF, _LATE = (FRACTIONS.index(fraction) for fraction in (0.25, 0.5, 0.75))


@dataclass(frozen=True)
class Orders:
    """What one record says of one layer under one distortion.

    filters, images, tried_on: of the layer; that filters were chosen on; that the orders were tried on. counts: filters at
    each of `FRACTIONS`. shared [fractions]: how many of them both orders have. before [levels]: accuracy without a swap.
    joint, single [fractions, levels]: accuracy with the first filters of each order swapped.

    Means over levels with 95 % intervals over images: lead [fractions], of the joint order; jump, by how much more the ranking
    rises from 50 to 75 % than from 25 to 50 %; closed, how much more of the rise from 50 to 75 % the joint order already has
    at 50 % than it lacks.
    """

    layer: str
    distortion: str
    filters: int
    images: int
    tried_on: int
    counts: tuple[int, ...]
    shared: tuple[int, ...]
    before: np.ndarray
    joint: np.ndarray
    single: np.ndarray
    lead: tuple[Estimate, ...]
    jump: Estimate
    closed: Estimate

    @property
    def explanation(self) -> str:
        """What becomes of the paper's explanation of the jump, in words."""
        if self.jump.side() <= 0:
            return "no jump" if self.jump.side() < 0 else "no jump shown"
        return {
            1: "a jump that likeness explains",
            -1: "a jump that likeness does not explain",
            0: "a jump, its cause not shown",
        }[self.closed.side()]


def orders(record: Record) -> Orders:
    """The two orders of a record of kind "select"."""
    outcome, described = record.outcome, record.description
    (layer,), held_out = described["layers"], outcome["held_out"]
    joint, single = (unpack_bits(held_out["correct_after"][name]).mean(axis=1) for name in ("joint", "single"))
    gains = np.array(outcome["swap_accuracy"][layer]).mean(1)
    ranked, chosen = np.argsort(-gains, kind="stable").tolist(), outcome["order"][layer]
    shared = tuple(len(set(ranked[:count]) & set(chosen[:count])) for count in held_out["counts"])
    rise = single[_LATE] - single[_HALF]
    values = [*(joint - single), rise - (single[_HALF] - single[_QUARTER]), 2 * (joint[_HALF] - single[_HALF]) - rise]
    *lead, jump, closed = _estimates(values)
    return Orders(
        layer,
        described["distortion"],
        len(chosen),
        outcome["images"],
        held_out["images"],
        tuple(held_out["counts"]),
        shared,
        np.array(held_out["distorted_accuracy"]),
        np.array(held_out["accuracy"]["joint"]),
        np.array(held_out["accuracy"]["single"]),
        tuple(lead),
        jump,
        closed,
    )


def _estimates(values: Sequence[np.ndarray]) -> list[Estimate]:
    """Means of values [images] with their intervals, all images resampled together."""
    rows = np.round(np.stack(values), 9)  # equal images stay equal, on which the resampling relies for speed
    samples = resample_means(rows)
    return [Estimate(float(row.mean()), *percentile_interval(sample)) for row, sample in zip(rows, samples.T)]
