"""What another seed, draw or claim would change, against oracles: SciPy, simulation, enumeration."""

from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from dclib.statistics import percentile_interval, resample_means
from dclib.verdicts.replication import (
    draw_pvalue,
    expected_false_ticks,
    pooled_deviation,
    power,
    seeds_half_width,
    smallest_effect,
    widen,
)


def test_pooled_deviation_is_that_of_an_analysis_of_variance():
    groups = [[0.50, 0.52, 0.51], [0.30, 0.33], [0.7]]
    found, freedom = pooled_deviation(groups)
    within = np.concatenate([np.subtract(g, np.mean(g)) for g in groups])
    assert freedom == 3 and found == pytest.approx(np.sqrt((within**2).sum() / 3))
    assert pooled_deviation([[0.5], [0.4]]) is None and pooled_deviation([]) is None


def test_half_width_over_seeds_is_scipys():
    values = [0.01, 0.03, 0.02]
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert seeds_half_width(values) == pytest.approx((high - low) / 2)
    with pytest.raises(ValueError, match="two seeds"):
        seeds_half_width([0.1])


def test_interval_over_seeds_and_images_covers_the_effect():
    """200 experiments of three seeds on 300 images whose networks and images both vary: 95 % should cover the effect.

    Intervals over images alone, of the same experiments, cover far less.
    """
    rng, effect, covered, naive = np.random.default_rng(0), 0.02, 0, 0
    for _ in range(200):
        images = rng.normal(0, 0.3, 300)
        values = effect + rng.normal(0, 0.06, (3, 1)) + images + rng.normal(0, 0.2, (3, 300))
        each, mean = values.mean(1), values.mean()
        bounds = percentile_interval(resample_means(values.mean(0)[None], 200)[:, 0])
        low, high = widen(mean, *bounds, seeds_half_width(each))
        covered += low <= effect <= high
        naive += bounds[0] <= effect <= bounds[1]
    assert 0.92 <= covered / 200 <= 1 and naive / 200 < 0.8


def test_draws_are_exchangeable_units():
    """By enumeration: of all orders of one choice and four draws, p is at most 1/5 in one of five."""
    values = [permuted for permuted in permutations([0.1, 0.2, 0.3, 0.4, 0.5])]
    found = [draw_pvalue(first, rest) for first, *rest in values]
    for level in (0.2, 0.4, 0.6, 0.8, 1.0):
        assert np.mean(np.array(found) <= level + 1e-9) == pytest.approx(level)
    assert draw_pvalue(0.9, np.zeros(10)) == pytest.approx(1 / 11) and draw_pvalue(0.0, np.zeros(10)) == 1
    with pytest.raises(ValueError, match="one at least"):
        draw_pvalue(0.5, [])


def test_smallest_effect_has_a_power_of_80_percent():
    effect = smallest_effect(-0.01, 0.03)
    assert power(effect, -0.01, 0.03) == pytest.approx(0.8) and power(0, -0.01, 0.03) < 0.05
    rng = np.random.default_rng(0)  # by simulation: how often does an interval of that width lie above 0?
    assert np.mean(rng.normal(effect, 0.04 / 3.92, 20_000) > 0.02) == pytest.approx(0.8, abs=0.01)
    assert power(0.1, -np.inf, np.inf) == 0 and power(0.1, 0.2, 0.2) == 1


def test_false_ticks():
    assert expected_false_ticks(40) == pytest.approx(1)
