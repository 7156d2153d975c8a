"""What a ranking shows of the filters themselves: the paper's first claim, and Figure 6.

Rankings are records of Algorithm 1, or the authors' published swaps of AlexNet. Filters are all there are of their kind,
so that chance lies in the images that rank them: records that keep which decisions a swap changes are resampled over
images.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np
import scipy
import torch

from dclib import experiments, paper
from dclib.experiments import imagenet, profile
from dclib.ranking import correction_priority, select_local
from dclib.results import Record, Store, unpack_bits, unpack_filters
from dclib.statistics import percentile_interval, resample_means
from dclib.verdicts.source import Measure

#: Where filters may be cut into those that respond to colour and those that do not, for a reader to compare.
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
RESAMPLES = 500
SHUFFLES = 200


def measure(test: Mapping, profile_name: str, store: Store) -> Measure | None:
    """One of the `QUANTITIES`, as `measures.measure` gives it."""
    return QUANTITIES[test["quantity"]](test, profile_name, store)


# The first claim: in every layer certain filters are far more susceptible than others


def best_quarter(gain: np.ndarray) -> float:
    """The share of a layer's positive gains that its best quarter of filters holds; gain [filters], of any unit."""
    positive = np.sort(np.clip(gain, 0, None))[::-1]
    return float(positive[: len(positive) // 4].sum() / positive.sum()) if positive.any() else 0.0


def held_out(choosing: np.ndarray, testing: np.ndarray) -> float:
    """The share of the positive gains in `testing` that those filters hold which are the best quarter in `choosing`.

    Both [filters], from different levels or images: what chance gave the chosen ones is not there again.
    """
    chosen = np.argsort(-choosing, kind="stable")[: len(choosing) // 4]
    positive = np.clip(testing, 0, None)
    return float(positive[chosen].sum() / positive.sum()) if positive.any() else 0.0


def held_out_over_levels(gain: np.ndarray) -> float:
    """`held_out`, chosen at half of the levels and tested at the others, averaged over all ways to halve them.

    gain: [filters, levels].
    """
    levels = set(range(gain.shape[1]))
    halves = list(combinations(sorted(levels), len(levels) // 2))
    return float(np.mean([held_out(gain[:, half].mean(1), gain[:, sorted(levels - set(half))].mean(1)) for half in halves]))


def held_out_over_images(gain: np.ndarray) -> float:
    """`held_out`, chosen on every other image and tested on the rest, and the other way round; gain [filters, images]."""
    first, second = gain[:, ::2].mean(1), gain[:, 1::2].mean(1)
    return (held_out(first, second) + held_out(second, first)) / 2


def by_chance(gain: np.ndarray, seed: int = 0) -> float:
    """What `best_quarter` exceeds in 2.5 % of the cases if no filter is more susceptible than another at all levels.

    gain [filters, levels] is shuffled over the filters at each level by itself.
    """
    rng = np.random.default_rng(seed)
    return float(np.quantile([best_quarter(rng.permuted(gain, axis=0).mean(1)) for _ in range(SHUFFLES)], 0.975))


def _susceptible(test: Mapping, profile_name: str, store: Store) -> Measure | None:
    """The share of the best quarter in the layer where it is smallest, between held out (too low) and not (too high)."""
    dataset, distortion = test["dataset"], test["distortion"]
    if dataset == "imagenet":
        swaps = paper.single_swaps()
        gains = {layer: np.array(rows) for layer, rows in swaps["gain"][distortion].items()}
        return replace(_concentration(gains, {}), published=True)
    p = experiments.profile(profile_name)
    run = experiments.ranking(p, distortion, p.seeds[0])
    record = store.get(run)
    if record is None or p.dataset != dataset:
        return None
    before = np.array(record.outcome["distorted_accuracy"])
    gains = {layer: np.array(rows) - before for layer, rows in record.outcome["swap_accuracy"].items()}
    found = _concentration(gains, {layer: _gain_per_image(record, layer) for layer in gains if _keeps_bits(record)})
    return replace(found, runs=(record.id,), stand_in=p.stand_in, networks=((run, record),))


def _concentration(gains: Mapping[str, np.ndarray], per_image: Mapping[str, np.ndarray]) -> Measure:
    shares = {layer: best_quarter(gain.mean(1)) for layer, gain in gains.items()}
    held = {
        layer: held_out_over_images(per_image[layer]) if per_image else held_out_over_levels(gain)
        for layer, gain in gains.items()
    }
    chance = {layer: by_chance(gain) for layer, gain in gains.items()}
    beyond = all(shares[layer] > chance[layer] for layer in gains)
    unit = (
        "on half of the images and tested on the others" if per_image else "at half of the levels and tested at the others"
    )

    def listed(values):
        return ", ".join(f"{layer} {values[layer]:.2f}" for layer in sorted(values))

    return Measure(
        min(shares.values()),
        (min(held.values()) if beyond else 0.0, min(shares.values())),
        notes=(
            f"by layer {listed(shares)}",
            f"chosen {unit}: {listed(held)}",
            f"shuffling filters at each level gives more than {listed(chance)} in 1 of 40 cases",
        ),
    )


def _redundancy(test: Mapping, profile_name: str, store: Store) -> Measure:
    """What the top half of AlexNet's first layer gains together, and what its filters gain singly (published swaps)."""
    dataset, distortion = test["dataset"], test["distortion"]
    swaps, fractions = paper.single_swaps(), paper.swap_data()["fractions"]
    before = np.array(swaps["before"][distortion]) / swaps["images"]
    gain = np.array(swaps["gain"][distortion]["conv1"]) / swaps["images"]
    chosen = select_local({"conv1": correction_priority(before + gain, before, score="relative_error")}, 0.5)["conv1"]
    singly = float(gain[chosen].mean(1).sum())
    together = float(paper.swap_fractions(dataset, distortion)["conv1"][fractions.index(0.5)].mean() - before.mean())
    note = (
        f"the top half gains {singly:.4f} if its filters are swapped singly and the gains added, {together:.4f} if they "
        "are swapped together, where filters that repeat each other would gain less"
    )
    return Measure(
        singly - together,
        exact=True,
        published=True,
        notes=(note,),
        undecided="no record keeps how the outputs of filters correlate",
    )


# Figure 6


def colour_share(filters: torch.Tensor) -> np.ndarray:
    """Share of each filter's energy that is not the same in red, green and blue: [N, 3, k, k] -> [N] in 0..1."""
    weight = filters.double()
    grey = weight.mean(1, keepdim=True)
    energy = weight.square().sum((1, 2, 3)).clamp_min(torch.finfo(torch.float64).tiny)
    return ((weight - grey).square().sum((1, 2, 3)) / energy).numpy()


def valley(shares: np.ndarray) -> float:
    """The threshold between two kinds of filters that their shares [N] themselves suggest: Otsu's.

    It leaves the least variance within the two groups; halfway between the two values that it parts.
    """
    values = np.sort(np.asarray(shares, dtype=float))
    within = [k * values[:k].var() + (len(values) - k) * values[k:].var() for k in range(1, len(values))]
    k = int(np.argmin(within)) + 1
    return float((values[k - 1] + values[k]) / 2)


def top_half(record: Record, score: str = "priority") -> np.ndarray:
    """conv1's 48 filters most susceptible by Eq. 1, or by another of `ranking.SCORES`, most susceptible first (Figure 6)."""
    return select_local({"conv1": _first_layer_scores(record, score)}, 0.5)["conv1"]


def _first_layer_scores(record: Record, score: str) -> np.ndarray:
    return correction_priority(
        np.array(record.outcome["swap_accuracy"]["conv1"]), np.array(record.outcome["distorted_accuracy"]), score=score
    )


def _colour(test: Mapping, profile_name: str, store: Store) -> Measure | None:
    """Under blur: the share of filters without colour in the top half, cut at the `valley`. Else: by how much Spearman's
    correlation of priority and colour is higher under noise than under blur, which needs no cut."""
    half = profile(profile_name).imagenet
    needed = ["blur"] if test["quantity"] == "without_colour" else ["awgn", "blur"]
    found = [(run, record) for d in needed if half for run in [imagenet.ranking(half, d)] if (record := store.get(run))]
    if len(found) < len(needed):
        return None
    records = [record for _, record in found]
    shares = colour_share(torch.from_numpy(unpack_filters(records[0].outcome["first_filters"])))
    cut = valley(shares)

    def value(scores: list[np.ndarray]) -> np.ndarray:
        """scores: [..., filters] per record."""
        if len(scores) == 1:
            return _without_colour(scores[0], shares, cut)
        return _spearman(scores[0], shares) - _spearman(scores[1], shares)

    scores = [_first_layer_scores(record, "priority") for record in records]
    released = [_first_layer_scores(record, "relative_error") for record in records]
    resampled = _resampled_scores(records)
    bounds = percentile_interval(value(resampled)) if resampled else None
    notes = [f"by Eq. 1; by the released code's score it is {float(value(released)):.4f}"]
    for i, distortion in enumerate(needed):
        over = ", ".join(f"{float(_without_colour(scores[i], shares, t)):.2f} at {t:g}" for t in THRESHOLDS)
        spread = " [{:.2f}, {:.2f}]".format(*percentile_interval(_spearman(resampled[i], shares))) if resampled else ""
        correlation = float(_spearman(scores[i], shares))
        at_valley = float(_without_colour(scores[i], shares, cut))
        notes.append(
            f"{distortion}: Spearman's correlation of priority and colour {correlation:+.2f}{spread}, share "
            f"without colour in the top half {over}, and {at_valley:.2f} at the valley {cut:.2f}"
        )
    missing = "the record does not keep which images a swap changes: nobody knows how others would have ranked the filters"
    return Measure(
        float(value(scores)),
        bounds,
        runs=tuple(r.id for r in records),
        stand_in=imagenet.networks_alone(half),
        networks=tuple(found),
        notes=tuple(notes),
        undecided="" if resampled else missing,
    )


def _without_colour(scores: np.ndarray, shares: np.ndarray, threshold: float) -> np.ndarray:
    """The share of filters below a threshold among the half with the highest scores [..., filters]."""
    chosen = np.argsort(-scores, axis=-1, kind="stable")[..., : scores.shape[-1] // 2]
    return (shares[chosen] < threshold).mean(-1)


def _spearman(scores: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Spearman's correlation of scores [..., filters] with shares [filters]; 0 where all scores are equal."""
    rank = scipy.stats.rankdata
    a, b = rank(scores, axis=-1), rank(shares)
    a, b = a - a.mean(-1, keepdims=True), b - b.mean()
    return (a @ b) / np.sqrt(np.maximum((a * a).sum(-1) * (b @ b), 1e-12))


def _keeps_bits(record: Record) -> bool:
    return "changed" in record.outcome and "correct_before" in record.outcome


def _gain_per_image(record: Record, layer: str) -> np.ndarray:
    """By how much each swap helps on each image, averaged over levels: [filters, images] in -1..1."""
    changed, before = unpack_bits(record.outcome["changed"][layer]), unpack_bits(record.outcome["correct_before"])[1:]
    return (changed * np.where(before, -1, 1)).mean(1)


def _resampled_scores(records: list[Record]) -> list[np.ndarray] | None:
    """conv1's priorities [resamples, filters] of each record on resampled images, the same of all that saw equally many.

    Equal priorities are put in an order by chance: what a tie decides is chance, too.
    """
    if not all(map(_keeps_bits, records)):
        return None
    gains = [_gain_per_image(record, "conv1") for record in records]
    if len({g.shape for g in gains}) == 1:
        drawn = np.split(resample_means(np.concatenate(gains), RESAMPLES), len(gains), axis=1)
    else:
        drawn = [resample_means(g, RESAMPLES, seed=i) for i, g in enumerate(gains)]
    rng = np.random.default_rng(0)
    least = 1e-3 / max(g.shape[1] for g in gains)
    return [d + rng.uniform(0, least, d.shape) for d in drawn]


#: What `measures` has of them, by quantity.
QUANTITIES = {
    "susceptible": _susceptible,
    "redundancy": _redundancy,
    "without_colour": _colour,
    "colour_of_noise_minus_blur": _colour,
}
