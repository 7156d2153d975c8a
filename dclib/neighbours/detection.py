"""How well scores tell bad inputs from good ones: the ROC curve, the area below it, alarms at a threshold."""

from dataclasses import dataclass

import numpy as np
import scipy

from dclib.errors import InputError


@dataclass(frozen=True)
class Detection:
    """Scores as a detector.

    false_alarms, detected: shares [points] of good and of bad inputs at or above each threshold, from none to all.
    area: below that curve: the chance that a bad input scores higher than a good one, half for a tie.
    """

    false_alarms: np.ndarray
    detected: np.ndarray
    area: float


def detection(scores: np.ndarray, bad: np.ndarray) -> Detection:
    """The ROC curve of scores [N], high for bad inputs, and which inputs are bad, bool [N].

    Raises `InputError` unless there are finite scores of both kinds.
    """
    scores, bad = np.asarray(scores, dtype=float).ravel(), np.asarray(bad, dtype=bool).ravel()
    if len(scores) != len(bad) or not np.isfinite(scores).all() or bad.all() or not bad.any():
        raise InputError(
            f"scores: expected finite ones of both good and bad inputs, got {len(scores)} scores and "
            f"{int(bad.sum())} bad of {len(bad)}."
        )
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # equal scores are passed together
    detected = np.append(0, np.cumsum(bad[order])[last]) / bad.sum()
    alarms = np.append(0, np.cumsum(~bad[order])[last]) / (~bad).sum()
    good = len(bad) - bad.sum()
    area = (scipy.stats.rankdata(scores)[bad].sum() - bad.sum() * (bad.sum() + 1) / 2) / (bad.sum() * good)
    return Detection(alarms, detected, float(area))


def false_alarm_threshold(scores: np.ndarray, share: float) -> float:
    """The threshold above which at most `share` of the scores [N] of good inputs lie."""
    scores = np.sort(np.asarray(scores, dtype=float))
    if not len(scores) or not 0 <= share < 1:
        raise InputError(f"threshold: expected some scores and a share in 0..1, got {len(scores)} and {share}.")
    return float(scores[len(scores) - 1 - int(share * len(scores))])
