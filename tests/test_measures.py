"""What the figures of the ImageNet half measure, and the verdicts that rest on it."""

import numpy as np
import pytest
import torch
from claim_records import record

from dclib import judgement, paper, verdicts
from dclib.experiments import imagenet, profile, stand_in
from dclib.measures import (
    colour_share,
    iterations_to,
    measure,
    per_class,
    top_half,
    unit_operations,
)
from dclib.results import pack_filters, unpack_filters
from dclib.statistics import Outcome

SMALL = imagenet.SCALES["small"]


def test_operations_of_a_unit_by_hand():
    taps = 72 * 1 * 72 + 2 * (72 * 25 * 72) + 72 * 1 * 72 + 4 * 72  # weights and biases of four convolutions
    assert unit_operations("Deepcorr-5", "conv1") == taps * 55 * 55


def test_colour_share_of_known_filters():
    grey, red = torch.randn(1, 1, 5, 5).expand(1, 3, 5, 5), torch.zeros(1, 3, 5, 5)
    red[:, 0] = 1
    assert colour_share(torch.cat([grey, red])) == pytest.approx([0, 2 / 3], abs=1e-6)


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
    net, margin = (measure(f"figure11_{name}_blur", "small", filled) for name in ("net_classes", "margin"))
    assert net["value"] == pytest.approx((8 - 1) / 20) and net["interval"][0] < 7 / 20 < net["interval"][1]
    # Of 20 classes, 8 + and 1 -: the standard error is sqrt((9 - 49 / 20) / 20) / sqrt(20) = 0.128.
    assert np.ptp(net["interval"]) == pytest.approx(2 * 1.96 * 0.128, rel=0.1)
    assert margin["value"] == pytest.approx(1 - 1) and margin["interval"][1] > 0
    assert "20 classes instead of 1000" in net["other_classes"]
    assert measure("figure11_margin_awgn", "small", filled) is None
    assert measure("figure11_margin_blur", "miniature", filled) is None


def speed(store, slow, fast, name):
    """The verdict on Figure 12 for validation accuracies per look, a look every ten iterations."""
    for method in ("Finetune-8", *imagenet.VARIANTS):
        run = imagenet.finetune(SMALL, "blur") if method == "Finetune-8" else imagenet.deepcorrect(SMALL, method, "blur")
        accuracies = slow if method == ("Finetune-8" if name == "speedup" else "Deepcorr-5-no-bn") else fast
        curve = [{"iteration": 10 * (i + 1), "loss": 1.0, "validation": [a] * 7} for i, a in enumerate(accuracies)]
        store.put(record(run, np.ones((7, 200), bool), curve=curve))
    claim = next(c for c in paper.claims() if c["test"].get("name") == f"figure12_{name}_blur")
    return verdicts.judge(claim, lambda table, method: [], None, lambda name: measure(name, "small", store))


@pytest.mark.parametrize("slow, fast, expected, factor", [
    ((0.1, 0.2, 0.3), (0.3, 0.4, 0.4), Outcome.HOLDS, 2),  # clearly faster; 0.1 tells nothing, 0.2 and 0.3 at least so much
    ((0.1, 0.2, 0.3, 0.3), (0.1, 0.3, 0.3, 0.4), Outcome.OPEN, 1),  # at 0.2 the look is the same: open
    ((0.3, 0.4, 0.4), (0.1, 0.2, 0.3), Outcome.FAILS, 0),  # clearly slower: 0.4 is never reached
    ((0.1, 0.2, 0.3), (0.05, 0.1, 0.3), Outcome.FAILS, 0.5),
    ((0.1, 0.2, 0.3), (0.1, 0.2, 0.3), Outcome.OPEN, 1),  # equal: neither
    ((0.1, 0.1, 0.1), (0.2, 0.2, 0.2), Outcome.OPEN, 1)])  # nothing but the first look
@pytest.mark.parametrize("name", ["speedup", "batchnorm_speedup"])
def test_speed_of_figure_12(store, slow, fast, expected, factor, name):
    verdict = speed(store, slow, fast, name)
    assert (verdict.verdict, verdict.ours) == (expected, pytest.approx(factor))
    assert ("same look" in verdict.explanation) == (expected is Outcome.OPEN)
    # The units without BatchNorm start at another learning rate: a verdict on BatchNorm says so.
    assert ("Deepcorr-5-no-bn at 0.01 and Deepcorr-5 at 0.1" in verdict.explanation) == (name == "batchnorm_speedup")


def test_per_class_and_iterations(filled):
    ours = filled.get(imagenet.deepcorrect(SMALL, "Deepcorr-5", "blur"))
    assert per_class(ours, 20).tolist() == [0] + [1] * 17 + [0] * 2
    assert iterations_to(ours, 0.35) == 20 and iterations_to(ours, 0.9) == np.inf


def test_measures_of_figure_6(store):
    weights = np.random.RandomState(0).randn(96, 1, 11, 11).repeat(3, 1).astype(np.float32)
    weights[:30, 0] += 3  # thirty red filters
    for distortion, best in (("blur", range(40, 88)), ("awgn", range(48))):
        swapped = np.full((96, 6), 0.2)
        swapped[list(best)] = 0.4
        run = put_ranking(store, distortion, swapped, weights)
        assert top_half(store.get(run)).tolist() == list(best)
    found = measure("figure6_colour_agnostic_blur", "small", store)
    assert found["value"] == 1 and found["interval"] == (pytest.approx(0.025 ** (1 / 48)), 1) and not found["undecided"]
    found = measure("figure6_colour_awgn_minus_blur", "small", store)
    assert found["value"] == pytest.approx(30 / 48) and found["interval"][0] == pytest.approx(
        (2 * 0.025 ** (1 / 30) - 1) * 30 / 48)
    assert np.abs(unpack_filters(pack_filters(weights)) - weights).max() < 0.01


