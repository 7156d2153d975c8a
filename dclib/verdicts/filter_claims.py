"""The claims of the study of selected filters (Bianchi et al., 2019)."""

import numpy as np
import scipy

from dclib.experiments import neighbours, profile, trained_parameters
from dclib.results import Record, Store
from dclib.statistics import SIGNIFICANCE, bootstrap_interval
from dclib.verdicts.finding import Outcome, at_least, difference
from dclib.verdicts.neighbouring import MOST, Judge, NotRun, between, least, record_of, regained, shown

CONDITIONS = tuple((network, distortion) for network in neighbours.NETWORKS for distortion in ("blur", "awgn"))


def selected(store: Store, network: str, distortion: str, way: str = "", images: int = 0) -> Record:
    """A retrained network, or the network before any retraining."""
    label = f"{network} {distortion}" + (f" {way} {images}" if way else "")
    return record_of("selected_filters", label, store)


def _affected(store: Store) -> tuple[Outcome, str]:
    agreement, pvalues = [], []
    for network, distortion in CONDITIONS:
        record = store.get(neighbours.election(profile("small"), network, distortion))
        if record is None:
            raise NotRun("selected_filters")
        for points in record.outcome["points"].values():
            totals, n, m = np.array(points), len(points), record.outcome["voters"]
            agreement.append(12 * ((totals - totals.mean()) ** 2).sum() / (m**2 * (n**3 - n)))
            pvalues.append(scipy.stats.chi2.sf(m * (n - 1) * agreement[-1], n - 1))
    outcome = Outcome.HOLDS if max(pvalues) < SIGNIFICANCE / len(pvalues) else Outcome.INCONCLUSIVE
    return outcome, (
        f"voters agree: Kendall's W is {min(agreement):.2f} to {max(agreement):.2f} in {len(agreement)} "
        "layers, 0 would be chance"
    )


def _parameters(store: Store) -> tuple[Outcome, str]:
    words, shares = [], []
    for network in neighbours.NETWORKS:
        counts = {
            way: trained_parameters(neighbours.retrained(profile("small"), network, "blur", way, 1))
            for way in (neighbours.ELECTED, neighbours.LAYERS, neighbours.ALL)
        }
        shares.append(counts[neighbours.ELECTED] / counts[neighbours.LAYERS])
        words.append(
            f"{network} {counts[neighbours.ELECTED]:,} instead of {counts[neighbours.LAYERS]:,} of the same layers "
            f"and {counts[neighbours.ALL]:,} of all"
        )
    return (Outcome.HOLDS if max(shares) < 0.6 else Outcome.CONTRADICTED), "; ".join(words)


def _recovers(store: Store) -> tuple[Outcome, str]:
    outcomes, words = [], []
    for network, distortion in CONDITIONS:
        before = selected(store, network, distortion).hits
        after = selected(store, network, distortion, neighbours.ELECTED, 5000).hits
        share = regained(np.repeat(before[:1], len(before) - 1, 0), before[1:], after[1:])
        outcomes.append(at_least(between(share), MOST))
        words.append(f"{network}, {distortion}: {share.estimate:.0%} ({share.low:.0%} to {share.high:.0%})")
    return least(outcomes), f"of the loss, with 5,000 images: {'; '.join(words)}"


def _pace(store: Store) -> tuple[Outcome, str]:
    ahead, words = 0, []
    for network, distortion in CONDITIONS:
        curves = [
            selected(store, network, distortion, way, 5000).outcome["curve"] for way in (neighbours.ELECTED, neighbours.ALL)
        ]
        means = [np.mean([np.mean(look["validation"]) for look in curve]) for curve in curves]
        ahead += means[0] > means[1]
        words.append(f"{network}, {distortion}: {means[0]:.3f} and {means[1]:.3f}")
    return (Outcome.DIRECTION if ahead == len(CONDITIONS) else Outcome.INCONCLUSIVE), (
        f"mean validation accuracy over the looks of a training, elected filters and all layers: {'; '.join(words)}"
    )


def _few(store: Store) -> tuple[Outcome, str]:
    outcomes, words = [], []
    for images in (100, 500):
        one, other = (
            np.concatenate([selected(store, *condition, way, images).hits for condition in CONDITIONS])
            for way in (neighbours.ELECTED, neighbours.LAYERS)
        )
        found = bootstrap_interval(one, other)
        outcomes.append(difference(between(found)))
        words.append(f"with {images} images {shown(found)}")
    return least(outcomes), f"elected filters against their whole layers, all networks and levels: {', '.join(words)}"


KINDS: dict[str, Judge] = {
    "borda-affected": _affected,
    "borda-parameters": _parameters,
    "borda-recovers": _recovers,
    "borda-pace": _pace,
    "borda-few": _few,
    "borda-general": lambda store: (
        Outcome.OPEN,
        "CIFAR-10 is not here; the rows above speak of two networks, CIFAR-100 and two distortions",
    ),
}
