"""Each kind of claim and each outcome, from synthetic records whose effect is known."""

from dataclasses import replace

import numpy as np
import pytest
from claim_records import Lookups, Record, Shelf, claim, judged

from dclib import paper
from dclib.experiments import StandIn
from dclib.verdicts import rule
from dclib.verdicts.comparison import compare
from dclib.verdicts.evidence import Evidence
from dclib.verdicts.finding import Outcome
from dclib.verdicts.source import Measure, Swaps

HOLDS, DIRECTION, CONTRADICTED, INCONCLUSIVE, OPEN, NOT_RUN = Outcome

GAIN = claim("relative_improvement", 0.46, 2, a="A", b="B")


@pytest.mark.parametrize("a, expected", [(0.49, HOLDS), (0.40, DIRECTION), (0.3378, CONTRADICTED), (0.30, CONTRADICTED)])
def test_relative_improvement(a, expected):
    verdict = judged(GAIN, Shelf({"A": a, "B": 0.3378}))
    assert verdict.verdict == expected
    assert verdict.ours == pytest.approx(a / 0.3378 - 1, abs=0.01)
    assert verdict.interval[0] <= verdict.ours <= verdict.interval[1]
    assert "paired t-test over levels" in verdict.pvalues


def test_a_small_gain_fails_when_the_opposite_is_shown():
    small = claim("relative_improvement", 0.01, 2, a="A", b="B")
    verdict = judged(small, Shelf({"A": 0.496, "B": 0.5}))  # nearer to 0.01 than the authors' spread
    assert verdict.interval[1] < 0 and verdict.verdict == CONTRADICTED


def test_no_tick_whose_tolerance_exceeds_its_effect():
    """Half a point of accuracy is claimed: a point, the authors' own spread, cannot tell it from nothing."""
    small = claim("relative_improvement", 0.01, 2, a="A", b="B")
    for a in (0.505, 0.5, 0.52):
        verdict = judged(small, Shelf({"A": a, "B": 0.5}))
        assert verdict.verdict == OPEN and "not smaller than the effect of 0.0100" in verdict.explanation
        assert verdict.ours is not None and verdict.deviation is None
    assert judged(claim("relative_improvement", 0.06, 2, a="A", b="B"), Shelf({"A": 0.53, "B": 0.5})).verdict == HOLDS


def test_accuracy_has_no_direction():
    assert judged(claim("accuracy", 0.70, 2, method="A"), Shelf({"A": 0.69})).verdict == HOLDS
    assert judged(claim("accuracy", 0.70, 2, method="A"), Shelf({"A": 0.5})).verdict == CONTRADICTED


def test_ratio_direction_is_below_one():
    test = claim("ratio", 0.60, 2, a="A", b="B")
    assert judged(test, Shelf({"A": 0.45, "B": 0.5})).verdict == DIRECTION
    assert judged(test, Shelf({"A": 0.55, "B": 0.5})).verdict == CONTRADICTED


def test_relative_drop_reads_two_tables():
    test = claim("relative_drop", 0.41, 2, a="A", b={"table": 13, "method": "B"})
    assert rule.required(test) == [(3, "A"), (13, "B")]
    assert judged(test, Shelf({"A": 0.50, "B": 0.85})).verdict == HOLDS


def test_recovered_loss():
    test = claim("recovered_loss", method="A", baseline="B", at_least=0.5)
    baseline = [0.7, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2]
    # Shares of 0.88, 0.42, 0.18 and -0.17.
    for a, expected in ((0.65, HOLDS), (0.45, DIRECTION), (0.35, CONTRADICTED), (0.2, CONTRADICTED)):
        assert judged(test, Shelf({"A": a, "B": baseline})).verdict == expected


def test_order_on_average():
    test = claim("order", better="A", worse="B", over="average")
    assert judged(test, Shelf({"A": 0.55, "B": 0.5})).verdict == HOLDS
    none = judged(test, Shelf({"A": 0.5, "B": 0.5}))
    assert none.verdict == INCONCLUSIVE and "smallest effect that this sample could have shown is 0.0000" in none.explanation
    assert judged(test, Shelf({"A": 0.5, "B": 0.55})).verdict == CONTRADICTED


