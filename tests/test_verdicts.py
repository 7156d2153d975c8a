"""Each kind of claim and each outcome, from synthetic records whose effect is known."""

import numpy as np
import pytest
from claim_records import Record, Shelf, claim

from dclib import paper, verdicts
from dclib.evidence import Evidence, compare
from dclib.statistics import Outcome

HOLDS, DIRECTION, FAILS, OPEN, NOT_RUN = Outcome

GAIN = claim("relative_improvement", 0.46, 2, a="A", b="B")


@pytest.mark.parametrize("a, expected", [(0.49, HOLDS), (0.40, DIRECTION), (0.3378, FAILS), (0.30, FAILS)])
def test_relative_improvement(a, expected):
    verdict = verdicts.judge(GAIN, Shelf({"A": a, "B": 0.3378}))
    assert verdict.verdict == expected
    assert verdict.ours == pytest.approx(a / 0.3378 - 1, abs=0.01)
    assert verdict.interval[0] <= verdict.ours <= verdict.interval[1]
    assert "paired t-test over levels" in verdict.pvalues


def test_a_small_gain_fails_when_the_opposite_is_shown():
    small = claim("relative_improvement", 0.01, 2, a="A", b="B")
    verdict = verdicts.judge(small, Shelf({"A": 0.496, "B": 0.5}))  # nearer to 0.01 than the authors' spread
    assert verdict.interval[1] < 0 and verdict.verdict == FAILS


def test_accuracy_has_no_direction():
    assert verdicts.judge(claim("accuracy", 0.70, 2, method="A"), Shelf({"A": 0.69})).verdict == HOLDS
    assert verdicts.judge(claim("accuracy", 0.70, 2, method="A"), Shelf({"A": 0.5})).verdict == FAILS


def test_ratio_direction_is_below_one():
    test = claim("ratio", 0.60, 2, a="A", b="B")
    assert verdicts.judge(test, Shelf({"A": 0.45, "B": 0.5})).verdict == DIRECTION
    assert verdicts.judge(test, Shelf({"A": 0.55, "B": 0.5})).verdict == FAILS


def test_relative_drop_reads_two_tables():
    test = claim("relative_drop", 0.41, 2, a="A", b={"table": 13, "method": "B"})
    assert verdicts.required(test) == [(3, "A"), (13, "B")]
    assert verdicts.judge(test, Shelf({"A": 0.50, "B": 0.85})).verdict == HOLDS


def test_recovered_loss():
    test = claim("recovered_loss", method="A", baseline="B", at_least=0.5)
    baseline = [0.7, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2]
    for a, expected in ((0.65, HOLDS), (0.45, DIRECTION), (0.35, FAILS), (0.2, FAILS)):  # shares 0.88, 0.42, 0.18, -0.17
        assert verdicts.judge(test, Shelf({"A": a, "B": baseline})).verdict == expected


def test_order_on_average():
    test = claim("order", better="A", worse="B", over="average")
    assert verdicts.judge(test, Shelf({"A": 0.55, "B": 0.5})).verdict == HOLDS
    assert verdicts.judge(test, Shelf({"A": 0.5, "B": 0.5})).verdict == FAILS
    assert verdicts.judge(test, Shelf({"A": 0.5, "B": 0.55})).verdict == FAILS


def test_order_at_each_level():
    test = claim("order", better="A", worse="B", over="each level")
    high = np.full(7, 0.6)
    assert verdicts.judge(test, Shelf({"A": high, "B": 0.5})).verdict == HOLDS
    high[3] = 0.5  # one level level: the average still speaks
    assert verdicts.judge(test, Shelf({"A": high, "B": 0.5})).verdict == DIRECTION
    high[3] = 0.4  # one level reversed
    verdict = verdicts.judge(test, Shelf({"A": high, "B": 0.5}))
    assert verdict.verdict == FAILS and "worse in 1" in verdict.explanation
    assert len(verdict.pvalues["bootstrap over images, Holm"]) == 7
    assert len(verdict.pvalues["McNemar over images, per level, Holm"]) == 7


