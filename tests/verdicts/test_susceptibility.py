"""What rankings show: how much the best filters hold, and which kind of filters they are."""

import numpy as np
import pytest
import torch
from claim_records import judged, record
from scipy import stats

from dclib import paper
from dclib.experiments import imagenet, profile, ranking
from dclib.results import pack_bits, pack_filters, unpack_filters
from dclib.verdicts.finding import Outcome
from dclib.verdicts.measures import measure
from dclib.verdicts.susceptibility import (
    best_quarter,
    by_chance,
    colour_share,
    held_out_over_images,
    held_out_over_levels,
    top_half,
    valley,
)

SMALL = profile("small").imagenet
RED = np.random.RandomState(0).randn(96, 1, 11, 11).repeat(3, 1).astype(np.float32)
RED[:30, 0] += 3  # thirty red filters
IS_RED = np.arange(96) < 30


def test_shares_of_gains_by_hand():
    gain = np.array([4.0, 0, 1, -3, 2, 0, 1, 0])  # of 8 positive the best two of eight hold 6
    assert best_quarter(gain) == 6 / 8 and best_quarter(-np.ones(8)) == 0
    always = np.tile(gain[:, None], (1, 6))
    assert held_out_over_levels(always) == held_out_over_images(np.tile(gain[:, None], (1, 10))) == 6 / 8


def test_filters_that_differ_by_chance_alone_hold_a_quarter_elsewhere():
    noise = np.random.default_rng(0).normal(size=(400, 6))
    assert best_quarter(noise.mean(1)) > 0.7  # what chance gave, looks like susceptibility
    assert held_out_over_levels(noise) == pytest.approx(0.25, abs=0.03) and best_quarter(noise.mean(1)) < by_chance(noise)
    real = noise + 2 * (np.arange(400) < 100)[:, None]
    assert best_quarter(real.mean(1)) > by_chance(real) and held_out_over_levels(real) > 0.6


@pytest.mark.parametrize("kind", ["blur", "awgn"])
def test_first_claim_is_judged_by_the_published_swaps_without_a_record(store, kind):
    claim = next(c for c in paper.claims() if c["id"] == f"1-susceptible-imagenet-{kind}")
    verdict = judged(claim, lambda table, method: [], measure=lambda test: measure(test, "paper", store))
    assert verdict.verdict == Outcome.HOLDS and verdict.runs == () and verdict.seeds == 0
    assert verdict.basis == "the authors' published swaps"
    assert verdict.ours == pytest.approx({"blur": 0.61, "awgn": 0.60}[kind], abs=0.005)


