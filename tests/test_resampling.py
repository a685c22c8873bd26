"""Draws, intervals and nulls."""

import numpy as np
import pytest
from scipy import stats

from analyses.resampling import (
    Sampled,
    average,
    bootstrap_counts,
    calibrated,
    calibrated_pairs,
    estimate,
    generator,
    permutations,
    share_interval,
)
from warehouse.errors import InputError


def test_a_resample_takes_as_many_terms_as_there_are():
    counts = bootstrap_counts(7, 50, generator(0, "a"))
    assert counts.shape == (7, 50)
    assert (counts.sum(axis=0) == 7).all()


def test_a_stratified_resample_keeps_the_size_of_each_stratum():
    strata = np.array(["a", "a", "b", "b", "b", "c"])
    counts = bootstrap_counts(6, 40, generator(0), strata)
    for name, size in (("a", 2), ("b", 3), ("c", 1)):
        assert (counts[strata == name].sum(axis=0) == size).all()


def test_each_term_is_drawn_once_on_average():
    counts = bootstrap_counts(5, 4000, generator(1))
    assert np.allclose(counts.mean(axis=1), 1.0, atol=0.06)


def test_draws_depend_on_seed_and_name_alone():
    assert (generator(3, "x").integers(100, size=9) == generator(3, "x").integers(100, size=9)).all()
    assert (generator(3, "x").integers(100, size=9) != generator(3, "y").integers(100, size=9)).any()
    assert (generator(3, "x").integers(100, size=9) != generator(4, "x").integers(100, size=9)).any()


def test_a_permutation_holds_every_term_once_and_permutations_differ():
    orders = permutations(20, 5, generator(0))
    assert (np.sort(orders, axis=0) == np.arange(20)[:, None]).all()
    assert len({tuple(column) for column in orders.T}) == 5


def test_strata_of_another_length_and_no_terms_are_refused():
    with pytest.raises(InputError, match="strata for 2"):
        bootstrap_counts(3, 1, generator(0), ["a", "b"])
    with pytest.raises(InputError, match="no terms"):
        bootstrap_counts(0, 1, generator(0))


def test_the_interval_holds_the_estimate_also_where_all_resamples_lie_to_one_side():
    resampled = np.linspace(-0.30, -0.10, 101)
    found = estimate(Sampled(0.0, resampled))
    assert found.low is not None
    assert found.high is not None
    assert found.low == pytest.approx(-0.095)
    assert found.high == pytest.approx(0.095)


def test_the_p_value_counts_the_estimate_in_and_ties_against_it():
    found = estimate(Sampled(0.5, np.zeros(0), np.array([0.1, 0.5, 0.7, 0.2])))
    assert found.null_p == pytest.approx((1 + 2) / (1 + 4))
    assert found.null_mean == pytest.approx(0.375)
    assert estimate(Sampled(9.0, np.zeros(0), np.zeros(4))).null_p == pytest.approx(1 / 5)


def test_what_was_not_measured_is_none():
    found = estimate(Sampled(0.5, np.zeros(0)))
    assert (found.low, found.high, found.null_mean, found.null_high, found.null_p) == (None,) * 5


def test_differences_and_averages_are_taken_draw_by_draw():
    one = Sampled(1.0, np.array([1.0, 2.0]), np.array([0.0, 4.0]))
    other = Sampled(3.0, np.array([5.0, 0.0]), np.array([2.0, 2.0]))
    step, mean = other.minus(one), average([one, other])
    assert step.value == 2.0
    assert step.resampled.tolist() == [4.0, -2.0]
    assert step.permuted is not None
    assert step.permuted.tolist() == [2.0, -2.0]
    assert mean.value == 2.0
    assert mean.resampled.tolist() == [3.0, 1.0]
    assert average([one, Sampled(0.0, np.zeros(2))]).permuted is None


def test_an_average_over_nothing_is_refused():
    with pytest.raises(InputError, match="no templates"):
        average([])


