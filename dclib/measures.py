"""What Figures 6, 10, 11, 12 and Table 10 are claimed to show, as numbers computed from records and weights.

Each measure is {"value", "runs", "stand_in"} or None where a record is missing; `measure` finds it by the name that
data/paper/claims.json gives it.
"""

from collections.abc import Mapping

import numpy as np
import torch

from dclib.correction import ALEXNET_FILTERS, ALEXNET_UNITS, CorrectionUnit
from dclib.experiments import imagenet
from dclib.models import multiply_adds
from dclib.ranking import correction_priority, select_local
from dclib.results import Record, Store, unpack_filters

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


def colour_share(filters: torch.Tensor) -> np.ndarray:
    """Share of each filter's energy that is not the same in red, green and blue: [N, 3, k, k] -> [N] in 0..1."""
    weight = filters.double()
    grey = weight.mean(1, keepdim=True)
    energy = weight.square().sum((1, 2, 3)).clamp_min(torch.finfo(torch.float64).tiny)
    return ((weight - grey).square().sum((1, 2, 3)) / energy).numpy()


def per_class(record: Record, classes: int) -> np.ndarray:
    """Mean accuracy over all levels per class [classes] of a record whose test images are sorted by class."""
    return record.correct.mean(0).reshape(classes, -1).mean(1)


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


def top_half(record: Record) -> np.ndarray:
    """conv1's 48 filters most susceptible by the released score, most susceptible first (Figure 6)."""
    scores = correction_priority(np.array(record.outcome["swap_accuracy"]["conv1"]),
                                 np.array(record.outcome["distorted_accuracy"]), score="relative_error")
    return select_local({"conv1": scores}, 0.5)["conv1"]


def _colour(what: str, scale: imagenet.Scale, store: Store) -> Mapping | None:
    records = {d: store.get(imagenet.ranking(scale, d)) for d in ("blur", "awgn")}
    needed = ["blur"] if what == "colour_agnostic_blur" else ["blur", "awgn"]
    if any(records[d] is None for d in needed):
        return None
    shares = colour_share(torch.from_numpy(unpack_filters(records["blur"].outcome["first_filters"])))
    specific = {d: float((shares[top_half(records[d])] >= COLOUR_SHARE).mean()) for d in needed}
    value = 1 - specific["blur"] if what == "colour_agnostic_blur" else specific["awgn"] - specific["blur"]
    return _found(value, [records[d] for d in needed], scale)


def _classes(what: str, scale: imagenet.Scale, store: Store) -> Mapping | None:
    quantity, _, distortion = what.rpartition("_")
    records = [store.get(imagenet.deepcorrect(scale, "Deepcorr-5", distortion)),
               store.get(imagenet.finetune(scale, distortion))]
    if None in records:
        return None
    ours, others = (per_class(record, scale.classes) for record in records)
    difference = ours - others
    better, worse = difference[difference > 0], difference[difference < 0]
    if quantity == "net_classes":
        return _found((len(better) - len(worse)) / scale.classes, records, scale)
    margins = [float(side.mean()) if len(side) else 0.0 for side in (better, -worse)]
    return _found(margins[0] - margins[1], records, scale)


def _separation(what: str, scale: imagenet.Scale, store: Store) -> Mapping | None:
    distortion = what.rpartition("_")[2]
    records = [store.get(imagenet.embedded(scale, method, distortion)) for method in ("Deepcorr-5", "Baseline")]
    if None in records:
        return None
    ours, other = (np.mean(record.outcome["separation"][1:]) for record in records)
    return _found(ours - other, records, scale)


def _speed(what: str, scale: imagenet.Scale, store: Store) -> Mapping | None:
    quantity, _, distortion = what.rpartition("_")
    if quantity == "speedup":
        slow, fast = imagenet.finetune(scale, distortion), [imagenet.deepcorrect(scale, v, distortion)
                                                            for v in imagenet.VARIANTS]
    else:
        slow, *fast = (imagenet.deepcorrect(scale, v, distortion) for v in ("Deepcorr-5-no-bn", "Deepcorr-5"))
    records = [store.get(run) for run in (slow, *fast)]
    if None in records:
        return None
    reached = [float(np.mean(look["validation"])) for look in records[0].outcome["curve"]]
    ratios = [iterations_to(records[0], a) / max(iterations_to(r, a) for r in records[1:]) for a in reached]
    return _found(min(ratios), records, scale)


def _found(value: float, records: list[Record], scale: imagenet.Scale) -> dict:
    return {"value": float(value), "runs": tuple(r.id for r in records), "stand_in": scale.stand_in}
