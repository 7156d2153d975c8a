"""Claims about Figures 4 and 5, from curves whose shape is known."""

import numpy as np
import pytest
from claim_records import Shelf, claim, judged

from dclib.verdicts.finding import Outcome
from dclib.verdicts.source import Swaps

HOLDS, DIRECTION, CONTRADICTED, INCONCLUSIVE, OPEN, NOT_RUN = Outcome


def swaps(curve):
    """Layers of one dataset: 10, 25, 50, 75, 90 % swapped, the same at every level."""
    return lambda dataset, distortion: Swaps({k: np.repeat(np.array(v)[:, None], 6, 1) for k, v in curve.items()})


def on_images(curve, images):
    found = Swaps(swaps(curve)("", ""))
    found.images = images
    return lambda dataset, distortion: found


FIGURE = {"conv1": [0.2, 0.8, 0.9, 0.9, 0.9], "conv2": [0.2, 0.4, 0.7, 0.8, 0.9], "conv3": [0.2, 0.3, 0.4, 0.6, 0.9]}
PLACE = dict(dataset="cifar100", distortion="blur")
FIGURES = [
    (claim("recovered_share", layer="conv1", fraction=0.25, at_least=0.5, **PLACE), HOLDS),
    (claim("recovered_share", layer="conv2", fraction=0.25, at_least=0.5, **PLACE), DIRECTION),
    (claim("largest_step", layer="conv1", step=[0.1, 0.25], **PLACE), HOLDS),
    (claim("largest_step", layer="conv2", step=[0.75, 0.9], **PLACE), CONTRADICTED),
    (claim("largest_layer", layer="conv1", fraction=0.5, **PLACE), HOLDS),
    (claim("largest_layer", layer="conv2", fraction=0.5, **PLACE), CONTRADICTED),
    (claim("largest_layer", layer="conv2", fraction=0.9, **PLACE), INCONCLUSIVE),  # all three layers are equal there
    (claim("largest_layer", layer="conv2", fraction=0.75, **PLACE), CONTRADICTED),
    (claim("declines_with_depth", fraction=0.5, first="conv1", quantity="accuracy", **PLACE), HOLDS),
    (claim("declines_with_depth", fraction=0.25, first="conv1", quantity="recovered_share", **PLACE), HOLDS),
]


@pytest.mark.parametrize("test, expected", FIGURES)
def test_figures(test, expected):
    assert judged(test, Shelf({}), swaps(FIGURE)).verdict == expected


def test_decline_with_one_exception_holds_in_direction():
    bumpy = {"conv1": [0.1, 0.1, 0.9, 0.9, 0.9], "conv2": [0.1, 0.1, 0.5, 0.9, 0.9], "conv3": [0.1, 0.1, 0.6, 0.9, 0.9]}
    assert judged(FIGURES[-2][0], Shelf({}), swaps(bumpy)).verdict == DIRECTION


def test_a_lead_of_two_decisions_does_not_hold():
    """Three layers on 20 images at 6 levels; the best leads by 2 of 120 decisions."""
    test = claim("largest_layer", layer="conv1", fraction=0.5, **PLACE)
    flat = {"conv1": [0.6] * 2 + [0.85] * 3, "conv2": [0.6] * 2 + [0.85 - 2 / 120] * 3}
    found = judged(test, Shelf({}), on_images(flat, 20))
    assert found.verdict == INCONCLUSIVE and found.ours == pytest.approx(2 / 120) and "could have shown" in found.explanation
    assert judged(test, Shelf({}), on_images(flat, 100_000)).verdict == HOLDS


def test_shares_within_the_sampling_error():
    share = claim("recovered_share", layer="conv1", fraction=0.25, at_least=0.5, **PLACE)
    for images, expected in ((10, DIRECTION), (2000, HOLDS)):
        assert judged(share, Shelf({}), on_images({"conv1": [0.2, 0.8, 0.9, 0.9, 0.9]}, images)).verdict == expected
    few = judged(share, Shelf({}), on_images({"conv1": [0.8, 0.85, 0.85, 0.85, 0.85]}, 20))
    assert few.verdict == OPEN and "gains 0.0500" in few.explanation
    hurts = swaps({"conv1": [0.9, 0.5, 0.4, 0.3, 0.2]})  # nothing is won back: there is nothing to take a share of
    assert judged(share, Shelf({}), hurts).verdict == OPEN
    decline = next(test for test, _ in FIGURES if test["test"].get("quantity") == "recovered_share")
    assert judged(decline, Shelf({}), on_images(FIGURE, 2)).verdict == OPEN


def test_recovered_less():
    test = claim("recovered_less", distortion="blur", layer="conv1", fraction=0.25, less="imagenet", more="cifar100")
    sets = {"cifar100": swaps(FIGURE)("", ""), "imagenet": swaps({"conv1": FIGURE["conv3"]})("", "")}
    assert judged(test, Shelf({}), lambda d, _: sets[d]).verdict == HOLDS
    assert judged(test, Shelf({}), lambda d, _: sets["cifar100"]).verdict == INCONCLUSIVE  # equal: neither needs more
    assert judged(test, Shelf({}), lambda d, _: sets[{"cifar100": "imagenet"}.get(d, "cifar100")]).verdict == CONTRADICTED


# With bits, images are resampled


def with_bits(accuracies, images=400, seed=0):
    """Curves of layers whose bits agree on most images: each image has one difficulty."""
    hardness = np.random.default_rng(seed).permutation(images) / images
    after = {
        layer: np.broadcast_to((hardness < np.array(a)[:, None])[:, None], (5, 6, images)).copy()
        for layer, a in accuracies.items()
    }
    found = Swaps({layer: bits.mean(-1) for layer, bits in after.items()})
    found.images, found.after, found.runs = images, (after,), ("swap",)
    return lambda dataset, distortion: found


def test_bits_of_the_same_images_are_paired():
    """A lead of 10 of 400 images that nobody else loses is certain; its binomial error is 25 images."""
    close = {"conv1": [0.2, 0.5, 0.825, 0.9, 0.9], "conv2": [0.2, 0.4, 0.8, 0.9, 0.9]}
    test = claim("largest_layer", layer="conv1", fraction=0.5, **PLACE)
    paired = judged(test, Shelf({}), with_bits(close))
    assert paired.verdict == HOLDS and paired.interval[0] > 0 and paired.ours == pytest.approx(0.025)
    expected = 1.96 * np.sqrt(0.025 * 0.975 / 400)  # a share of 10 in 400
    assert np.ptp(paired.interval) == pytest.approx(2 * expected, rel=0.15)
    bare = with_bits(close)("", "")
    bare.after = ()
    unpaired = judged(test, Shelf({}), lambda dataset, distortion: bare)
    assert unpaired.verdict == INCONCLUSIVE and "keeps no bits" in unpaired.explanation


@pytest.mark.parametrize("test, expected", FIGURES)
def test_figures_with_bits(test, expected):
    assert judged(test, Shelf({}), with_bits(FIGURE, 2000)).verdict == expected


def test_recovered_less_is_resampled_for_each_network_apart():
    test = claim("recovered_less", distortion="blur", layer="conv1", fraction=0.25, less="imagenet", more="cifar100")
    sets = {"cifar100": with_bits(FIGURE), "imagenet": with_bits({"conv1": FIGURE["conv3"]}, 300, 1)}
    verdict = judged(test, Shelf({}), lambda d, k: sets[d](d, k))
    assert verdict.verdict == HOLDS and verdict.interval[0] < verdict.ours < verdict.interval[1]
