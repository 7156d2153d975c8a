"""Kinds of claims about Figures 4 and 5, where filters of a layer give their clean output.

All curves of one network come from the same images. Where the record keeps which of them are right, images are resampled
with all layers, fractions and levels of each kept together, so that differences are paired. Without those bits the
binomial error of one difference, at least the authors' spread, stands in for the interval; it is too wide for curves that
agree on most images.
"""

from collections.abc import Callable, Mapping

import numpy as np
import scipy

from dclib import paper
from dclib.statistics import difference_error, percentile_interval, resample_means
from dclib.verdicts import comparison, finding
from dclib.verdicts.evidence import Evidence
from dclib.verdicts.finding import Estimate, Finding, Outcome, could_show, show
from dclib.verdicts.source import Swaps


class Curves:
    """The accuracies of one network, averaged over levels: [layers, fractions], with what chance makes of them.

    resampled [resamples, layers, fractions] where there are bits, else None; error: by how much one difference may be off.
    """

    def __init__(self, found: Swaps) -> None:
        self.layers = sorted(found)
        self.values = np.array([np.mean(found[layer], axis=1) for layer in self.layers])
        records, images = found.after, found.images
        self.resampled = np.mean([self._resample(record, i) for i, record in enumerate(records)], 0) if records else None
        sampling = float(difference_error(self.values, self.values, images).max()) if images else 0.0
        self.error = max(comparison.POINT, sampling)

    def _resample(self, record: Mapping, seed: int) -> np.ndarray:
        """Bits {layer: [fractions, levels, images]} of one record, averaged over levels and over resampled images."""
        per_image = np.concatenate([record[layer].mean(1) for layer in self.layers])
        return resample_means(per_image, seed=seed).reshape(-1, *self.values.shape)

    def index(self, layer: str) -> int:
        return self.layers.index(layer)


def _estimate(formula: Callable, curves: list[Curves], error: float) -> Estimate:
    """``formula(*values)`` of arrays [..., layers, fractions], and its interval; `error` where there are no bits."""
    value = float(formula(*(c.values for c in curves)))
    if any(c.resampled is None for c in curves):
        words = f"the record keeps no bits, so that it may be off by {error:.4f}"
        return Estimate(value, value - error, value + error, words=words)
    bounds = percentile_interval(formula(*(c.resampled for c in curves)))
    return Estimate(value, *bounds, bounds, words="for this one network")


def _recovered(values: np.ndarray, layer: int, fraction: float) -> np.ndarray:
    """Share of the way from the smallest fraction swapped to the layer's best, reached at fraction: [...].

    The figures do not show the accuracy without any swap, so the share is a lower bound.
    """
    curve = values[..., layer, :]
    gain = curve.max(-1) - curve[..., 0]
    return (curve[..., _index(fraction)] - curve[..., 0]) / np.where(gain > 0, gain, np.nan)


def _gain(curves: Curves, layer: int) -> float:
    """By how much swapping more than the smallest fraction helps at best: what recovered shares are shares of."""
    return float(np.ptp(curves.values[layer, [0, int(curves.values[layer].argmax())]]))


def _no_gain(curves: Curves, layers) -> Finding | None:
    """A share of a gain that chance alone could give is a share of nothing."""
    gains = [_gain(curves, layer) for layer in layers]
    if min(gains) > curves.error:
        return None
    text = (
        f"Swapping more filters gains {min(gains):.4f}, with so few images chance alone moves a difference by up to "
        f"{curves.error:.4f}: there is nothing to take a share of"
    )
    return Finding(None, None, Outcome.OPEN, text)


def _index(fraction: float) -> int:
    return paper.swap_data()["fractions"].index(fraction)


def _curves(evidence: Evidence, dataset: str) -> Curves:
    return Curves(evidence.swaps(dataset, evidence.test["distortion"]))


def _found(found: Estimate, outcome: Outcome, text: str) -> Finding:
    return finding.told(Finding(found.value, found.interval, outcome, text), found)


def _recovered_share(claim: dict, evidence: Evidence) -> Finding:
    test, curves = evidence.test, _curves(evidence, evidence.test["dataset"])
    layer = curves.index(test["layer"])
    if nothing := _no_gain(curves, [layer]):
        return nothing
    found = _estimate(lambda v: _recovered(v, layer, test["fraction"]), [curves], curves.error / _gain(curves, layer))
    text = f"The share is {show(found.value, found.interval)}, {test['at_least']:g} is asked for"
    return _found(found, finding.at_least(found, test["at_least"]), text)