def test_order_at_one_level_and_against_several():
    low_end = [0.9, 0.5, 0.5, 0.5, 0.5, 0.5, 0.2]
    severe = claim("order", better="A", worse="B", over=6)
    assert verdicts.judge(severe, Shelf({"A": 0.4, "B": low_end})).verdict == HOLDS
    test = claim("order", better="A", worse=["B", "C"], over="average")
    assert verdicts.judge(test, Shelf({"A": 0.6, "B": 0.5, "C": 0.4})).verdict == HOLDS
    assert verdicts.judge(test, Shelf({"A": 0.6, "B": 0.5, "C": 0.65})).verdict == FAILS


def test_drop():
    test = claim("drop", method="A", level=1)
    assert verdicts.judge(test, Shelf({"A": [0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]})).verdict == HOLDS
    assert verdicts.judge(test, Shelf({"A": 0.7})).verdict == FAILS


def test_similar():
    test = claim("similar", a="A", b="B", margin=0.01)
    assert verdicts.judge(test, Shelf({"A": 0.5, "B": 0.501})).verdict == HOLDS
    assert verdicts.judge(test, Shelf({"A": 0.5, "B": 0.5095})).verdict == DIRECTION
    assert verdicts.judge(test, Shelf({"A": 0.5, "B": 0.55})).verdict == FAILS


RANKED, RANDOM = np.linspace(0.7, 0.3, 7), np.linspace(0.7, 0.3, 7) - 0.03


LEVELS_AND_IMAGES = np.linspace(0.03, 0.04, 7)
IMAGES_ONLY = np.array([0.2, 0, 0, 0, 0, 0, 0])  # one level of seven: nothing for the t-test
NEITHER = np.array([0.01, -0.01, 0.01, 0, -0.01, 0.01, -0.01])


@pytest.mark.parametrize(
    "gap, significant, not_significant",
    [
        (LEVELS_AND_IMAGES, HOLDS, FAILS),
        (IMAGES_ONLY, DIRECTION, DIRECTION),
        (NEITHER, FAILS, HOLDS),
        (-LEVELS_AND_IMAGES, FAILS, FAILS),
    ],
)
def test_significance(gap, significant, not_significant):
    high = np.linspace(0.7, 0.3, 7)
    shelf = Shelf({"A": high, "B": high - gap})
    for kind, expected in (("significant", significant), ("not_significant", not_significant)):
        verdict = verdicts.judge(claim(kind, 0.2151, 4, pairs=[["A", "B"]]), shelf)
        assert verdict.verdict == expected
        assert verdict.ours == verdict.pvalues["paired t-test over levels"]


def test_pairs_of_both_distortions_share_one_t_test():
    high = np.linspace(0.7, 0.3, 7)
    shelf = Shelf({"A": high, "B": high - LEVELS_AND_IMAGES})
    verdict = verdicts.judge(claim("significant", 0.0002, 4, pairs=[["A", "B"], ["A", "B"]]), shelf)
    assert "14 pairs" in verdict.explanation and len(verdict.pvalues["bootstrap over images, Holm"]) == 2


def counted(test, **parameters):
    """The verdict on parameters, counted by the caller, without any record."""
    return verdicts.judge(test, Shelf({}), None, None, lambda table, method: parameters.get(method))


def test_counts_of_parameters_need_no_run():
    assert counted(claim("count", 80954, 0, method="A", unit=1), A=80954).verdict == HOLDS
    assert counted(claim("count", 80955, 0, method="A", unit=1), A=80954).verdict == FAILS
    assert counted(claim("count", 80954, 0, method="A", unit=1)).verdict == NOT_RUN
    assert counted(claim("count", 80954, 0, method="A", unit=1), A=80954).runs == ()


def test_fewer_parameters():
    test = claim("fewer_parameters", 0.954, 3, fewer="A", than="B")
    for fewer, expected in ((46, HOLDS), (100, DIRECTION), (1001, FAILS)):
        assert counted(test, A=fewer, B=1000).verdict == expected


def test_arithmetic_needs_no_run():
    verdict = verdicts.judge(claim("arithmetic", 10, 0, operation="passes", terms=[62500, 256, 1300000]), Shelf({}))
    assert verdict.verdict == FAILS and verdict.runs == () and verdict.seeds == 0
    assert verdicts.judge(claim("arithmetic", 432, 0, operation="sum", terms=[48] * 9), Shelf({})).verdict == HOLDS


