"""What Figures 2, 10, 11, 12 and Table 10 are claimed to show, as numbers computed from records and weights.

What rankings show (Figure 6, the first claim of the paper) is in dclib.verdicts.susceptibility.

Each has an interval where its records give one, and is None where a record is missing; `measure` finds it by the name that
data/paper/claims.json gives it.
"""

from collections.abc import Mapping

import numpy as np

from dclib import statistics
from dclib.experiments import ImageNetHalf, Run, imagenet, profile
from dclib.experiments.imagenet import ALEXNET_FILTERS
from dclib.experiments.networks import other_classes, unit_operations
from dclib.results import Record, Store
from dclib.verdicts import susceptibility
from dclib.verdicts.source import Measure


def measure(test: Mapping, profile_name: str, store: Store) -> Measure | None:
    """What a claim's test of kind "measure" asks for, in one profile.

    None if its records are missing or nothing is known by that figure and quantity.
    """
    if test["quantity"] == "operations_saved":
        return Measure(_operations_saved(test["units"], test["reference"]), exact=True)
    if test["quantity"] in susceptibility.QUANTITIES:
        return susceptibility.measure(test, profile_name, store)
    half = profile(profile_name).imagenet
    kinds = {2: _separation_lost, 10: _separation, 11: _classes, 12: _speed}
    return (
        kinds[test["figure"]](test["quantity"], test["distortion"], half, store)
        if half and test["figure"] in kinds
        else None
    )