def _recovered_less(claim: dict, evidence: Evidence) -> Finding:
    test = evidence.test
    sides = [_curves(evidence, test[side]) for side in ("less", "more")]
    layers = [curves.index(test["layer"]) for curves in sides]
    for curves, layer in zip(sides, layers):
        if nothing := _no_gain(curves, [layer]):
            return nothing
    less, more = (float(_recovered(c.values, layer, test["fraction"])) for c, layer in zip(sides, layers))
    error = sum(c.error / _gain(c, layer) for c, layer in zip(sides, layers))
    found = _estimate(
        lambda a, b: _recovered(b, layers[1], test["fraction"]) - _recovered(a, layers[0], test["fraction"]), sides, error
    )
    return _found(found, finding.difference(found), f"Shares {less:.2f} and {more:.2f}")


def _largest_step(claim: dict, evidence: Evidence) -> Finding:
    test, curves = evidence.test, _curves(evidence, evidence.test["dataset"])
    layer, step = curves.index(test["layer"]), _index(test["step"][1]) - 1
    # Without bits a difference of two differences is off by more than one.
    return _lead(lambda v: np.diff(v[..., layer, :], axis=-1), step, "step", curves, curves.error * np.sqrt(2))


def _largest_layer(claim: dict, evidence: Evidence) -> Finding:
    test, curves = evidence.test, _curves(evidence, evidence.test["dataset"])
    return _lead(lambda v: v[..., _index(test["fraction"])], curves.index(test["layer"]), "layer", curves, curves.error)


def _lead(quantity: Callable, chosen: int, what: str, curves: Curves, error: float) -> Finding:
    """How far one value leads the best of the others."""

    def lead(values: np.ndarray) -> np.ndarray:
        compared = quantity(values)
        return compared[..., chosen] - np.delete(compared, chosen, axis=-1).max(-1)

    found = _estimate(lead, [curves], error)
    text = f"The {what} leads the next best by {show(found.value, found.interval)}"
    return _found(found, finding.difference(found), text)


def _declines_with_depth(claim: dict, evidence: Evidence) -> Finding:
    """Falls from layer to layer: each step down is shown, or the whole way down is and no step up."""
    test, curves = evidence.test, _curves(evidence, evidence.test["dataset"])
    first, index, error = curves.index(test["first"]), _index(test["fraction"]), curves.error
    deep = range(first, len(curves.layers))
    if test["quantity"] == "recovered_share":
        if nothing := _no_gain(curves, deep):
            return nothing
        error /= min(_gain(curves, layer) for layer in deep)

        def quantity(values):
            return np.stack([_recovered(values, layer, test["fraction"]) for layer in deep], -1)
    else:

        def quantity(values):
            return values[..., first:, index]

    values = quantity(curves.values)
    correlation = float(scipy.stats.spearmanr(range(len(values)), values).statistic)
    steps = [
        _estimate(lambda v, i=i: quantity(v)[..., i] - quantity(v)[..., i + 1], [curves], error)
        for i in range(len(values) - 1)
    ]
    whole = _estimate(lambda v: quantity(v)[..., 0] - quantity(v)[..., -1], [curves], error)
    outcome = finding.difference(whole)
    if outcome is Outcome.HOLDS and not all(step.side() > 0 for step in steps):
        outcome = Outcome.DIRECTION if correlation < 0 else Outcome.INCONCLUSIVE
    text = (
        f"From {test['first']} on: {', '.join(f'{v:.3f}' for v in values)}; {sum(s.side() > 0 for s in steps)} of "
        f"{len(steps)} steps fall beyond doubt, {sum(s.side() < 0 for s in steps)} rise; {whole.words}"
    )
    return Finding(correlation, None, outcome, text + (could_show(whole) if outcome is Outcome.INCONCLUSIVE else ""))


#: What `kinds` has of them, by the kind in data/paper/claims.json.
KINDS = {
    "recovered_share": _recovered_share,
    "recovered_less": _recovered_less,
    "largest_step": _largest_step,
    "largest_layer": _largest_layer,
    "declines_with_depth": _declines_with_depth,
}
