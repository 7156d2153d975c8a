"""What Figures 6, 10, 11, 12 and Table 10 are claimed to show, as numbers computed from records and weights.

Each measure is {"value", "runs", "stand_in", ...} as `verdicts.judge` takes it, with an interval where its records give
one, or None where a record is missing; `measure` finds it by the name that data/paper/claims.json gives it.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from dclib import statistics
from dclib.correction import ALEXNET_FILTERS, ALEXNET_UNITS, CorrectionUnit, correct
from dclib.experiments import imagenet
from dclib.models import AlexNet, AllConvNet, count_parameters, multiply_adds, trainable_copy
from dclib.ranking import correction_priority, select_local
from dclib.results import Record, Store, unpack_filters
from dclib.runs import Run

#: Side of conv1..conv5's output for a 227x227 image.
SIZES = {"conv1": 55, "conv2": 27, "conv3": 13, "conv4": 13, "conv5": 13}
#: A filter whose colours deviate from grey by less than this share of its energy counts as colour-agnostic.
COLOUR_SHARE = 0.1


def measure(name: str, profile_name: str, store: Store) -> Mapping | None:
    """The measure called `name` in one profile; None if its records are missing or nothing is known by that name."""
    figure, _, rest = name.partition("_")
    if figure == "table10":
        return {"value": _operations_saved(rest.removeprefix("operations_saved_")), "stand_in": ""}
    scale = imagenet.SCALES.get(profile_name)
    kinds = {"figure6": _colour, "figure10": _separation, "figure11": _classes, "figure12": _speed}
    return kinds[figure](rest, scale, store) if scale and figure in kinds else None


def unit_operations(method: str, layer: str) -> int:
    """Multiply-adds of one correction unit of Table 10 for one image: `method` names its architecture."""
    unit = CorrectionUnit(ALEXNET_FILTERS[layer], ALEXNET_UNITS[method][layer])
    return multiply_adds(unit, ALEXNET_FILTERS[layer], SIZES[layer], SIZES[layer])


@lru_cache
def trained_parameters(run: Run) -> int:
    """How many parameters a run trains, counted from its network; needs no record."""
    with torch.device("meta"):  # AlexNet's dense layers are large, and only counted: they get no memory
        whole = AlexNet(run.classes) if run.network == "AlexNet" else AllConvNet(run.classes, run.width)
    for module in whole.modules():
        if not isinstance(module, nn.Linear):
            module.to_empty(device="cpu", recurse=False)
    if run.selection is None:
        return count_parameters(trainable_copy(whole, run.layers))
    filters = {layer: list(range(count)) for layer, count in run.selection.counts}
    return count_parameters(correct(whole, filters, dict(run.designs) or run.design, also_train=run.also_train))


def other_classes(run: Run, whole: Run) -> str:
    """Where `run`, or the network that it starts from, has another number of classes than at the paper's scale; "" if not.

    `whole` is the same run at that scale.
    """
    pairs = zip(_class_counts(run), _class_counts(whole), strict=True)
    return " and ".join(dict.fromkeys(f"{here} classes instead of {there}" for here, there in pairs if here != there))


def _class_counts(run: Run | None) -> Iterator[int]:
    while run is not None:
        yield run.classes
        run = run.base


def colour_share(filters: torch.Tensor) -> np.ndarray:
    """Share of each filter's energy that is not the same in red, green and blue: [N, 3, k, k] -> [N] in 0..1."""
    weight = filters.double()
    grey = weight.mean(1, keepdim=True)
    energy = weight.square().sum((1, 2, 3)).clamp_min(torch.finfo(torch.float64).tiny)
    return ((weight - grey).square().sum((1, 2, 3)) / energy).numpy()