def per_class(record: Record, classes: int) -> np.ndarray:
    """Mean accuracy over all levels per class [classes] of a record whose test images are sorted by class.

    Where images were damaged and left out, the record has how many each class kept.
    """
    each = record.hits.mean(0)
    counts = record.outcome.get("images_per_class") or [len(each) // classes] * classes
    return np.array([own.mean() for own in np.split(each, np.cumsum(counts)[:-1])])


def iterations_to(record: Record, accuracy: float) -> float:
    """The iteration at which the validation accuracy, averaged over levels, first reached `accuracy`; inf if never."""
    for look in record.outcome["curve"]:
        if np.mean(look["validation"]) >= accuracy:
            return look["iteration"]
    return np.inf


def _operations_saved(method: str, reference: str) -> float:
    few, many = (sum(unit_operations(name, layer) for layer in ALEXNET_FILTERS) for name in (method, reference))
    return 1 - few / many


def _classes(quantity: str, distortion: str, half: ImageNetHalf, store: Store) -> Measure | None:
    found = _records([imagenet.deepcorrect(half, "Deepcorr-5", distortion), imagenet.finetune(half, distortion)], store)
    if not found:
        return None
    ours, others = (per_class(record, half.classes) for _, record in found)
    difference = ours - others
    better, worse = difference > 0, difference < 0
    parts = np.stack([better, worse, difference * better, -difference * worse]).astype(float)

    def value(means: np.ndarray) -> np.ndarray:
        """Net share of classes, or the difference of mean margins (0 where no class has one), from means [..., 4]."""
        ahead, behind, gain, loss = np.moveaxis(means, -1, 0)
        if quantity == "net_classes":
            return ahead - behind
        return gain / np.where(ahead > 0, ahead, 1) - loss / np.where(behind > 0, behind, 1)

    bounds = statistics.percentile_interval(value(statistics.resample_means(parts)))
    return _found(value(parts.mean(1)), found, half, interval=bounds)


def _separation(quantity: str, distortion: str, half: ImageNetHalf, store: Store) -> Measure | None:
    """By neighbours among the features: the plane of t-SNE is for the eye."""
    found = _records([imagenet.embedded(half, method, distortion) for method in ("Deepcorr-5", "Baseline")], store)
    if not found:
        return None
    ours, other = (np.mean(record.outcome["separation"][1:]) for _, record in found)
    return _apart(ours, other, found, half)


def _separation_lost(quantity: str, distortion: str, half: ImageNetHalf, store: Store) -> Measure | None:
    """How much less apart the classes of the pre-trained network are at the strongest level than clean."""
    found = _records([imagenet.embedded(half, "Baseline", distortion)], store)
    if not found:
        return None
    separation = found[0][1].outcome["separation"]
    return _apart(separation[0], separation[-1], found, half)


def _apart(first: float, second: float, found: list, half: ImageNetHalf) -> Measure:
    error = statistics.difference_error(first, second, found[0][1].outcome["images"])
    value = float(first - second)
    return _found(value, found, half, interval=(value - float(error), value + float(error)))


def _speed(quantity: str, distortion: str, half: ImageNetHalf, store: Store) -> Measure | None:
    """Validation accuracy over iterations: how many times sooner the slowest of the fast networks has an accuracy of the
    slow one (the smallest factor of all), or by how much the lowest of them ends higher.

    An accuracy that both have at their first look tells nothing: what came before was not looked at. The fast network's
    first look is a bound: the factor is as much at least. One look for both at another accuracy leaves open who was first.
    """
    variants = {v: imagenet.deepcorrect(half, v, distortion) for v in imagenet.VARIANTS}
    no_bn = variants["Deepcorr-5-no-bn"]
    slow, fast = {
        "batchnorm_speedup": (no_bn, [variants["Deepcorr-5"]]),
        "order_speedup": (no_bn, [run for run in variants.values() if run is not no_bn]),
    }.get(quantity, (imagenet.finetune(half, distortion), list(variants.values())))
    found = _records([slow, *fast], store)
    if not found:
        return None
    records, images = [record for _, record in found], _validation_images(half)
    if quantity == "final":
        ends = [float(np.mean(record.outcome["curve"][-1]["validation"])) for record in records]
        lead = min(ends[1:]) - ends[0]
        error = float(statistics.difference_error(min(ends[1:]), ends[0], images)) if images else None
        return _found(lead, found, half, interval=(lead - error, lead + error) if images else None)
    notes = _unequal_rates(records) if slow is no_bn else []
    first = records[0].outcome["curve"][0]["iteration"]
    accuracies = sorted({float(np.mean(look["validation"])) for look in records[0].outcome["curve"]})
    times = [(iterations_to(records[0], a), max(iterations_to(r, a) for r in records[1:])) for a in accuracies]
    ratios = [own / other for own, other in times if (own, other) != (first, first)]
    value = min(ratios, default=1.0)
    undecided = ""
    if value == 1:
        undecided = "both networks are first seen with an accuracy at the same look, so that it is open which was faster"
    words = f"some accuracy of {records[0].description['method']} is never reached" if value == 0 else ""
    notes = [f"the smallest factor over {len(ratios)} of {len(accuracies)} accuracies that the looks can tell", *notes]
    return _found(
        value,
        found,
        half,
        interval=_speed_interval(records, accuracies, images),
        notes=notes,
        words=words,
        undecided=undecided,
    )


def _speed_interval(records: list[Record], accuracies: list[float], images: int | None) -> tuple[float, float] | None:
    """The smallest factor if each accuracy is off by its binomial error, to the disadvantage and in favour of the fast.

    None where the number of validation images is not known.
    """
    if not images:
        return None
    first, ends = records[0].outcome["curve"][0]["iteration"], []
    for sign in (-1, 1):
        factors = []
        for a in accuracies:
            error = sign * float(statistics.difference_error(a, a, images)) / 2
            own, other = iterations_to(records[0], a + error), max(iterations_to(r, a - error) for r in records[1:])
            if (own, other) != (first, first):
                factors.append(1.0 if own == other else own / other)
        ends.append(min(factors, default=1.0))
    return min(ends), max(ends)


def _validation_images(half: ImageNetHalf) -> int | None:
    return half.validation_images * half.classes if half.validation_images else None


def _unequal_rates(records: list[Record]) -> list[str]:
    rates = [record.description["schedule"]["learning_rate"] for record in records]
    if len(set(rates)) == 1:
        return []
    named = " and ".join(dict.fromkeys(f"{r.description['method']} at {rate:g}" for r, rate in zip(records, rates)))
    return [f"learning rates differ ({named}), so that this is not the effect of BatchNorm alone"]


def _records(runs: list[Run], store: Store) -> list[tuple[Run, Record]]:
    """The runs with their records; empty if one is missing."""
    found = [(run, record) for run in runs if (record := store.get(run))]
    return found if len(found) == len(runs) else []


def _found(value: float, found: list[tuple[Run, Record]], half: ImageNetHalf, **more) -> Measure:
    """What trained networks give with one seed: nobody knows how much another training would move it."""
    return Measure(
        float(value),
        runs=tuple(record.id for _, record in found),
        stand_in=half.stand_in,
        other_classes=other_classes(imagenet.baseline(half), imagenet.baseline(profile("paper").imagenet)),
        networks=tuple(found),
        unreplicated=any(run.method != "Baseline" for run, _ in found),
        **more,
    )
