"""What the figures of the ImageNet half measure, and the verdicts that rest on it."""

import numpy as np
import pytest
import torch
from claim_records import Lookups, record

from dclib import paper, tables
from dclib.datasets import per_class_sample
from dclib.experiments import imagenet, profile, rows, stand_in
from dclib.experiments.networks import other_width, short_training, unit_operations
from dclib.verdicts import judgement, rule
from dclib.verdicts.finding import Outcome
from dclib.verdicts.measures import iterations_to, measure, per_class

SMALL = profile("small").imagenet


def test_operations_of_a_unit_by_hand():
    taps = 72 * 1 * 72 + 2 * (72 * 25 * 72) + 72 * 1 * 72 + 4 * 72  # weights and biases of four convolutions
    assert unit_operations("Deepcorr-5", "conv1") == taps * 55 * 55


def test_how_a_stand_in_differs_is_read_off_its_runs():
    small, whole = (rows("table3", profile(name))["Finetune-1"][0] for name in ("small", "paper"))
    assert other_width(small, whole) == f"{small.width} channels instead of 96" and other_width(whole, whole) == ""
    assert short_training(whole, whole) == ""
    assert short_training(small, whole).startswith(f"{small.schedule.iterations:,} iterations instead of 14,400 and ")


@pytest.fixture
def filled(store):
    """Records of Finetune-8 and Deepcorr-5 under blur whose differences are known by construction."""
    few = np.zeros((7, 200), bool)
    few[:, :100] = True  # the first ten classes right
    more = few.copy()
    more[:, 100:180] = True  # eight classes better
    more[:, :10] = False  # one worse
    curves = {"Finetune-8": (0.1, 0.3), "Deepcorr-5": (0.3, 0.4)}
    for method, accuracies in curves.items():
        run = imagenet.finetune(SMALL, "blur") if method == "Finetune-8" else imagenet.deepcorrect(SMALL, method, "blur")
        curve = [{"iteration": 10 * (i + 1), "loss": 1.0, "validation": [a] * 7} for i, a in enumerate(accuracies)]
        store.put(record(run, few if method == "Finetune-8" else more, curve=curve))
    return store


def test_measures_of_figure_11(filled):
    net, margin = (
        measure({"figure": 11, "quantity": quantity, "distortion": "blur"}, "small", filled)
        for quantity in ("net_classes", "margin")
    )
    assert net.value == pytest.approx((8 - 1) / 20) and net.interval[0] < 7 / 20 < net.interval[1]
    # Of 20 classes, 8 + and 1 -: the standard error is sqrt((9 - 49 / 20) / 20) / sqrt(20) = 0.128.
    assert np.ptp(net.interval) == pytest.approx(2 * 1.96 * 0.128, rel=0.1)
    assert margin.value == pytest.approx(1 - 1) and margin.interval[1] > 0
    assert "20 classes instead of 1000" in net.other_classes
    assert measure({"figure": 11, "quantity": "margin", "distortion": "awgn"}, "small", filled) is None
    assert measure({"figure": 11, "quantity": "margin", "distortion": "blur"}, "miniature", filled) is None


def speed(store, slow, fast, name):
    """The verdict on Figure 12 for validation accuracies per look, a look every ten iterations."""
    for method in ("Finetune-8", *imagenet.VARIANTS):
        run = imagenet.finetune(SMALL, "blur") if method == "Finetune-8" else imagenet.deepcorrect(SMALL, method, "blur")
        accuracies = slow if method == ("Finetune-8" if name in ("speedup", "final") else "Deepcorr-5-no-bn") else fast
        curve = [{"iteration": 10 * (i + 1), "loss": 1.0, "validation": [a] * 7} for i, a in enumerate(accuracies)]
        store.put(record(run, np.ones((7, 200), bool), curve=curve))
    claim = next(
        c
        for c in paper.claims()
        if c["test"].get("figure") == 12 and (c["test"]["quantity"], c["test"]["distortion"]) == (name, "blur")
    )
    return rule.judge(claim, Lookups(lambda table, method: [], measure=lambda test: measure(test, "small", store)))


