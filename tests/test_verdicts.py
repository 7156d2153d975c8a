"""Each kind of claim and each outcome, from synthetic records whose effect is known."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from dclib import paper, verdicts
from dclib.datasets import per_class_sample
from dclib.evidence import Evidence, compare
from dclib.statistics import Outcome

IMAGES = 2000
HOLDS, DIRECTION, FAILS, OPEN, NOT_RUN = Outcome


@dataclass
class Record:
    accuracy: np.ndarray
    correct: np.ndarray | None
    seed: int = 0
    id: str = "run"
    stand_in: str = ""
    other_classes: str = ""
    classes: int | None = None
    test_images: int | None = None
    draws: np.ndarray | None = None
    test_to_train: float = 0.6


@dataclass
class Shelf:
    """A lookup over records made on the spot: method -> accuracy per level."""

    methods: dict
    seeds: int = 1
    bits: bool = True
    extra: dict = field(default_factory=dict)

    def __call__(self, table, method):
        if method not in self.methods:
            return []
        return [self.make(method, seed) for seed in range(self.seeds)]

    def make(self, method, seed):
        level = np.broadcast_to(np.asarray(self.methods[method], float), 7)
        if not self.bits:
            return Record(np.clip(level + 0.001 * (seed - 1), 0, 1), None, seed, f"{method}-{seed}", **self.extra)
        # One difficulty per image: networks of unequal accuracy differ on few images, as real ones do.
        hardness = np.random.default_rng(1).permutation(IMAGES) / IMAGES
        correct = hardness[None] < level[:, None]
        return Record(correct.mean(1), correct, seed, f"{method}-{seed}", **self.extra)


def claim(kind, paper=None, digits=None, **test):
    return dict(
        id="x", section="5", place="Table 3", claim="text", paper=paper, digits=digits,
        from_tables=paper, disagreement=None, test=dict(kind=kind, table=3, **test),
    )


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
        verdicts.judge(FIGURES[0][0], Shelf({}), lambda d, k: {"conv1": np.ones((3, 6))})