def noisy(gap, images, deviation=1e-6):
    """Two networks that answer by chance, `gap` apart: the verdict on the order, where the paper says 0.05."""
    rng = np.random.default_rng(0)
    bits = {"A": rng.random((7, images)) < 0.5 + gap, "B": rng.random((7, images)) < 0.5}
    records = {m: Record(b.mean(1), b, 0, m) for m, b in bits.items()}
    test = claim("order", better="A", worse="B", over="average") | {"from_tables": 0.05}
    return judged(test, lambda t, m: [records[m]], deviation=deviation)


def test_what_is_not_shown_is_contradicted_only_if_the_papers_effect_would_have_been_seen():
    """Of 7 levels of independent answers a difference of means has the standard error sqrt(2 * .25 / 7 / images)."""
    sharp, blunt = noisy(0, 4000), noisy(0, 100)
    assert sharp.verdict == CONTRADICTED and sharp.interval[1] < 0.05
    assert blunt.verdict == INCONCLUSIVE
    least = float(blunt.explanation.rpartition("shown is ")[2].rstrip("."))
    assert least == pytest.approx((1.96 + 0.84) * np.sqrt(0.5 / 7 / 100), rel=0.2)
    assert noisy(0, 4000, deviation=0.02).verdict == INCONCLUSIVE  # trainings differ by more than the effect


def test_order_at_each_level():
    test = claim("order", better="A", worse="B", over="each level")
    high = np.full(7, 0.6)
    assert judged(test, Shelf({"A": high, "B": 0.5})).verdict == HOLDS
    high[3] = 0.5  # at one level equal: the average still speaks
    assert judged(test, Shelf({"A": high, "B": 0.5})).verdict == DIRECTION
    high[3] = 0.4  # one level reversed
    verdict = judged(test, Shelf({"A": high, "B": 0.5}))
    assert verdict.verdict == CONTRADICTED and "worse in 1" in verdict.explanation
    assert len(verdict.pvalues["bootstrap over images"]) == 7
    assert len(verdict.pvalues["McNemar over images, per level, Holm"]) == 7


def test_order_at_one_level_and_against_several():
    low_end = [0.9, 0.5, 0.5, 0.5, 0.5, 0.5, 0.2]
    severe = claim("order", better="A", worse="B", over=6)
    assert judged(severe, Shelf({"A": 0.4, "B": low_end})).verdict == HOLDS
    test = claim("order", better="A", worse=["B", "C"], over="average")
    assert judged(test, Shelf({"A": 0.6, "B": 0.5, "C": 0.4})).verdict == HOLDS
    assert judged(test, Shelf({"A": 0.6, "B": 0.5, "C": 0.65})).verdict == CONTRADICTED


def test_drop():
    test = claim("drop", method="A", level=1)
    assert judged(test, Shelf({"A": [0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]})).verdict == HOLDS
    assert judged(test, Shelf({"A": 0.7})).verdict == INCONCLUSIVE
    assert judged(test | {"from_tables": 0.06}, Shelf({"A": 0.7})).verdict == CONTRADICTED  # 0.06 would have been seen
    assert judged(test, Shelf({"A": [0.5, 0.6, *[0.5] * 5]})).verdict == CONTRADICTED


def test_similar():
    test = claim("similar", a="A", b="B", margin=0.01)
    assert judged(test, Shelf({"A": 0.5, "B": 0.501})).verdict == HOLDS
    assert judged(test, Shelf({"A": 0.5, "B": 0.5095})).verdict == INCONCLUSIVE
    wide = judged(test, Shelf({"A": 0.5, "B": 0.501}), deviation=0.01)  # chance moves it by more than the margin
    assert wide.verdict == OPEN and "Chance alone" in wide.explanation
    assert judged(test, Shelf({"A": 0.5, "B": 0.55})).verdict == CONTRADICTED


RANKED, RANDOM = np.linspace(0.7, 0.3, 7), np.linspace(0.7, 0.3, 7) - 0.03