@pytest.mark.parametrize(
    "slow, fast, expected, factor",
    [
        ((0.1, 0.2, 0.3), (0.3, 0.4, 0.4), Outcome.DIRECTION, 2),  # faster; 0.1 tells nothing, 0.2 and 0.3 at least so much
        ((0.1, 0.2, 0.3, 0.3), (0.1, 0.3, 0.3, 0.4), Outcome.OPEN, 1),  # at 0.2 the look is the same: open
        ((0.3, 0.4, 0.4), (0.1, 0.2, 0.3), Outcome.INCONCLUSIVE, None),  # clearly slower: 0.4 is never reached
        ((0.1, 0.2, 0.3), (0.05, 0.1, 0.3), Outcome.INCONCLUSIVE, 0.5),
        ((0.1, 0.2, 0.3), (0.1, 0.2, 0.3), Outcome.OPEN, 1),  # equal: neither
        ((0.1, 0.1, 0.1), (0.2, 0.2, 0.2), Outcome.OPEN, 1),
    ],
)  # nothing but the first look
@pytest.mark.parametrize("name", ["speedup", "batchnorm_speedup", "order_speedup"])
def test_speed_of_figure_12(store, monkeypatch, slow, fast, expected, factor, name):
    """With so many validation images that an accuracy is what it is; one training each holds in direction at best."""
    monkeypatch.setattr("dclib.verdicts.measures._validation_images", lambda half: 10**8)
    verdict = speed(store, slow, fast, name)
    assert (verdict.verdict, verdict.ours) == (expected, factor if factor is None else pytest.approx(factor))
    assert ("same look" in verdict.explanation) == (expected is Outcome.OPEN)
    assert ("is never reached" in verdict.explanation) == (factor is None)
    # The units without BatchNorm have another learning rate: a verdict on BatchNorm says so.
    rates = (
        f"Deepcorr-5-no-bn at {SMALL.without_batchnorm.learning_rate:g} and Deepcorr-5 at "
        f"{SMALL.deepcorrect.learning_rate:g}"
    )
    assert (rates in verdict.explanation) == (name != "speedup")


def test_speed_has_the_interval_of_its_validation_images(store, monkeypatch):
    """200 images: at .3 an accuracy is off by .064, less than half of that on each side; at .35 and .25 the looks differ."""
    monkeypatch.setattr("dclib.verdicts.measures._validation_images", lambda half: 200)
    verdict = speed(store, (0.10, 0.20, 0.25, 0.30), (0.35, 0.40, 0.40, 0.45), "speedup")
    assert verdict.verdict == Outcome.DIRECTION and verdict.interval[0] <= verdict.ours <= verdict.interval[1]
    monkeypatch.setattr("dclib.verdicts.measures._validation_images", lambda half: 10)
    few = speed(store, (0.10, 0.20, 0.25, 0.30), (0.35, 0.40, 0.40, 0.45), "speedup")
    assert few.verdict == Outcome.INCONCLUSIVE and np.ptp(few.interval) > np.ptp(verdict.interval)


def test_who_ends_higher(store, monkeypatch):
    for images, expected in ((10**4, Outcome.DIRECTION), (20, Outcome.INCONCLUSIVE)):
        monkeypatch.setattr("dclib.verdicts.measures._validation_images", lambda half, images=images: images)
        verdict = speed(store, (0.1, 0.2), (0.2, 0.3), "final")
        assert verdict.verdict == expected and verdict.ours == pytest.approx(0.1)


def test_separation_lost_of_figure_2(store):
    run = imagenet.embedded(SMALL, "Baseline", "blur")
    store.put(record(run, separation=[0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2], images=400))
    found = measure({"figure": 2, "quantity": "separation_lost", "distortion": "blur"}, "small", store)
    assert found.value == pytest.approx(0.6) and found.interval[0] > 0.5 and not found.unreplicated


def test_per_class_and_iterations(filled):
    ours = filled.get(imagenet.deepcorrect(SMALL, "Deepcorr-5", "blur"))
    assert per_class(ours, 20).tolist() == [0] + [1] * 17 + [0] * 2
    assert iterations_to(ours, 0.35) == 20 and iterations_to(ours, 0.9) == np.inf


# Verdicts on a page


FLAT = [{"iteration": 10 * i, "loss": 1.0, "validation": [0.5] * 7} for i in range(1, 9)]


def put_networks(store, distortion, bits):
    """Records of a baseline that is right nowhere beyond chance, and of networks with these bits, trained to the end."""
    base = np.zeros_like(next(iter(bits.values())))
    store.put(record(imagenet.baseline(SMALL), base[:1], curve=FLAT))
    store.put(record(imagenet.baseline_under(SMALL, distortion), base))
    for method, correct in bits.items():
        run = (
            imagenet.finetune(SMALL, distortion)
            if method == "Finetune-8"
            else imagenet.deepcorrect(SMALL, method, distortion)
        )
        store.put(record(run, correct, curve=FLAT))


