"""Statistics against SciPy, statsmodels' binomial test, and bootstraps written as plain loops."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from dclib import statistics

RNG = np.random.default_rng(20)
A, B = RNG.random(7), RNG.random(7)


def bits(levels, images, share=0.6, seed=0):
    return np.random.default_rng(seed).random((levels, images)) < share


def test_paired_t_test_equals_scipy():
    result, oracle = statistics.paired_t_test(A, B), stats.ttest_rel(A, B)
    assert result.statistic == pytest.approx(oracle.statistic)
    assert result.pvalue == pytest.approx(oracle.pvalue)
    assert result.degrees_of_freedom == 6
    assert result.difference == pytest.approx(np.mean(A - B))
    assert (result.low, result.high) == pytest.approx(tuple(oracle.confidence_interval(0.95)))


def test_equal_accuracies_give_p_one():
    assert statistics.paired_t_test(A, A) == statistics.TTest(0.0, 1.0, 6, 0.0, 0.0, 0.0)


def test_equal_differences_give_p_zero():
    # 0.3 - 0.2 and 0.4 - 0.3 differ in the last bit: still one difference.
    result = statistics.paired_t_test([0.2, 0.3, 0.6], [0.3, 0.4, 0.7])
    assert (result.statistic, result.pvalue) == (-np.inf, 0.0)
    assert result.low == result.high == pytest.approx(-0.1)


@pytest.mark.parametrize("images", [12, 400])
def test_mcnemar_equals_the_binomial_test(images):
    a, b = bits(2, images, seed=images)
    result = statistics.mcnemar(a, b)
    only_a, only_b = np.sum(a & ~b), np.sum(b & ~a)
    assert (result.only_a, result.only_b) == (only_a, only_b)
    assert result.pvalue == pytest.approx(stats.binomtest(int(only_a), int(only_a + only_b)).pvalue)


def test_mcnemar_of_equal_networks():
    a = bits(1, 50)[0]
    assert statistics.mcnemar(a, a) == statistics.McNemar(0, 0, 1.0)


def test_holm_by_hand():
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_resample_means_equals_a_loop_with_the_same_draws():
    values = bits(1, 60, seed=3).astype(float) + bits(2, 60, seed=4)
    fast = statistics.resample_means(values, resamples=20, seed=5)
    distinct, counts = np.unique(values, axis=1, return_counts=True)
    generator = np.random.default_rng(5)
    for means in fast:
        drawn = generator.multinomial(60, counts / 60)
        sample = [distinct[:, k] for k, times in enumerate(drawn) for _ in range(times)]
        assert len(sample) == 60
        assert means == pytest.approx(np.mean(sample, axis=0))


def test_equal_resamples_are_drawn_once_and_stay_as_they_are():
    values = bits(1, 60, seed=3).astype(float)
    first = statistics.resample_means(values, resamples=20, seed=5)
    assert statistics.resample_means(values[:, ::-1], resamples=20, seed=5) is first  # the order of images is no matter
    assert not np.array_equal(statistics.resample_means(values, resamples=20, seed=6), first)
    assert np.array_equal(statistics.resample_means(values, resamples=21, seed=5)[:20], first)
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1


def test_bootstrap_interval_equals_drawing_images_one_by_one():
    a, b = bits(7, 300, 0.55, seed=1), bits(7, 300, 0.5, seed=2)
    result = statistics.bootstrap_interval(a, b, resamples=4000)
    difference = a.mean(0) - b.mean(0)
    generator = np.random.default_rng(9)
    naive = [difference[generator.integers(300, size=300)].mean() for _ in range(4000)]
    assert result.estimate == pytest.approx(difference.mean())
    assert (result.low, result.high) == pytest.approx(np.quantile(naive, [0.025, 0.975]), abs=2e-3)
    library = stats.bootstrap((difference,), np.mean, method="percentile", n_resamples=4000, rng=1)
    assert (result.low, result.high) == pytest.approx(tuple(library.confidence_interval), abs=2e-3)


def test_bootstrap_keeps_the_levels_of_an_image_together():
    one = bits(1, 500)
    assert statistics.bootstrap_interval(np.repeat(one, 7, axis=0)) == statistics.bootstrap_interval(one[0])


def test_bootstrap_is_deterministic_and_the_seed_matters():
    a = bits(7, 200)
    assert statistics.bootstrap_interval(a, seed=1) == statistics.bootstrap_interval(a, seed=1)
    assert statistics.bootstrap_interval(a, seed=1) != statistics.bootstrap_interval(a, seed=2)


def test_blocks_do_not_change_the_draws():
    values = RNG.random((1, 5000))  # 5000 distinct columns: three blocks
    whole = np.random.default_rng(0).multinomial(5000, np.full(5000, 1 / 5000), size=1700)
    assert statistics.resample_means(values, 1700)[:, 0] == pytest.approx((whole @ np.sort(values[0])) / 5000)


def test_bootstrap_pvalue_is_never_zero():
    assert statistics.bootstrap_pvalue(np.ones(1999)) == pytest.approx(0.001)
    assert statistics.bootstrap_pvalue(np.zeros(10)) == 1.0


def test_seed_interval_equals_scipy():
    values = [0.49, 0.50, 0.52]
    result = statistics.seed_interval(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (result.low, result.high) == pytest.approx((low, high))
    assert result.spread == pytest.approx(np.std(values, ddof=1))
    assert result.seeds == 3


def test_one_seed_has_no_interval_and_says_so():
    result = statistics.seed_interval([0.5])
    assert (result.mean, result.spread, result.low, result.high) == (0.5, None, None, None)
    assert "one seed" in result.note


def grouped(groups=40, size=12, seed=6):
    """Bits [7, images] of two networks whose images come in groups that share much of their luck."""
    rng = np.random.default_rng(seed)
    member = rng.permutation(np.repeat(np.arange(groups), rng.integers(1, size, groups)))
    luck = rng.random((2, groups))
    a, b = (np.tile(rng.random(len(member)) < 0.1 + 0.8 * own[member], (7, 1)) for own in luck)
    return a, b, member


def test_resample_groups_equals_a_loop_with_the_same_draws():
    a, b, member = grouped()
    values = np.stack([a.mean(0), b.mean(0)])
    fast = statistics.resample_groups(values, member + 100, resamples=30, seed=5)
    generator = np.random.default_rng(5)
    for means in fast:
        drawn = generator.multinomial(40, np.full(40, 1 / 40))
        sample = np.concatenate([np.flatnonzero(member == group) for group, times in enumerate(drawn) for _ in range(times)])
        assert means == pytest.approx(values[:, sample].mean(axis=1))


def test_grouped_interval_equals_drawing_groups_one_by_one_and_scipy():
    a, b, member = grouped()
    result = statistics.bootstrap_interval(a, b, groups=member, resamples=4000)
    difference, parts = a.mean(0) - b.mean(0), [np.flatnonzero(member == group) for group in range(40)]
    generator = np.random.default_rng(9)
    naive = [difference[np.concatenate([parts[i] for i in generator.integers(40, size=40)])].mean() for _ in range(4000)]
    assert result.estimate == pytest.approx(difference.mean())
    assert (result.low, result.high) == pytest.approx(np.quantile(naive, [0.025, 0.975]), abs=0.012)
    sums, sizes = np.array([difference[part].sum() for part in parts]), np.array([len(part) for part in parts])
    library = stats.bootstrap(
        (sums, sizes),
        lambda x, y, axis: x.sum(axis) / y.sum(axis),
        paired=True,
        method="percentile",
        n_resamples=4000,
        rng=1,
    )
    assert (result.low, result.high) == pytest.approx(tuple(library.confidence_interval), abs=0.012)


def test_groups_widen_an_interval_and_single_images_do_not():
    a, b, member = grouped()
    single = statistics.bootstrap_interval(a, b)
    whole = statistics.bootstrap_interval(a, b, groups=member)
    alone = statistics.bootstrap_interval(a, b, groups=np.arange(len(member)))
    assert whole.high - whole.low > 1.5 * (single.high - single.low)
    assert (alone.low, alone.high) == pytest.approx((single.low, single.high), abs=0.02)


@pytest.mark.parametrize("images", [12, 90])
def test_flip_test_of_single_images_is_mcnemars(images):
    a, b = bits(2, images, seed=images)
    exact = statistics.mcnemar(a, b).pvalue
    assert statistics.flip_test(a, b, resamples=20_000) == pytest.approx(exact, abs=0.012)
    assert statistics.flip_test(a, b, np.arange(images), resamples=20_000) == pytest.approx(exact, abs=0.012)


def test_flip_test_of_groups_against_all_exchanges():
    a, b, member = grouped(groups=8, size=6, seed=1)
    sums = np.array([(a.sum(0) - b.sum(0))[member == group].sum() for group in range(8)])
    signs = np.array([[1 if number >> i & 1 else -1 for i in range(8)] for number in range(256)])
    exact = (np.abs(signs @ sums) >= abs(sums.sum())).mean()
    assert statistics.flip_test(a, b, member, resamples=20_000) == pytest.approx(exact, abs=0.012)


def test_flip_test_of_equal_networks():
    a, _, member = grouped()
    assert statistics.flip_test(a, a, member) == 1.0


@pytest.mark.parametrize("draws", [2, 3, 10])
def test_draw_test_of_one_condition_is_scipys_against_a_sample_of_one(draws):
    values = RNG.random(draws)
    result, oracle = statistics.draw_test([0.9], [values]), stats.ttest_ind([0.9], values)
    assert (result.statistic, result.pvalue) == pytest.approx((oracle.statistic, oracle.pvalue))
    assert result.degrees_of_freedom == draws - 1 == oracle.df
    assert (result.low, result.high) == pytest.approx(tuple(oracle.confidence_interval(0.95)))


@pytest.mark.parametrize("conditions, draws", [(2, 3), (6, 3), (4, 10)])
def test_draw_test_equals_least_squares(conditions, draws):
    import statsmodels.api as sm

    rng = np.random.default_rng(conditions)
    levels = rng.random(conditions)
    chosen, drawn = levels + 0.1 + 0.05 * rng.random(conditions), levels[:, None] + 0.1 * rng.random((conditions, draws))
    design, values = [], []
    for i in range(conditions):
        for value, deliberate in [(chosen[i], 1), *((v, 0) for v in drawn[i])]:
            design.append([deliberate, *np.eye(conditions)[i]])
            values.append(value)
    oracle = sm.OLS(values, np.array(design)).fit()
    result = statistics.draw_test(chosen, drawn)
    assert (result.difference, result.statistic, result.pvalue) == pytest.approx(
        (oracle.params[0], oracle.tvalues[0], oracle.pvalues[0])
    )
    assert (result.low, result.high) == pytest.approx(tuple(oracle.conf_int()[0]))
    assert result.degrees_of_freedom == oracle.df_resid


def test_draw_test_without_variance():
    assert statistics.draw_test([0.5], [[0.5, 0.5, 0.5]]).pvalue == 1
    better = statistics.draw_test([0.6, 0.7], [[0.5, 0.5], [0.6, 0.6]])
    assert (better.statistic, better.pvalue) == (np.inf, 0) and better.difference == pytest.approx(0.1)


BAD = {
    "unequal lengths": (statistics.paired_t_test, ([0.1, 0.2], [0.1, 0.2, 0.3])),
    "one pair": (statistics.paired_t_test, ([0.1], [0.2])),
    "nan": (statistics.paired_t_test, ([0.1, np.nan], [0.2, 0.3])),
    "percent": (statistics.paired_t_test, ([10, 20], [0.2, 0.3])),
    "two axes": (statistics.paired_t_test, ([[0.1, 0.2]], [[0.2, 0.3]])),
    "numbers for bits": (statistics.mcnemar, (np.ones(5), np.ones(5))),
    "all levels at once": (statistics.mcnemar, (bits(7, 5), bits(7, 5))),
    "other images": (statistics.mcnemar, (bits(1, 5)[0], bits(1, 6)[0])),
    "p above 1": (statistics.holm, ([0.1, 1.2],)),
    "p nan": (statistics.holm, ([np.nan],)),
    "no p": (statistics.holm, ([],)),
    "one image": (statistics.bootstrap_interval, (bits(7, 1),)),
    "three axes": (statistics.bootstrap_interval, (bits(7, 5)[None],)),
    "float bits": (statistics.bootstrap_interval, (bits(7, 5).astype(float),)),
    "unpaired": (statistics.bootstrap_interval, (bits(7, 5), bits(7, 6))),
    "nan values": (statistics.resample_means, (np.array([[np.nan, 1.0]]),)),
    "no resamples": (statistics.resample_means, (np.ones((1, 5)), 0)),
    "one group": (statistics.resample_groups, (np.ones((1, 5)), [3] * 5)),
    "names of groups": (statistics.resample_groups, (np.ones((1, 2)), ["a", "b"])),
    "groups of other images": (statistics.resample_groups, (np.ones((1, 5)), [0, 1, 1])),
    "groups that do not fit": (lambda a, g: statistics.bootstrap_interval(a, groups=g), (bits(7, 5), [0, 1, 1])),
    "groups of other answers": (statistics.flip_test, (bits(7, 5), bits(7, 5), [0, 1, 1])),
    "one draw": (statistics.draw_test, ([0.5], [[0.4]])),
    "draws of other conditions": (statistics.draw_test, ([0.5, 0.6], [[0.4, 0.5]])),
    "nan draws": (statistics.draw_test, ([0.5], [[0.4, np.nan]])),
    "no seeds": (statistics.seed_interval, ([],)),
    "infinite seed": (statistics.seed_interval, ([np.inf, 1],)),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(name):
    function, arguments = BAD[name]
    with pytest.raises(ValueError, match="^Expected .*, got .*; .*[.]$"):
        function(*arguments)


def test_bad_confidence():
    with pytest.raises(ValueError, match="confidence"):
        statistics.bootstrap_interval(bits(7, 5), confidence=95)


@pytest.mark.parametrize("count", [1, 2, 7, 30])
def test_holm_equals_statsmodels(count):
    values = np.random.default_rng(count).random(count).round(2) ** 3  # with ties and zeros
    expected = multipletests(values, method="holm")[1]
    assert statistics.holm(values) == pytest.approx(expected, abs=1e-15)


def test_interval_of_random_splits_equals_a_t_interval_on_the_corrected_variance():
    values = [0.1, 0.2, 0.15, 0.3, 0.2]
    error = np.std(values, ddof=1) * np.sqrt(1 / 5 + 15 / 25)  # Nadeau and Bengio, with 15 test and 25 training images
    oracle = stats.t.interval(0.95, 4, np.mean(values), error)
    assert statistics.draws_interval(values, 15 / 25) == pytest.approx(oracle)
    plain = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert oracle[0] < plain[0] and oracle[1] > plain[1]
    for bad in (([0.1], 0.6), (values, 0)):
        with pytest.raises(ValueError, match="two draws"):
            statistics.draws_interval(*bad)


def test_interval_of_a_share_is_exact():
    low, high = statistics.share_interval(25, 48)
    assert stats.binom.sf(24, 48, low) == pytest.approx(0.025) and stats.binom.cdf(25, 48, high) == pytest.approx(0.025)
    assert statistics.share_interval(0, 0) == (0, 1)


def test_error_of_a_difference_bounds_what_paired_images_show():
    rng, images, found = np.random.default_rng(0), 20, []
    for _ in range(2000):
        hardness = rng.random(images)  # two networks that agree on most images
        a, b = (hardness + rng.normal(0, 0.05, images) < share for share in (0.8, 0.8))
        found.append(a.mean() - b.mean())
    error = statistics.difference_error(0.8, 0.8, images)
    assert error == pytest.approx(1.96 * np.sqrt(2 * 0.16 / 20), rel=1e-3)
    assert np.mean(np.abs(found) <= error) > 0.99 and error > 2 / 120


@pytest.mark.parametrize("differences", [[np.nan, 1.0], [np.inf, 1.0], [], [[1.0, 2.0]], 1.0, [-np.inf] * 3])
def test_bootstrap_pvalue_refuses_what_are_no_differences(differences):
    with pytest.raises(ValueError, match="finite differences"):
        statistics.bootstrap_pvalue(differences)