LEVELS_AND_IMAGES = np.linspace(0.03, 0.04, 7)
IMAGES_ONLY = np.array([0.2, 0, 0, 0, 0, 0, 0])  # one level of seven: nothing for the t-test
NEITHER = np.array([0.01, -0.01, 0.01, 0, -0.01, 0.01, -0.01])


@pytest.mark.parametrize(
    "gap, significant, not_significant",
    [
        (LEVELS_AND_IMAGES, HOLDS, CONTRADICTED),
        (IMAGES_ONLY, DIRECTION, DIRECTION),
        (NEITHER, INCONCLUSIVE, HOLDS),
        (-LEVELS_AND_IMAGES, CONTRADICTED, CONTRADICTED),
    ],
)
def test_significance(gap, significant, not_significant):
    high = np.linspace(0.7, 0.3, 7)
    shelf = Shelf({"A": high, "B": high - gap})
    for kind, expected in (("significant", significant), ("not_significant", not_significant)):
        verdict = judged(claim(kind, 0.2151, 4, pairs=[["A", "B"]]), shelf)
        assert verdict.verdict == expected
        assert verdict.ours == verdict.pvalues["paired t-test over levels"]


def test_pairs_of_both_distortions_share_one_t_test():
    high = np.linspace(0.7, 0.3, 7)
    shelf = Shelf({"A": high, "B": high - LEVELS_AND_IMAGES})
    verdict = judged(claim("significant", 0.0002, 4, pairs=[["A", "B"], ["A", "B"]]), shelf)
    assert "14 pairs" in verdict.explanation and len(verdict.pvalues["bootstrap over images"]) == 2


def counted(test, **parameters):
    """The verdict on parameters, counted by the caller, without any record."""
    return judged(test, Shelf({}), parameters=lambda table, method: parameters.get(method))


def test_counts_of_parameters_need_no_run():
    assert counted(claim("count", 80954, 0, method="A", unit=1), A=80954).verdict == HOLDS
    assert counted(claim("count", 80955, 0, method="A", unit=1), A=80954).verdict == CONTRADICTED
    assert counted(claim("count", 80954, 0, method="A", unit=1)).verdict == NOT_RUN
    assert counted(claim("count", 80954, 0, method="A", unit=1), A=80954).runs == ()


def test_fewer_parameters():
    test = claim("fewer_parameters", 0.954, 3, fewer="A", than="B")
    for fewer, expected in ((46, HOLDS), (100, DIRECTION), (1001, CONTRADICTED)):
        assert counted(test, A=fewer, B=1000).verdict == expected


def test_arithmetic_needs_no_run():
    verdict = judged(claim("arithmetic", 10, 0, operation="passes", terms=[62500, 256, 1300000]), Shelf({}))
    assert verdict.verdict == CONTRADICTED and verdict.runs == () and verdict.seeds == 0
    assert judged(claim("arithmetic", 432, 0, operation="sum", terms=[48] * 9), Shelf({})).verdict == HOLDS


def test_measures():
    test = claim("measure", 0.744, 3, name="n", what="w", above=0, tolerance=0.05)
    for value, expected in ((0.72, HOLDS), (0.4, DIRECTION), (-0.1, CONTRADICTED)):
        found = Measure(value, (value - 0.03, value + 0.03), runs=("r",), seeds=2, stand_in=(StandIn("20 classes"),))
        verdict = judged(test, Shelf({}), measure=lambda name: found)
        assert (verdict.verdict, verdict.runs, verdict.seeds, verdict.stand_ins) == (
            expected,
            ("r",),
            2,
            (StandIn("20 classes"),),
        )
    words = claim("measure", name="n", what="w", above=0.5)
    assert judged(words, Shelf({}), measure=lambda name: Measure(0.7, (0.4, 0.9))).verdict == INCONCLUSIVE
    for more, expected in (({}, DIRECTION), ({"exact": True}, HOLDS), ({"interval": (0.1, 0.2)}, CONTRADICTED)):
        assert judged(words, Shelf({}), measure=lambda name: Measure(0.7, **more)).verdict == expected
    never = judged(words, Shelf({}), measure=lambda name: Measure(0.0, words="some accuracy is never reached"))
    assert never.ours is None and never.explanation.startswith("Some accuracy is never reached")