def put_ranking(store, distortion, swapped, weights):
    run = imagenet.ranking(SMALL, distortion)
    store.put(record(run, swap_accuracy={"conv1": np.asarray(swapped).tolist()}, distorted_accuracy=[0.2] * 6, images=20,
                     clean_accuracy=0.7, first_filters=pack_filters(weights)))
    return run


def test_figure_6_is_judged_by_equation_1_and_says_what_the_other_score_gives(store):
    weights = np.random.RandomState(0).randn(96, 1, 11, 11).repeat(3, 1).astype(np.float32)
    weights[48:, 0] += 3
    swapped = np.full((96, 6), 0.05)  # swapping a red filter hurts: susceptible by the released score alone
    swapped[:48] = 0.25
    put_ranking(store, "blur", swapped, weights)
    found = measure("figure6_colour_agnostic_blur", "small", store)
    assert found["value"] == 1 and "by the released code's score it is 0.0000" in found["notes"]


def test_figure_6_is_open_where_ties_decide(store):
    weights = np.random.RandomState(0).randn(96, 1, 11, 11).repeat(3, 1).astype(np.float32)
    weights[48:, 0] += 3
    put_ranking(store, "blur", np.full((96, 6), 0.2), weights)  # every swap does the same: any half is the top half
    found = measure("figure6_colour_agnostic_blur", "small", store)
    assert "ties" in found["undecided"] and "ties at the cut allow 0.0000 to 1.0000" in found["notes"]


# Verdicts on a page


def test_rows_name_the_stand_in_and_the_caption_says_it_in_full(store):
    """A number of 20 classes is shown, but not judged; order is judged."""
    bits = np.arange(200)[None] < np.array([160, *[90] * 6])[:, None]
    for run in (imagenet.baseline_under(SMALL, "blur"), imagenet.finetune(SMALL, "blur"),
                imagenet.deepcorrect(SMALL, "Deepcorr-5-no-bn", "blur")):
        store.put(record(run, bits))
    frame = judgement.verdict_frame(["4", "5.2.2"], store).set_index("claim")
    shown, full = "Stand-in: 20 ImageNet classes; NCSR's", stand_in("table7", profile("small")).partition("; ")[0]
    number = frame.loc[[claim for claim in frame.index if claim.startswith("AlexNet as trained") and "blur" in claim][0]]
    assert number["verdict"] == Outcome.OPEN and number["here"].startswith("0.5 [") and number["deviation"] == "–"
    assert shown in number["why"] and "20 classes instead of 1000 cannot judge a number" in number["why"]
    order = frame[frame.index.str.startswith("Deepcorr-5-no-bn beats Finetune-8 at every level of Gaussian")].iloc[0]
    assert order["verdict"] == Outcome.FAILS and shown in order["why"] and order["here"].endswith("small")
    assert "In the paper itself: At sigma 2 Table 7 has 0.5000" in order["why"]
    for style in judgement.styled_verdicts(["4", "5.2.2"], store):
        assert style.caption.count(full) == 1 and f"Stand-in small: {full}; NCSR's row" in style.caption
        assert "here" in style.data and full not in " ".join(style.data["why"])


def test_a_claim_that_its_records_cannot_judge_is_carried_by_none(store):
    store.put(record(imagenet.baseline_under(SMALL, "blur"), np.ones((7, 200), bool)))
    claim = next(c for c in paper.claims() if c["id"] == "5.2.2-baseline-average-blur")
    verdict, name = judgement.judge(claim, store)
    assert (verdict.verdict, name, len(verdict.runs), verdict.ours) == (Outcome.OPEN, "", 1, 1)


def test_bm3d_is_compared_on_its_own_images(store):
    """One image of each class for BM3D, ten for the others: those that both saw decide."""
    first = np.arange(200) % 10 == 0
    store.put(record(imagenet.deepcorrect(SMALL, "Deepcorr-5", "awgn"), np.tile(first, (7, 1))))
    store.put(record(imagenet.restored(SMALL, "awgn"), np.zeros((7, 20), bool)))
    claim = next(c for c in paper.claims() if c["id"] == "5.2.2-beats-bm3d")
    verdict, _ = judgement.judge(claim, store)
    assert verdict.ours == 1 and verdict.interval == (1, 1) and verdict.verdict == Outcome.HOLDS
    assert "on the 20 images that both saw" in verdict.explanation


def test_random_splits_are_read_from_the_records(store):
    for method, gap in (("Finetune-8", 0), ("Deepcorr-5", 0.02)):
        splits = np.linspace(0.4, 0.6, 5)[:, None] + np.full(7, gap)
        run = imagenet.transferred(SMALL, method, "sun397", "blur")
        store.put(record(run, splits=splits.tolist(), accuracy=splits.mean(0).tolist(), images=810))
    claim = next(c for c in paper.claims() if c["id"] == "5.3-gain-sun397-blur")
    verdict, _ = judgement.judge(claim, store)
    gains = 0.02 / np.linspace(0.4, 0.6, 5)
    error = np.std(gains, ddof=1) * np.sqrt(1 / 5 + 15 / 25) * 2.776  # t with four degrees of freedom
    assert verdict.interval == pytest.approx((gains.mean() - error, gains.mean() + error), abs=1e-4)