def put_cifar_ranking(store, strong):
    """A ranking of the small CIFAR-100 network whose best quarter gains `strong` at every level."""
    p = profile("small")
    run, rng = ranking(p, "blur"), np.random.default_rng(0)
    widths = {layer: p.width * (1 if i < 3 else 2) for i, layer in enumerate(run.layers)}
    swapped = {
        layer: np.clip(0.3 + rng.normal(0, 0.002, (n, 6)) + strong * (np.arange(n) < n // 4)[:, None], 0, 1).tolist()
        for layer, n in widths.items()
    }
    store.put(record(run, swap_accuracy=swapped, distorted_accuracy=[0.3] * 6, images=1000))
    return run


def test_first_claim_is_judged_by_a_ranking(store):
    claim = next(c for c in paper.claims() if c["id"] == "1-susceptible-cifar100-blur")
    for strong, expected in ((0.02, Outcome.HOLDS), (0.0, Outcome.INCONCLUSIVE)):
        run = put_cifar_ranking(store, strong)
        found = measure({"quantity": "susceptible", "dataset": "cifar100", "distortion": "blur"}, "small", store)
        assert found.networks[0][0] == run and "conv6" in found.notes[0]
        verdict = judged(claim, lambda table, method: [], measure=lambda test: found)
        assert verdict.verdict == expected and verdict.runs == (run.id,)
    assert measure({"quantity": "susceptible", "dataset": "cifar100", "distortion": "blur"}, "miniature", store) is None
    assert measure({"quantity": "susceptible", "dataset": "cifar100", "distortion": "awgn"}, "small", store) is None


def test_redundancy_is_left_open_with_what_the_swaps_say(store):
    claim = next(c for c in paper.claims() if c["id"] == "4.1-redundant-filters")
    verdict = judged(claim, lambda table, method: [], measure=lambda test: measure(test, "paper", store))
    assert verdict.verdict == Outcome.OPEN and "0.1815 if they are swapped together" in verdict.explanation


# Figure 6


def test_colour_share_of_known_filters():
    grey, red = torch.randn(1, 1, 5, 5).expand(1, 3, 5, 5), torch.zeros(1, 3, 5, 5)
    red[:, 0] = 1
    assert colour_share(torch.cat([grey, red])) == pytest.approx([0, 2 / 3], abs=1e-6)


def test_the_valley_parts_two_groups():
    rng = np.random.default_rng(0)
    shares = np.concatenate([rng.normal(0.05, 0.02, 60), rng.normal(0.7, 0.1, 36)])
    cut = valley(shares)
    assert (shares < cut).sum() == 60

    # Otsu's criterion by brute force over all thresholds.
    def within(t):
        return sum(len(part) * part.var() for part in (shares[shares < t], shares[shares >= t]))

    assert within(cut) == pytest.approx(min(within(t) for t in np.sort(shares)[1:]))


def put_ranking(store, distortion, gains, weights=RED, images=200, bits=True):
    """A ranking of AlexNet's conv1 whose swap of a filter helps on `gains` [96] of the images, at every level."""
    run, before = imagenet.ranking(SMALL, distortion), np.zeros((7, images), bool)
    before[0] = True
    changed = np.arange(images) < np.asarray(gains)[:, None, None]
    changed = np.broadcast_to(changed, (96, 6, images))
    order = np.random.default_rng(0).permutation(images)
    more = {"changed": {"conv1": pack_bits(changed[..., order])}, "correct_before": pack_bits(before[:, order])}
    more = more if bits else {}
    store.put(
        record(
            run,
            swap_accuracy={"conv1": changed.mean(-1).tolist()},
            distorted_accuracy=[0.0] * 6,
            images=images,
            clean_accuracy=1.0,
            first_filters=pack_filters(weights),
            **more,
        )
    )
    return run


def test_measures_of_figure_6(store):
    run = put_ranking(store, "blur", np.where(IS_RED, 5, 60))
    put_ranking(store, "awgn", np.where(IS_RED, 60, 5))
    assert not IS_RED[top_half(store.get(run))].any()
    found = measure({"figure": 6, "quantity": "without_colour", "distortion": "blur"}, "small", store)
    assert found.value == 1 and found.interval == (1, 1) and not found.undecided
    shares = colour_share(torch.from_numpy(unpack_filters(pack_filters(RED))))
    rank = stats.spearmanr(np.where(IS_RED, 5, 60), shares).statistic
    assert f"priority and colour {rank:+.2f}" in found.notes[1] and "at 0.5" in found.notes[1]
    mixed = measure({"figure": 6, "quantity": "colour_of_noise_minus_blur"}, "small", store)
    assert mixed.value == pytest.approx(-2 * rank) and mixed.interval[0] > 0
    assert np.abs(unpack_filters(pack_filters(RED)) - RED).max() < 0.01


def test_figure_6_is_uncertain_as_its_ranking_is(store):
    """Filters that differ by one of a few images change places when other images rank them; their number does not help."""
    rng = np.random.default_rng(1)
    put_ranking(store, "blur", np.where(IS_RED, 10, 11) + rng.integers(0, 2, 96), images=20)
    few = measure({"figure": 6, "quantity": "without_colour", "distortion": "blur"}, "small", store)
    put_ranking(store, "blur", 10 * (np.where(IS_RED, 10, 40)), images=500)
    many = measure({"figure": 6, "quantity": "without_colour", "distortion": "blur"}, "small", store)
    assert np.ptp(few.interval) > 0.05 and np.ptp(many.interval) < 0.01


def test_figure_6_is_open_where_the_record_keeps_no_bits(store):
    put_ranking(store, "blur", np.where(IS_RED, 5, 60), bits=False)
    found = measure({"figure": 6, "quantity": "without_colour", "distortion": "blur"}, "small", store)
    assert found.value == 1 and "which images a swap changes" in found.undecided and found.interval is None
    assert "Spearman" in found.notes[1]


def test_figure_6_is_judged_by_equation_1_and_says_what_the_other_score_gives(store):
    run = imagenet.ranking(SMALL, "blur")
    swapped = np.where(np.arange(96) < 48, 0.25, 0.05)  # a red filter's swap hurts: susceptible by the released score alone
    weights = np.random.RandomState(0).randn(96, 1, 11, 11).repeat(3, 1).astype(np.float32)
    weights[48:, 0] += 3
    store.put(
        record(
            run,
            swap_accuracy={"conv1": np.tile(swapped[:, None], (1, 6)).tolist()},
            distorted_accuracy=[0.2] * 6,
            images=20,
            clean_accuracy=0.7,
            first_filters=pack_filters(weights),
        )
    )
    found = measure({"figure": 6, "quantity": "without_colour", "distortion": "blur"}, "small", store)
    assert found.value == 1 and "by the released code's score it is 0.0000" in found.notes[0]