def test_measures_that_cannot_judge_say_why():
    test = claim("measure", name="n", what="w", above=0)
    found = Measure(0.2, (0.1, 0.3), undecided="ties at the cut decide", notes=("by Eq. 1",))
    verdict = judged(test, Shelf({}), measure=lambda name: found)
    assert (verdict.verdict, verdict.ours) == (OPEN, 0.2)
    assert verdict.explanation.startswith("Ties at the cut decide. Ours is 0.2")
    assert verdict.explanation.endswith("; by Eq. 1.")
    assert judged(test, Shelf({}), measure=lambda name: replace(found, undecided="")).verdict == HOLDS


def test_everything_is_not_run_yet_without_records():
    found = rule.judge_all(Lookups(Shelf({})))
    for verdict, source in zip(found, paper.claims(), strict=True):
        assert verdict.claim == source["id"]
        if source["test"]["kind"] != "arithmetic":
            assert verdict.verdict is NOT_RUN and verdict.ours is None and verdict.runs == ()


def test_one_missing_operand_is_not_run_yet_and_named():
    verdict = judged(GAIN, Shelf({"A": 0.5}))
    assert verdict.verdict is NOT_RUN and "Table 3, B" in verdict.explanation


def test_seeds_runs_and_stand_ins_are_named():
    shelf = Shelf({"A": 0.49, "B": 0.3378}, seeds=3, extra={"stand_in": (StandIn("a third of the width"),)})
    verdict = judged(GAIN, shelf)
    assert verdict.seeds == 3
    assert verdict.runs == ("A-0", "A-1", "A-2", "B-0", "B-1", "B-2")
    assert verdict.stand_ins == (StandIn("a third of the width"),)
    assert "3 seeds give" in verdict.explanation


def test_without_bits_seeds_give_the_interval():
    verdict = judged(GAIN, Shelf({"A": 0.40, "B": 0.3378}, seeds=3, bits=False))
    assert verdict.verdict == DIRECTION and verdict.interval is not None


def test_without_bits_and_with_one_seed_the_spread_decides():
    order = claim("order", better="A", worse="B", over="average")
    for gap, expected in ((0.03, HOLDS), (0.015, INCONCLUSIVE)):
        verdict = judged(order, Shelf({"A": 0.4 + gap, "B": 0.4}, bits=False), deviation=None)
        assert verdict.verdict == expected and verdict.interval is None


def test_a_tick_of_one_seed_exceeds_twice_the_deviation_between_trainings():
    order, shelf = claim("order", better="A", worse="B", over="average"), Shelf({"A": 0.53, "B": 0.5})
    for deviation, expected in ((0.003, HOLDS), (0.02, INCONCLUSIVE), (None, HOLDS)):  # 2 * sqrt(2) * 0.02 = 0.057
        verdict = judged(order, shelf, deviation=deviation)
        assert verdict.verdict == expected and "conditional on these two networks" in verdict.explanation
    assert "0.0030 in 4 rows with three seeds" in judged(order, shelf, deviation=0.003).explanation
    assert "authors' own spread of 0.01, as no row has three seeds yet" in judged(order, shelf, deviation=None).explanation


def test_the_authors_spread_says_nothing_of_single_levels():
    high = Shelf({"A": 0.7, "B": 0.5})
    for over in ("each level", 6):
        test = claim("order", better="A", worse="B", over=over)
        verdict = judged(test, high, deviation=None)
        assert verdict.verdict == DIRECTION and "how much a single level moves" in verdict.explanation
        assert judged(test, high).verdict == HOLDS
        assert judged(test, Shelf({"A": 0.5, "B": 0.7}), deviation=None).verdict == (
            CONTRADICTED if over == "each level" else INCONCLUSIVE
        )  # the averages do contradict it


