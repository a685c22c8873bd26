"""Draws, intervals and nulls."""

import numpy as np
import pytest

from analyses.resampling import Sampled, average, bootstrap_counts, estimate, generator, permutations
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