def test_the_interval_of_a_skewed_mean_is_that_of_bca():
    values = generator(5).gamma(1.0, size=40)
    resampled = values @ bootstrap_counts(40, 20000, generator(6)) / 40
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=20000, method="BCa", random_state=np.random.default_rng(7)
    ).confidence_interval
    found = estimate(Sampled(float(values.mean()), resampled))
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.03 * width)
    assert found.high == pytest.approx(expected.high, abs=0.03 * width)
    assert found.high - values.mean() > 1.1 * (values.mean() - found.low)


def test_the_interval_of_a_symmetric_mean_is_student_s_with_fewer_degrees_where_the_number_of_terms_is_known():
    values = np.concatenate([generator(8).normal(size=5), [0.0]])
    values = np.concatenate([values, -values])
    resampled = values @ bootstrap_counts(12, 40000, generator(9)) / 12
    found = estimate(Sampled(0.0, resampled, terms=12))
    # The variance of a sample variance, of 12 terms with an excess kurtosis of 3: 2 / 11 + 3 / 12 of its square.
    freedom = 2 / (2 / 11 + 3 / 12)
    expected = stats.t.ppf(0.975, freedom) * values.std(ddof=1) / np.sqrt(12)
    assert found.high == pytest.approx(expected, rel=0.04)
    assert found.low == pytest.approx(-expected, rel=0.04)


def test_calibrated_resamples_of_a_mean_within_strata_have_its_textbook_variance():
    strata = np.repeat([0, 1, 2], [3, 5, 40])
    values = generator(10).normal(size=48)
    resampled = values @ bootstrap_counts(48, 20000, generator(11), strata) / 48
    shares = np.bincount(strata) / 48
    means = np.array([values[strata == name].mean() for name in range(3)])
    left_out = np.array(
        [
            sum(shares[name] * np.delete(values, i)[np.delete(strata, i) == name].mean() for name in range(3))
            for i in range(48)
        ]
    )
    found = calibrated(float(shares @ means), resampled, left_out, strata)
    variances = np.array([shares[name] ** 2 * stats.sem(values[strata == name]) ** 2 for name in range(3)])
    sizes = np.bincount(strata)
    freedom = variances.sum() ** 2 / (variances**2 * (1 / (sizes - 1) + 1 / (2 * sizes))).sum()
    wider = stats.t.ppf(0.975, freedom) / (stats.t.ppf(0.975, 2 / (2 / 47 + 3 / 48)) * np.sqrt(48 / 47))
    assert found.mean() == pytest.approx(float(shares @ means))
    assert found.std() == pytest.approx(np.sqrt(variances.sum()) * wider, rel=0.01)
    assert resampled.std() < np.sqrt(variances.sum())


def test_resamples_that_spread_more_than_the_jackknife_are_narrowed_but_not_to_nothing():
    left_out, strata = np.array([0.0, 0.2] * 20), np.zeros(40, dtype=np.intp)
    jackknife = 39 / 40 * 0.4
    narrow, wide = (
        calibrated(1.0, np.sqrt(jackknife * factor) * np.array([-1.0, 1.0]), left_out, strata).var()
        for factor in (1.0, 1.5)
    )
    kept = [1 - 0.6 * (factor * 40 / 39 - 1) ** 3 for factor in (1.0, 1.5)]
    assert wide / narrow == pytest.approx(kept[1] / kept[0])
    wildest = calibrated(1.0, 100 * np.array([-1.0, 1.0]), left_out, strata)
    assert wildest.var() / narrow == pytest.approx(0.45 / kept[0])


def test_the_interval_of_a_calibrated_mean_within_strata_is_that_of_welch_with_fewer_degrees():
    strata = np.repeat([0, 1], [6, 30])
    values = generator(12).normal(size=36) * np.where(strata == 0, 3.0, 1.0)
    resampled = values @ bootstrap_counts(36, 40000, generator(13), strata) / 36
    groups, shares = [values[:6], values[6:]], np.array([6, 30]) / 36
    mean = float(values.mean())
    left_out = np.array(
        [
            sum(shares[name] * np.delete(values, i)[np.delete(strata, i) == name].mean() for name in (0, 1))
            for i in range(36)
        ]
    )
    found = estimate(Sampled(mean, calibrated(mean, resampled, left_out, strata), terms=36))
    variances = np.array([share**2 * stats.sem(each) ** 2 for share, each in zip(shares, groups, strict=True)])
    # 2 / 5 + 1 / 6 and 2 / 29 + 1 / 30 of their squares are the variances of the variances.
    freedom = 2 * variances.sum() ** 2 / (variances**2 * [2 / 5 + 1 / 6, 2 / 29 + 1 / 30]).sum()
    half = stats.t.ppf(0.975, freedom) * np.sqrt(variances.sum())
    assert found.low is not None
    assert found.high is not None
    assert found.low < mean < found.high
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.04)