def test_several_seeds_decide():
    """Three seeds 0.04 apart on average: certain if all agree, open if they disagree by as much."""
    order = claim("order", better="A", worse="B", over="average")
    steady = judged(order, Shelf({"A": 0.54, "B": 0.5}, seeds=3, apart={"A": 0.001}), deviation=0.5)
    assert steady.verdict == HOLDS and steady.seeds == 3 and "conditional" not in steady.explanation
    shaky = judged(order, Shelf({"A": 0.58, "B": 0.5}, seeds=3, apart={"A": 0.04}), deviation=1e-6)
    assert shaky.verdict == INCONCLUSIVE and "3 seeds give 0.00" in shaky.explanation
    gaps = np.array([0.08, 0.04, 0.0])
    half = 4.303 * gaps.std(ddof=1) / np.sqrt(3)
    assert shaky.interval[1] - shaky.ours == pytest.approx(half, rel=0.03)  # over images much less


def draws(values, ranked, seed=0):
    """ranked_48 and as many draws of random_48 as there are values."""

    def one(value, name, choice=None):
        return Record(np.full(7, value), None, seed, name, choice=choice)

    return lambda table, method: (
        [one(ranked, "ranked")] if method == "R" else [one(value, f"random-{i}", i) for i, value in enumerate(values)]
    )


@pytest.mark.parametrize(
    "count, beaten, expected",
    [
        (19, 19, HOLDS),
        (19, 18, DIRECTION),
        (10, 10, DIRECTION),
        (10, 9, INCONCLUSIVE),
        (3, 3, INCONCLUSIVE),
        (19, 0, CONTRADICTED),
    ],
)
def test_for_random_filters_the_draw_is_the_unit(count, beaten, expected):
    values = [0.4] * beaten + [0.6] * (count - beaten)
    verdict = judged(claim("order", better="R", worse="random", over="average"), draws(values, 0.5))
    assert verdict.verdict == expected
    assert verdict.pvalues["rank among draws"] == pytest.approx((count - beaten + 1) / (count + 1))
    assert ("draws allow no p below" in verdict.explanation) == (count < 19)
    turned = judged(claim("order", better="random", worse="R", over="average"), draws(values, 0.5))
    assert turned.ours == pytest.approx(-verdict.ours)


def test_significance_of_a_ranking_is_that_of_its_rank():
    """The paper's t-test over levels finds p below 0.0001; ten draws, the right unit, cannot."""
    levels = np.linspace(0.03, 0.04, 7)

    def shelf(count):
        def lookup(table, method):
            if method == "R":
                return [Record(np.linspace(0.7, 0.3, 7) + levels, None, 0, "ranked")]
            return [Record(np.linspace(0.7, 0.3, 7), None, 0, f"random-{i}", choice=i) for i in range(count)]

        return lookup

    test = claim("significant", 0.0001, 4, pairs=[["R", "random"], ["R", "random"]])
    for count, expected in ((19, HOLDS), (10, DIRECTION), (3, INCONCLUSIVE)):
        verdict = judged(test, shelf(count))
        assert verdict.verdict == expected and verdict.pvalues["paired t-test over levels"] < 1e-4


def test_comparison_pools_seeds_by_image():
    shelf = Shelf({"A": 0.5, "B": 0.45}, seeds=3)
    evidence = Evidence({"table": 3}, Lookups(shelf))
    pooled = compare(evidence.sample("A"), evidence.sample("B"))
    single = compare(*(Evidence({"table": 3}, Lookups(Shelf(shelf.methods))).sample(m) for m in "AB"))
    assert pooled.interval == pytest.approx(single.interval)  # three equal seeds are no more evidence than one
    assert pooled.pvalue == single.pvalue


def test_bad_records_and_kinds():
    record = Shelf({"A": 0.5}).make("A", 0)
    with pytest.raises(ValueError, match="average to the accuracies"):
        judged(GAIN, lambda t, m: [Record(record.accuracy + 0.1, record.hits)])
    with pytest.raises(ValueError, match="in 0..1"):
        judged(GAIN, lambda t, m: [Record(record.accuracy * 100, None)])
    with pytest.raises(ValueError, match="of kind"):
        judged(claim("guess"), Shelf({}))
    with pytest.raises(ValueError, match="fractions"):
        share = claim("recovered_share", dataset="cifar100", distortion="blur", layer="conv1", fraction=0.25, at_least=0.5)
        judged(share, Shelf({}), lambda d, k: Swaps({"conv1": np.ones((3, 6))}))