def per_class(record: Record, classes: int) -> np.ndarray:
    """Mean accuracy over all levels per class [classes] of a record whose test images are sorted by class.

    Where images were damaged and left out, the record has how many each class kept.
    """
    each = record.correct.mean(0)
    counts = record.outcome.get("images_per_class") or [len(each) // classes] * classes
    return np.array([own.mean() for own in np.split(each, np.cumsum(counts)[:-1])])


def iterations_to(record: Record, accuracy: float) -> float:
    """The iteration at which the validation accuracy, averaged over levels, first reached `accuracy`; inf if never."""
    for look in record.outcome["curve"]:
        if np.mean(look["validation"]) >= accuracy:
            return look["iteration"]
    return np.inf


def _operations_saved(what: str) -> float:
    saver, _, reference = what.partition("_of_")
    names = [f"Deepcorr-5-{saver}", f"Deepcorr-5-{reference}" if reference else "Deepcorr-5"]
    few, many = (sum(unit_operations(name, layer) for layer in ALEXNET_FILTERS) for name in names)
    return 1 - few / many


def top_half(record: Record, score: str = "priority") -> np.ndarray:
    """conv1's 48 filters most susceptible by Eq. 1, or by another of `ranking.SCORES`, most susceptible first (Figure 6)."""
    return select_local({"conv1": _first_layer_scores(record, score)}, 0.5)["conv1"]


def _first_layer_scores(record: Record, score: str) -> np.ndarray:
    return correction_priority(np.array(record.outcome["swap_accuracy"]["conv1"]),
                               np.array(record.outcome["distorted_accuracy"]), score=score)


def _colour(what: str, scale: imagenet.Scale, store: Store) -> Mapping | None:
    needed = ["blur"] if what == "colour_agnostic_blur" else ["awgn", "blur"]
    records = [store.get(imagenet.ranking(scale, d)) for d in needed]
    if None in records:
        return None
    specific = colour_share(torch.from_numpy(unpack_filters(records[0].outcome["first_filters"]))) >= COLOUR_SHARE

    def share_among(chosen: list[np.ndarray]) -> float:
        shares = [specific[index].mean() for index in chosen]
        return shares[0] - shares[1] if len(shares) > 1 else 1 - shares[0]

    chosen = [top_half(record) for record in records]
    ends = [_broken_ties(record, specific, most) for record, most in zip(records, (True, False))]
    opposite = [_broken_ties(record, specific, most) for record, most in zip(records, (False, True))]
    bounds = [_colour_interval(specific, those) for those in (chosen, ends, opposite)]
    released = share_among([top_half(record, "relative_error") for record in records])
    possible = sorted(share_among(those) for those in (ends, opposite))
    above = 0.5 if len(records) == 1 else 0  # as the claims ask
    decided = len({low > above for low, _ in bounds}) == 1
    undecided = "" if decided else "equal priorities at the cut, and how such ties are broken changes the answer"
    ties = [f"ties at the cut allow {possible[0]:.4f} to {possible[1]:.4f}"] if possible[0] < possible[1] else []
    return _found(share_among(chosen), records, scale, interval=bounds[0], undecided=undecided,
                  notes=["by Eq. 1", f"by the released code's score it is {released:.4f}", *ties])


def _broken_ties(record: Record, specific: np.ndarray, most: bool) -> np.ndarray:
    """The top half by Eq. 1 with ties at the cut broken so that most, or fewest, of its filters are colour-specific."""
    decisions = record.outcome["images"] * len(record.outcome["distorted_accuracy"])
    gained = np.rint(_first_layer_scores(record, "priority") * decisions)  # whole decisions: rounding breaks no tie
    return np.lexsort((~specific if most else specific, -gained))[:len(specific) // 2]


def _colour_interval(specific: np.ndarray, chosen: list[np.ndarray]) -> tuple[float, float]:
    """Exact interval over filters of the share without colour among one choice, or of a difference in colour of two.

    As in McNemar's test, a difference rests on the filters that only one of the two choices has.
    """
    if len(chosen) == 1:
        return statistics.share_interval(int((~specific[chosen[0]]).sum()), len(chosen[0]))
    first, second = (set(np.flatnonzero(specific)) & set(index) for index in chosen)
    apart = len(first ^ second)
    return tuple((2 * end - 1) * apart / len(chosen[0])
                 for end in statistics.share_interval(len(first - second), apart))


def _classes(what: str, scale: imagenet.Scale, store: Store) -> Mapping | None:
    quantity, _, distortion = what.rpartition("_")
    records = [store.get(imagenet.deepcorrect(scale, "Deepcorr-5", distortion)),
               store.get(imagenet.finetune(scale, distortion))]
    if None in records:
        return None
    ours, others = (per_class(record, scale.classes) for record in records)
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
    return _found(value(parts.mean(1)), records, scale, interval=bounds)


def _separation(what: str, scale: imagenet.Scale, store: Store) -> Mapping | None:
    """By neighbours among the features: the plane of t-SNE is for the eye."""
    distortion = what.rpartition("_")[2]
    records = [store.get(imagenet.embedded(scale, method, distortion)) for method in ("Deepcorr-5", "Baseline")]
    if None in records:
        return None
    ours, other = (np.mean(record.outcome["separation"][1:]) for record in records)
    error = statistics.difference_error(ours, other, records[0].outcome["images"])
    return _found(ours - other, records, scale, interval=(float(ours - other - error), float(ours - other + error)))


def _speed(what: str, scale: imagenet.Scale, store: Store) -> Mapping | None:
    """How many times sooner the slowest of the fast networks has an accuracy of the slow one; the smallest factor of all.

    An accuracy that both have at their first look tells nothing: what came before was not looked at. The fast network's
    first look is a bound: the factor is as much at least. One look for both at another accuracy leaves open who was first.
    """
    quantity, _, distortion = what.rpartition("_")
    by_batchnorm = quantity == "batchnorm_speedup"
    if by_batchnorm:
        slow, *fast = (imagenet.deepcorrect(scale, v, distortion) for v in ("Deepcorr-5-no-bn", "Deepcorr-5"))
    else:
        slow, fast = imagenet.finetune(scale, distortion), [imagenet.deepcorrect(scale, v, distortion)
                                                            for v in imagenet.VARIANTS]
    records = [store.get(run) for run in (slow, *fast)]
    if None in records:
        return None
    notes = _unequal_rates(records) if by_batchnorm else []
    first = records[0].outcome["curve"][0]["iteration"]
    accuracies = sorted({float(np.mean(look["validation"])) for look in records[0].outcome["curve"]})
    times = [(iterations_to(records[0], a), max(iterations_to(r, a) for r in records[1:])) for a in accuracies]
    ratios = [own / other for own, other in times if (own, other) != (first, first)]
    value = min(ratios, default=1.0)
    undecided = ""
    if value == 1:
        undecided = "both networks are first seen with an accuracy at the same look, so that it is open which was faster"
    notes = [f"the smallest factor over {len(ratios)} of {len(accuracies)} accuracies that the looks can tell", *notes]
    return _found(value, records, scale, notes=notes, undecided=undecided)


def _unequal_rates(records: list[Record]) -> list[str]:
    rates = [record.description["schedule"]["learning_rate"] for record in records]
    if len(set(rates)) == 1:
        return []
    named = " and ".join(f"{r.description['method']} at {rate:g}" for r, rate in zip(records, rates))
    return [f"learning rates differ ({named}), so that this is not the effect of BatchNorm alone"]


def _found(value: float, records: list[Record], scale: imagenet.Scale, **more) -> dict:
    classes = other_classes(imagenet.baseline(scale), imagenet.baseline(imagenet.SCALES["paper"]))
    return {"value": float(value), "runs": tuple(r.id for r in records), "stand_in": scale.stand_in,
            "other_classes": classes, **more}