def _hanging_together(influence, first, second):
    """The variance of a sum, over all pairs of pairs that share a term."""
    total = 0.0
    for p in range(len(influence)):
        for q in range(len(influence)):
            if {first[p], second[p]} & {first[q], second[q]}:
                total += influence[p] * influence[q]
    return total


def test_resamples_of_pairs_get_the_variance_of_pairs_that_hang_together_where_they_share_a_term():
    rng = generator(14)
    terms, first = 15, np.repeat(np.arange(15), 3)
    second = (first + np.tile([1, 4, 11], 15)) % terms
    effects = rng.normal(size=(2, terms)) * [[1.0], [3.0]]
    influence = effects[:, first] + effects[:, second] + rng.normal(size=(2, 45))
    influence -= influence.mean(axis=1, keepdims=True)
    resampled = rng.normal(size=(2, 400)) + 7.0
    resampled[:, 3] = np.nan
    found = calibrated_pairs(np.array([0.2, -1.0]), resampled, influence, first, second)
    assert np.nanmean(found, axis=1).tolist() == pytest.approx([0.2, -1.0])
    assert np.isnan(found[:, 3]).all()
    for layer in (0, 1):
        expected = _hanging_together(influence[layer], first, second) * terms / (terms - 2)
        assert np.nanvar(found[layer]) == pytest.approx(expected)


def test_resamples_of_pairs_keep_at_least_what_belongs_to_the_pairs_alone():
    first, second = np.array([0, 1, 2, 3] * 3), np.array([4, 5, 6, 7] * 3)
    influence = np.tile([1.0, -1.0, 1.0, -1.0], 3)[None]
    # Each two terms' three pairs move together: 3² for each of the four.
    found = calibrated_pairs(np.zeros(1), generator(15).normal(size=(1, 100)), influence, first, second)
    assert found.var() == pytest.approx(4 * 9 * 8 / 6)
    chained = calibrated_pairs(
        np.zeros(1), np.array([[-1.0, 1.0]]), np.array([[1.0, -1.0]]), np.array([0, 1]), np.array([1, 2])
    )
    assert chained.var() == pytest.approx(2 * 2)


def test_resamples_of_pairs_that_do_not_vary_stay_at_the_estimate():
    nothing = np.zeros((1, 0))
    assert calibrated_pairs(np.ones(1), nothing, np.zeros((1, 2)), np.array([0, 1]), np.array([1, 2])).size == 0
    found = calibrated_pairs(np.ones(1), np.full((1, 9), 5.0), np.zeros((1, 2)), np.array([0, 1]), np.array([1, 2]))
    assert (found == 1.0).all()


def test_calibrated_resamples_are_only_moved_where_no_stratum_has_two_terms():
    found = calibrated(1.0, np.array([0.0, 4.0]), np.array([0.5, 1.5]), np.array([0, 1]))
    assert found.tolist() == [-1.0, 3.0]
    assert calibrated(1.0, np.zeros(0), np.array([0.5, 1.5]), np.array([0, 0])).size == 0


@pytest.mark.parametrize(("hits", "n"), [(0, 7), (3, 10), (25, 25)])
def test_the_interval_of_a_share_is_wilsons(hits, n):
    share, z = hits / n, stats.norm.ppf(0.975)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    assert share_interval(hits, n) == pytest.approx((middle - half, middle + half))


def test_a_share_of_nothing_is_refused():
    with pytest.raises(InputError, match="at least one trial"):
        share_interval(0, 0)
    with pytest.raises(InputError, match="8 hits of 7"):
        share_interval(8, 7)
