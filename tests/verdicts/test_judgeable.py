"""What can judge a claim: which stand-ins, networks, test images and splits."""

import numpy as np
import pytest
import torch
from claim_records import Lookups, Record, Shelf, claim, judged

from dclib.datasets import per_class_sample
from dclib.experiments import StandIn
from dclib.verdicts.comparison import compare
from dclib.verdicts.evidence import Evidence
from dclib.verdicts.finding import Outcome
from dclib.verdicts.source import Measure

HOLDS, DIRECTION, CONTRADICTED, INCONCLUSIVE, OPEN, NOT_RUN = Outcome


NUMBERS = (
    claim("accuracy", 0.49, 2, method="A"),
    claim("relative_improvement", 0.46, 2, a="A", b="B"),
    claim("ratio", 1.46, 2, a="A", b="B"),
    claim("relative_drop", 0.31, 2, a="B", b="A"),
)


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number["test"]["kind"])
@pytest.mark.parametrize("field", ["other_classes", "other_width"])
def test_a_stand_in_of_another_size_judges_no_size_but_the_side(number, field):
    """The size of 0.46 is right with 0.49; with 0.38 only its sign is, with 0.30 not even that."""
    accuracy = number["test"]["kind"] == "accuracy"
    for a, expected, whole in ((0.49, DIRECTION, HOLDS), (0.38, DIRECTION, DIRECTION), (0.30, CONTRADICTED, CONTRADICTED)):
        shelf = Shelf({"A": a, "B": 0.3378}, extra={"stand_in": (StandIn("less"),), field: "32 of these instead of 96"})
        verdict = judged(number, shelf)
        assert verdict.verdict == (OPEN if accuracy else expected)
        assert verdict.ours is not None and verdict.interval and verdict.runs and verdict.deviation is None
        if accuracy or expected is DIRECTION:
            assert "32 of these instead of 96" in verdict.explanation
        full = judged(number, Shelf(shelf.methods))
        assert full.verdict == (whole if not accuracy else HOLDS if a == 0.49 else CONTRADICTED)
        assert full.deviation is not None


def test_a_short_training_at_the_papers_size_judges_sizes_and_is_named():
    short = Shelf({"A": 0.49, "B": 0.3378}, extra={"short_training": "900 iterations instead of 14,400"})
    verdict = judged(NUMBERS[1], short)
    assert verdict.verdict == HOLDS and verdict.deviation is not None
    assert "short training, 900 iterations instead of 14,400" in verdict.explanation


def test_a_stand_in_with_other_classes_judges_order_and_words():
    few = Shelf({"A": 0.55, "B": 0.5}, extra={"other_classes": "20 classes instead of 1000"})
    assert judged(claim("order", better="A", worse="B", over="average"), few).verdict == HOLDS
    measured = Measure(0.7, (0.65, 0.75), other_classes="20 classes instead of 1000")
    words = claim("measure", name="n", what="w", above=0.5)
    number = claim("measure", 0.7, 1, name="n", above=0, tolerance=0.5)
    assert judged(words, Shelf({}), measure=lambda name: measured).verdict == HOLDS
    assert judged(number, Shelf({}), measure=lambda name: measured).verdict == DIRECTION


def test_the_papers_effect_is_not_asked_of_a_stand_in_of_another_size():
    equal = claim("order", better="A", worse="B", over="average") | {"from_tables": 0.05}
    assert judged(equal, Shelf({"A": 0.5, "B": 0.5})).verdict == CONTRADICTED
    assert judged(equal, Shelf({"A": 0.5, "B": 0.5}, extra={"other_width": "32 instead of 96"})).verdict == INCONCLUSIVE


def few_and_many(per_class, whole):
    """Two methods on 10 classes: B saw `per_class` images of each, A as many as `whole` (None: all 50), both right alike."""
    rng, few = np.random.default_rng(0), per_class_sample(torch.arange(10).repeat_interleave(50), per_class, 0).numpy()
    order = per_class_sample(torch.arange(10).repeat_interleave(50), whole, 0).numpy() if whole else np.arange(500)
    right = rng.random((7, 500)) < 0.5
    return {
        "A": Record(right[:, order].mean(1), right[:, order], 0, "A", classes=10, test_images=whole),
        "B": Record(right[:, few].mean(1), right[:, few], 0, "B", classes=10, test_images=per_class),
    }


@pytest.mark.parametrize("whole", [None, 20])
def test_fewer_test_images_are_paired_with_the_same_ones(whole):
    records = few_and_many(2, whole)
    evidence = Evidence({"table": 3}, Lookups(lambda table, method: [records[method]]))
    found = compare(evidence.sample("A"), evidence.sample("B"))
    assert (found.value, found.interval, found.common) == (0, (0, 0), 20)
    verdict = judged(claim("order", better="A", worse="B", over="average"), lambda t, m: [records[m]])
    assert verdict.verdict == INCONCLUSIVE and "on the 20 images that both saw" in verdict.explanation


def test_unknown_images_are_drawn_apart_and_never_left_to_the_spread():
    records = few_and_many(2, None)
    records["B"].test_images = None
    records["B"].classes = None
    evidence = Evidence({"table": 3}, Lookups(lambda table, method: [records[method]]))
    found = compare(evidence.sample("A"), evidence.sample("B"))
    assert found.interval and found.high - found.low > 0.05 and found.common is None


def test_random_splits_give_the_interval():
    def shelf(gap, noise):
        splits = np.linspace(0.6, 0.4, 5)[:, None] + np.zeros(7)  # splits differ much, methods on one split little
        made = {"A": splits + gap + noise * np.array([[1], [-1], [1], [-1], [0]]), "B": splits}
        return lambda t, m: [Record(made[m].mean(0), None, 0, m, draws=made[m])]

    order = claim("order", better="A", worse="B", over="average")
    for gap, noise, expected in ((0.005, 0.0005, HOLDS), (0.02, 0.03, INCONCLUSIVE)):
        verdict = judged(order, shelf(gap, noise))
        assert verdict.verdict == expected and verdict.interval[0] < gap < verdict.interval[1]
    gain = judged(claim("relative_improvement", 0.04, 2, a="A", b="B"), shelf(0.02, 0.001))
    assert gain.verdict == HOLDS and gain.interval