def test_measures():
    test = claim("measure", 0.744, 3, name="n", what="w", above=0, tolerance=0.05)
    for value, expected in ((0.72, HOLDS), (0.4, DIRECTION), (-0.1, FAILS)):
        found = {"value": value, "runs": ["r"], "seeds": 2, "stand_in": "20 classes"}
        verdict = verdicts.judge(test, Shelf({}), None, lambda name: found)
        assert (verdict.verdict, verdict.runs, verdict.seeds, verdict.stand_in) == (expected, ("r",), 2, "20 classes")
    words = claim("measure", name="n", what="w", above=0.5)
    assert verdicts.judge(words, Shelf({}), None, lambda name: {"value": 0.7, "interval": (0.4, 0.9)}).verdict == FAILS


def test_measures_that_cannot_judge_say_why():
    test = claim("measure", name="n", what="w", above=0)
    found = {"value": 0.2, "interval": (0.1, 0.3), "undecided": "ties at the cut decide", "notes": ["by Eq. 1"]}
    verdict = verdicts.judge(test, Shelf({}), None, lambda name: found)
    assert (verdict.verdict, verdict.ours) == (OPEN, 0.2)
    assert verdict.explanation.startswith("Ties at the cut decide. Ours is 0.2")
    assert verdict.explanation.endswith("; by Eq. 1.")
    assert verdicts.judge(test, Shelf({}), None, lambda name: found | {"undecided": ""}).verdict == HOLDS


def test_everything_is_not_run_yet_without_records():
    found = verdicts.judge_all(Shelf({}))
    for verdict, source in zip(found, paper.claims(), strict=True):
        assert verdict.claim == source["id"]
        if source["test"]["kind"] != "arithmetic":
            assert verdict.verdict is NOT_RUN and verdict.ours is None and verdict.runs == ()


def test_one_missing_operand_is_not_run_yet_and_named():
    verdict = verdicts.judge(GAIN, Shelf({"A": 0.5}))
    assert verdict.verdict is NOT_RUN and "Table 3, B" in verdict.explanation


def test_seeds_runs_and_stand_ins_are_named():
    shelf = Shelf({"A": 0.49, "B": 0.3378}, seeds=3, extra={"stand_in": "a third of the width"})
    verdict = verdicts.judge(GAIN, shelf)
    assert verdict.seeds == 3
    assert verdict.runs == ("A-0", "A-1", "A-2", "B-0", "B-1", "B-2")
    assert verdict.stand_in == "a third of the width"
    assert "3 seeds give" in verdict.explanation


def test_without_bits_seeds_give_the_interval():
    verdict = verdicts.judge(GAIN, Shelf({"A": 0.40, "B": 0.3378}, seeds=3, bits=False))
    assert verdict.verdict == DIRECTION and verdict.interval is not None


def test_without_bits_and_with_one_seed_the_spread_decides():
    order = claim("order", better="A", worse="B", over="average")
    for gap, expected in ((0.02, HOLDS), (0.005, FAILS)):
        verdict = verdicts.judge(order, Shelf({"A": 0.4 + gap, "B": 0.4}, bits=False))
        assert verdict.verdict == expected and verdict.interval is None


def test_comparison_pools_seeds_by_image():
    shelf = Shelf({"A": 0.5, "B": 0.45}, seeds=3)
    evidence = Evidence({"table": 3}, shelf)
    pooled = compare(evidence.sample("A"), evidence.sample("B"))
    single = compare(*(Evidence({"table": 3}, Shelf(shelf.methods)).sample(m) for m in "AB"))
    assert pooled.interval == pytest.approx(single.interval)  # three equal seeds are no more evidence than one
    assert pooled.pvalue == single.pvalue


def test_bad_records_and_kinds():
    record = Shelf({"A": 0.5}).make("A", 0)
    with pytest.raises(ValueError, match="average to the accuracies"):
        verdicts.judge(GAIN, lambda t, m: [Record(record.accuracy + 0.1, record.correct)])
    with pytest.raises(ValueError, match="in 0..1"):
        verdicts.judge(GAIN, lambda t, m: [Record(record.accuracy * 100, None)])
    with pytest.raises(ValueError, match="of kind"):
        verdicts.judge(claim("guess"), Shelf({}))
    with pytest.raises(ValueError, match="fractions"):
        share = claim("recovered_share", dataset="cifar100", distortion="blur", layer="conv1", fraction=0.25, at_least=0.5)
        verdicts.judge(share, Shelf({}), lambda d, k: {"conv1": np.ones((3, 6))})
