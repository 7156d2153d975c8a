"""What can judge a claim: which stand-ins, networks, test images and splits."""

import numpy as np
import pytest
import torch
from claim_records import Record, Shelf, claim

from dclib import paper, verdicts
from dclib.datasets import per_class_sample
from dclib.evidence import Evidence, compare
from dclib.statistics import Outcome

HOLDS, DIRECTION, FAILS, OPEN, NOT_RUN = Outcome


NUMBERS = (claim("accuracy", 0.49, 2, method="A"), claim("relative_improvement", 0.46, 2, a="A", b="B"),
           claim("ratio", 1.46, 2, a="A", b="B"), claim("relative_drop", 0.31, 2, a="B", b="A"))


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number["test"]["kind"])
@pytest.mark.parametrize("a", [0.49, 0.30])
def test_a_stand_in_with_other_classes_judges_no_number(number, a):
    few = Shelf({"A": a, "B": 0.3378}, extra={"stand_in": "20 classes", "other_classes": "20 classes instead of 1000"})
    verdict = verdicts.judge(number, few)
    assert verdict.verdict == OPEN and verdict.ours is not None and verdict.interval and verdict.runs
    assert "20 classes instead of 1000" in verdict.explanation and verdict.deviation is None
    narrow = verdicts.judge(number, Shelf(few.methods, extra={"stand_in": "a third of the width"}))
    assert narrow.verdict == (HOLDS if a == 0.49 else FAILS) and narrow.deviation is not None


def test_a_stand_in_with_other_classes_judges_order_and_words():
    few = Shelf({"A": 0.55, "B": 0.5}, extra={"other_classes": "20 classes instead of 1000"})
    assert verdicts.judge(claim("order", better="A", worse="B", over="average"), few).verdict == HOLDS
    measured = {"value": 0.7, "other_classes": "20 classes instead of 1000"}
    words, number = claim("measure", name="n", what="w", above=0.5), claim("measure", 0.7, 1, name="n", above=0, tolerance=1)
    assert verdicts.judge(words, Shelf({}), None, lambda name: measured).verdict == HOLDS
    assert verdicts.judge(number, Shelf({}), None, lambda name: measured).verdict == OPEN


LIKE = (claim("similar", a="A", b="B", margin=0.01, baseline="C"), claim("ratio", 1, 2, a="A", b="B", baseline="C"),
        claim("not_significant", 0.2, 1, pairs=[["A", "B"]], baseline=["C"]))


@pytest.mark.parametrize("like", LIKE, ids=lambda like: like["test"]["kind"])
def test_likeness_needs_networks_that_have_left_the_baseline(like):
    assert verdicts.required(like) == [(3, "C"), (3, "A"), (3, "B")]
    assert verdicts.judge(like, Shelf({"A": 0.5, "B": 0.5, "C": 0.4})).verdict == HOLDS
    unmoved = verdicts.judge(like, Shelf({"A": 0.5, "B": 0.5, "C": 0.5}))
    assert unmoved.verdict == OPEN and unmoved.ours is not None and "from the baseline: A 0.0" in unmoved.explanation
    assert verdicts.judge(like, Shelf({"A": 0.5, "B": 0.5, "C": 0.495})).verdict == OPEN  # within the authors' spread
    assert verdicts.judge(like, Shelf({"A": 0.5, "B": 0.5})).verdict == NOT_RUN


def test_a_claim_about_the_baseline_itself_asks_only_the_other_to_have_left_it():
    kept = claim("similar", a="A", b="B", margin=0.01, baseline="B", level=0)
    levels = np.array([0.7, *[0.3] * 6])
    assert verdicts.judge(kept, Shelf({"A": levels + [0, *[0.2] * 6], "B": levels})).verdict == HOLDS
    assert verdicts.judge(kept, Shelf({"A": levels, "B": levels})).verdict == OPEN


def test_claims_of_likeness_name_their_baseline():
    for source in paper.claims():
        if source["test"]["kind"] in ("similar", "not_significant") or "bottleneck-share" in source["id"]:
            assert len(np.atleast_1d(source["test"]["baseline"])) == len(source["test"].get("pairs", "1")), source["id"]


def few_and_many(per_class, whole):
    """Two methods on 10 classes: B saw `per_class` images of each, A as many as `whole` (None: all 50), both right alike."""
    rng, few = np.random.default_rng(0), per_class_sample(torch.arange(10).repeat_interleave(50), per_class, 0).numpy()
    order = per_class_sample(torch.arange(10).repeat_interleave(50), whole, 0).numpy() if whole else np.arange(500)
    right = rng.random((7, 500)) < 0.5
    return {"A": Record(right[:, order].mean(1), right[:, order], 0, "A", classes=10, test_images=whole),
            "B": Record(right[:, few].mean(1), right[:, few], 0, "B", classes=10, test_images=per_class)}


@pytest.mark.parametrize("whole", [None, 20])
def test_fewer_test_images_are_paired_with_the_same_ones(whole):
    records = few_and_many(2, whole)
    evidence = Evidence({"table": 3}, lambda table, method: [records[method]])
    found = compare(evidence.sample("A"), evidence.sample("B"))
    assert (found.difference, found.low, found.high, found.common) == (0, 0, 0, 20)
    verdict = verdicts.judge(claim("order", better="A", worse="B", over="average"), lambda t, m: [records[m]])
    assert verdict.verdict == FAILS and "on the 20 images that both saw" in verdict.explanation


def test_unknown_images_are_drawn_apart_and_never_left_to_the_spread():
    records = few_and_many(2, None)
    records["B"].test_images = None
    records["B"].classes = None
    evidence = Evidence({"table": 3}, lambda table, method: [records[method]])
    found = compare(evidence.sample("A"), evidence.sample("B"))
    assert found.interval and found.high - found.low > 0.05 and found.common is None


def test_random_splits_give_the_interval():
    def shelf(gap, noise):
        splits = np.linspace(0.6, 0.4, 5)[:, None] + np.zeros(7)  # splits differ much, methods on one split little
        made = {"A": splits + gap + noise * np.array([[1], [-1], [1], [-1], [0]]), "B": splits}
        return lambda t, m: [Record(made[m].mean(0), None, 0, m, draws=made[m])]

    order = claim("order", better="A", worse="B", over="average")
    for gap, noise, expected in ((0.005, 0.0005, HOLDS), (0.02, 0.03, FAILS)):
        verdict = verdicts.judge(order, shelf(gap, noise))
        assert verdict.verdict == expected and verdict.interval[0] < gap < verdict.interval[1]
    gain = verdicts.judge(claim("relative_improvement", 0.04, 2, a="A", b="B"), shelf(0.02, 0.001))
    assert gain.verdict == HOLDS and gain.interval
