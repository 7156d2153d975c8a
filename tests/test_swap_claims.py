"""Claims about Figures 4 and 5, from curves whose shape is known."""

import numpy as np
import pytest
from claim_records import Shelf, claim

from dclib import verdicts
from dclib.statistics import Outcome

HOLDS, DIRECTION, FAILS, OPEN, NOT_RUN = Outcome


def swaps(curve):
    """Layers of one dataset: 10, 25, 50, 75, 90 % swapped, the same at every level."""
    return lambda dataset, distortion: {k: np.repeat(np.array(v)[:, None], 6, 1) for k, v in curve.items()}


class Curves(dict):
    """Swap accuracies that say on how many images."""

    images: int | None = None


def on_images(curve, images):
    found = Curves(swaps(curve)("", ""))
    found.images = images
    return lambda dataset, distortion: found


FIGURE = {"conv1": [0.2, 0.8, 0.9, 0.9, 0.9], "conv2": [0.2, 0.4, 0.7, 0.8, 0.9], "conv3": [0.2, 0.3, 0.4, 0.6, 0.9]}
PLACE = dict(dataset="cifar100", distortion="blur")
FIGURES = [
    (claim("recovered_share", layer="conv1", fraction=0.25, at_least=0.5, **PLACE), HOLDS),
    (claim("recovered_share", layer="conv2", fraction=0.25, at_least=0.5, **PLACE), DIRECTION),
    (claim("largest_step", layer="conv1", step=[0.1, 0.25], **PLACE), HOLDS),
    (claim("largest_step", layer="conv2", step=[0.75, 0.9], **PLACE), FAILS),
    (claim("largest_layer", layer="conv1", fraction=0.5, **PLACE), HOLDS),
    (claim("largest_layer", layer="conv2", fraction=0.5, **PLACE), FAILS),
    (claim("largest_layer", layer="conv2", fraction=0.9, **PLACE), OPEN),  # all three layers are equal there
    (claim("largest_layer", layer="conv2", fraction=0.75, **PLACE), FAILS),
    (claim("declines_with_depth", fraction=0.5, first="conv1", quantity="accuracy", **PLACE), HOLDS),
    (claim("declines_with_depth", fraction=0.25, first="conv1", quantity="recovered_share", **PLACE), HOLDS),
]


@pytest.mark.parametrize("test, expected", FIGURES)
def test_figures(test, expected):
    assert verdicts.judge(test, Shelf({}), swaps(FIGURE)).verdict == expected


def test_decline_with_one_exception_holds_in_direction():
    bumpy = {"conv1": [0.1, 0.1, 0.9, 0.9, 0.9], "conv2": [0.1, 0.1, 0.5, 0.9, 0.9], "conv3": [0.1, 0.1, 0.6, 0.9, 0.9]}
    assert verdicts.judge(FIGURES[-2][0], Shelf({}), swaps(bumpy)).verdict == DIRECTION


def test_a_lead_of_two_decisions_does_not_hold():
    """Three layers on 20 images at 6 levels; the best leads by 2 of 120 decisions."""
    test = claim("largest_layer", layer="conv1", fraction=0.5, **PLACE)
    flat = {"conv1": [0.6] * 2 + [0.85] * 3, "conv2": [0.6] * 2 + [0.85 - 2 / 120] * 3}
    found = verdicts.judge(test, Shelf({}), on_images(flat, 20))
    assert found.verdict == OPEN and found.ours == pytest.approx(2 / 120) and "chance alone" in found.explanation
    assert verdicts.judge(test, Shelf({}), on_images(flat, 100_000)).verdict == HOLDS
    apart = flat | {"conv3": [0.1] * 5}  # one layer is clearly worse: the claim can be judged, the lead is not shown
    assert verdicts.judge(test, Shelf({}), on_images(apart, 20)).verdict == DIRECTION


def test_shares_within_the_sampling_error():
    share = claim("recovered_share", layer="conv1", fraction=0.25, at_least=0.5, **PLACE)
    for images, expected in ((10, DIRECTION), (2000, HOLDS)):
        assert verdicts.judge(share, Shelf({}), on_images({"conv1": [0.2, 0.8, 0.9, 0.9, 0.9]}, images)).verdict == expected
    few = verdicts.judge(share, Shelf({}), on_images({"conv1": [0.8, 0.85, 0.85, 0.85, 0.85]}, 20))
    assert few.verdict == OPEN and "spans 0.0500" in few.explanation
    hurts = swaps({"conv1": [0.9, 0.5, 0.4, 0.3, 0.2]})  # nothing is won back: there is nothing to take a share of
    assert verdicts.judge(share, Shelf({}), hurts).verdict == OPEN
    decline = next(test for test, _ in FIGURES if test["test"].get("quantity") == "recovered_share")
    assert verdicts.judge(decline, Shelf({}), on_images(FIGURE, 5)).verdict == OPEN


def test_recovered_less():
    test = claim("recovered_less", distortion="blur", layer="conv1", fraction=0.25, less="imagenet", more="cifar100")
    sets = {"cifar100": swaps(FIGURE)("", ""), "imagenet": swaps({"conv1": FIGURE["conv3"]})("", "")}
    assert verdicts.judge(test, Shelf({}), lambda d, _: sets[d]).verdict == HOLDS
    assert verdicts.judge(test, Shelf({}), lambda d, _: sets["cifar100"]).verdict == OPEN  # equal: neither needs more
    assert verdicts.judge(test, Shelf({}), lambda d, _: sets[{"cifar100": "imagenet"}.get(d, "cifar100")]).verdict == FAILS
