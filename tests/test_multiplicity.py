"""Corrections for many p-values beside their definitions."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from analyses.multiplicity import benjamini_hochberg, family_wise_p
from warehouse.errors import InputError

RNG = np.random.default_rng(12)


def test_false_discovery_rates_are_those_of_scipy_whatever_the_shape():
    p = np.round(RNG.random((5, 8)) ** 2, 2)
    assert np.allclose(benjamini_hochberg(p), false_discovery_control(p.ravel()).reshape(p.shape))


def test_what_was_not_measured_stays_so_and_does_not_count():
    found = benjamini_hochberg(np.array([[0.01, np.nan], [0.04, 0.5]]))
    assert np.isnan(found[0, 1])
    assert found[~np.isnan(found)].tolist() == pytest.approx(false_discovery_control([0.01, 0.04, 0.5]).tolist())
    assert np.isnan(benjamini_hochberg(np.array([np.nan]))).all()
    assert benjamini_hochberg(np.zeros(0)).size == 0


def test_what_is_no_p_value_is_refused():
    with pytest.raises(InputError, match="0 to 1"):
        benjamini_hochberg(np.array([0.2, 1.5]))


def test_the_family_wise_p_value_asks_for_the_largest_over_all_layers():
    permuted = np.array([[0.0, 3.0, 1.0, 0.5], [2.0, 0.0, 1.0, 0.1]])
    assert family_wise_p(np.array([2.5, 1.0]), permuted).tolist() == [(1 + 1) / 5, (1 + 3) / 5]
    assert family_wise_p(np.array([9.0, 9.0]), permuted).tolist() == [1 / 5, 1 / 5]


def test_over_many_layers_a_family_wise_p_is_rarely_small_by_chance_where_single_ones_often_are():
    alone = together = 0
    for _ in range(400):
        drawn = RNG.normal(size=(10, 100))
        value, permuted = drawn[:, 0], drawn[:, 1:]
        together += family_wise_p(value, permuted).min() <= 0.05
        alone += ((1 + (permuted >= value[:, None]).sum(axis=1)) / 100).min() <= 0.05
    assert together / 400 < 0.09
    assert alone / 400 > 0.3


def test_permutations_of_other_layers_are_refused():
    with pytest.raises(InputError, match="permutations at each"):
        family_wise_p(np.zeros(3), np.zeros((2, 5)))