def test_rows_name_the_stand_in_and_the_caption_says_it_in_full(store):
    """A number of 20 classes is shown, but not judged; order is judged."""
    bits = np.arange(2000)[None] < np.array([1600, *[900] * 6])[:, None]
    put_networks(store, "blur", {"Finetune-8": bits, "Deepcorr-5-no-bn": bits})
    store.put(record(imagenet.baseline_under(SMALL, "blur"), np.arange(2000)[None] < np.array([1000, *[100] * 6])[:, None]))
    frame = tables.verdict_frame(["4", "5.2.2"], store).set_index("claim")
    shown, full = "Stand-in: 20 ImageNet classes.", str(stand_in("table7", profile("small"))[0])
    number = frame.loc[[claim for claim in frame.index if claim.startswith("AlexNet as trained") and "blur" in claim][0]]
    assert number["verdict"] == Outcome.OPEN and number["here"].startswith("0.1143 [") and number["deviation"] == "–"
    assert shown in number["why"] and "20 classes instead of 1000 judges no size" in number["why"]
    order = frame[frame.index.str.startswith("Deepcorr-5-no-bn beats Finetune-8 at every level of Gaussian")].iloc[0]
    assert order["verdict"] == Outcome.INCONCLUSIVE and shown in order["why"] and order["here"].endswith("small")
    assert "In the paper itself: At sigma 2 Table 7 has 0.5000" in order["why"]
    for style in tables.styled_verdicts(["4", "5.2.2"], store):
        assert style.caption.count(full) == 1 and f"Stand-in small: {full}" in style.caption and "NCSR" not in style.caption
        assert "here" in style.data and full not in " ".join(style.data["why"])


def test_a_claim_that_its_records_cannot_judge_is_carried_by_none(store):
    store.put(record(imagenet.baseline_under(SMALL, "blur"), np.ones((7, 200), bool)))
    claim = next(c for c in paper.claims() if c["id"] == "5.2.2-baseline-average-blur")
    verdict, name = judgement.judge(claim, store)
    assert (verdict.verdict, name, len(verdict.runs), verdict.ours) == (Outcome.OPEN, "", 1, 1)


def test_bm3d_is_compared_on_its_own_images(store):
    """Ten images of each class for BM3D, fifty for the others: those that both saw decide."""
    shown = per_class_sample(torch.arange(20).repeat_interleave(50), 10, 0).numpy()
    first = np.isin(np.arange(1000), shown)
    put_networks(store, "awgn", {"Deepcorr-5": np.tile(first, (7, 1))})
    store.put(record(imagenet.restored(SMALL, "awgn"), np.zeros((7, 200), bool)))
    claim = next(c for c in paper.claims() if c["id"] == "5.2.2-beats-bm3d")
    verdict, _ = judgement.judge(claim, store)
    assert verdict.ours == 1 and verdict.interval == (1, 1) and verdict.verdict == Outcome.OPEN
    assert "tested on 200 images, not on 1,000" in verdict.explanation
    assert "on the 200 images that both saw" in verdict.explanation


def test_random_splits_are_read_from_the_records(store):
    put_networks(store, "blur", {method: np.tile(np.arange(1000) < 500, (7, 1)) for method in ("Finetune-8", "Deepcorr-5")})
    for method, gap in (("Finetune-8", 0), ("Deepcorr-5", 0.02)):
        splits = np.linspace(0.4, 0.6, 5)[:, None] + np.full(7, gap)
        run = imagenet.transferred(SMALL, method, "sun397", "blur")
        store.put(record(run, splits=splits.tolist(), accuracy=splits.mean(0).tolist(), images=810))
    claim = next(c for c in paper.claims() if c["id"] == "5.3-gain-sun397-blur")
    verdict, _ = judgement.judge(claim, store)
    gains = 0.02 / np.linspace(0.4, 0.6, 5)
    error = np.std(gains, ddof=1) * np.sqrt(1 / 5 + 15 / 25) * 2.776  # t with four degrees of freedom
    assert verdict.interval == pytest.approx((gains.mean() - error, gains.mean() + error), abs=1e-4)
