"""Kinds of claims about Figures 4 and 5, where filters of a layer give their clean output.

Their accuracies are averaged over levels and come without bits, so a bound of their sampling error decides.
"""

import numpy as np
from scipy import stats

from dclib import paper
from dclib.evidence import POINT, Evidence
from dclib.findings import Finding, at_least
from dclib.statistics import Outcome


def _recovered(curve: np.ndarray, fraction: float) -> float:
    """Share of the way from the smallest fraction swapped to the layer's best, reached at fraction.

    The figures do not show the accuracy without any swap, so the share is a lower bound.
    """
    return float((curve[_index(fraction)] - curve[0]) / _gain(curve))


def _gain(curve: np.ndarray) -> float:
    """By how much swapping more than the smallest fraction helps at best: what recovered shares are shares of."""
    return float(curve.max() - curve[0])


def _index(fraction: float) -> int:
    return paper.swap_data()["fractions"].index(fraction)


def _blurred(compared, error: float, ours: float | None = None) -> Finding | None:
    """Why values cannot be told apart: all that a claim compares lie within the error of one difference. Else None."""
    if np.ptp(compared) > error:
        return None
    spans = f"What is compared spans {np.ptp(compared):.4f}"
    text = f"{spans}, with so few images chance alone moves a difference by up to {error:.4f}"
    return Finding(ours, None, Outcome.OPEN, text)


def _recovered_share(claim: dict, evidence: Evidence) -> Finding:
    test = evidence.test
    curves, error = evidence.swaps(test["dataset"], test["distortion"])
    curve = curves[test["layer"]]
    if blurred := _blurred([curve[0], curve.max()], error):
        return blurred
    return at_least(_recovered(curve, test["fraction"]), None, error / _gain(curve), test["at_least"])


def _recovered_less(claim: dict, evidence: Evidence) -> Finding:
    test = evidence.test
    found = [evidence.swaps(test[side], test["distortion"]) for side in ("less", "more")]
    shares, spread = [], 0.0
    for curves, error in found:
        curve = curves[test["layer"]]
        if blurred := _blurred([curve[0], curve.max()], error):
            return blurred
        shares.append(_recovered(curve, test["fraction"]))
        spread += error / _gain(curve)
    less, more = shares
    outcome = Outcome.HOLDS if more > less else Outcome.FAILS
    text = f"Shares {less:.2f} and {more:.2f}, their difference off by {spread:.2f} at most"
    return _blurred(shares, spread, more - less) or Finding(more - less, None, outcome, text)


def _largest_step(claim: dict, evidence: Evidence) -> Finding:
    test = evidence.test
    curves, error = evidence.swaps(test["dataset"], test["distortion"])
    steps = np.diff(curves[test["layer"]])
    return _lead(steps, _index(test["step"][1]) - 1, "step", error * np.sqrt(2))  # a difference of two differences


def _largest_layer(claim: dict, evidence: Evidence) -> Finding:
    test = evidence.test
    curves, error = evidence.swaps(test["dataset"], test["distortion"])
    values = np.array([curve[_index(test["fraction"])] for curve in curves.values()])
    return _lead(values, list(curves).index(test["layer"]), "layer", error)


def _lead(values: np.ndarray, chosen: int, what: str, error: float) -> Finding:
    """How far one value leads the others; a lead within the error, or a tie within 1 point, holds in direction."""
    lead = values[chosen] - np.delete(values, chosen).max()
    outcome = Outcome.HOLDS if lead > error else Outcome.DIRECTION if lead > -POINT else Outcome.FAILS
    text = f"The {what} leads the next best by {lead:.4f}, a difference off by {error:.4f} at most"
    return _blurred(values, error, lead) or Finding(lead, None, outcome, text)


def _declines_with_depth(claim: dict, evidence: Evidence) -> Finding:
    test = evidence.test
    curves, error = evidence.swaps(test["dataset"], test["distortion"])
    deep = list(curves.values())[list(curves).index(test["first"]) :]
    shares = test["quantity"] == "recovered_share"
    if shares:
        if blurred := next(filter(None, (_blurred([c[0], c.max()], error) for c in deep)), None):
            return blurred
        error /= min(map(_gain, deep))
    values = [_recovered(c, test["fraction"]) if shares else c[_index(test["fraction"])] for c in deep]
    correlation, fall = float(stats.spearmanr(range(len(values)), values).statistic), values[0] - values[-1]
    outcome = Outcome.FAILS
    if fall > 0 and correlation < 0:
        outcome = Outcome.HOLDS if fall > error and np.all(np.diff(values) < 0) else Outcome.DIRECTION
    text = f"From {test['first']} on: {', '.join(f'{v:.3f}' for v in values)}, a difference off by {error:.3f} at most"
    return _blurred(values, error, correlation) or Finding(correlation, None, outcome, text)


#: What `claims` has of them, by the kind in data/paper/claims.json.
KINDS = {
    "recovered_share": _recovered_share,
    "recovered_less": _recovered_less,
    "largest_step": _largest_step,
    "largest_layer": _largest_layer,
    "declines_with_depth": _declines_with_depth,
}
