"""Which layers stand out in a profile, and the share of the first half."""

import numpy as np
import pytest

from analyses.marking import first_half_shares, named, runs, stand_out


def marked(values, least=0.0):
    return stand_out(np.array(values, dtype=float)[:, None], least)[:, 0].tolist()


def test_a_layer_that_carries_most_of_the_effect_stands_out_alone():
    assert marked([0.1, 0.0, 0.9, 0.1]) == [False, False, True, False]


def test_two_layers_of_like_effect_both_stand_out():
    assert marked([0.0, 0.5, 0.4, 0.0, 0.0, 0.0]) == [False, True, True, False, False, False]


def test_an_effect_in_most_layers_is_no_place():
    assert marked([0.3, 0.3, 0.25, 0.3, 0.0]) == [False] * 5


def test_a_peak_that_carries_less_than_half_of_the_whole_is_no_place():
    assert marked([0.4, *[0.15] * 7]) == [False] * 8
    assert marked([1.2, *[0.15] * 7])[0]


def test_an_effect_that_is_too_small_to_speak_of_marks_nothing():
    assert marked([0.0, 0.2, 0.0, 0.0], least=0.25) == [False] * 4
    assert marked([0.0, 0.25, 0.0, 0.0], least=0.25) == [False, True, False, False]


def test_each_layer_has_to_matter_by_itself():
    assert marked([0.0, 0.2, 0.2, 0.0], least=0.25) == [False] * 4
    assert marked([0.0, 0.3, 0.2, 0.0], least=0.25) == [False, True, False, False]
    assert marked([0.0, 0.3, 0.3, 0.0], least=0.25) == [False, True, True, False]


def test_a_layer_too_weak_to_be_marked_still_counts_as_one_of_many():
    assert marked([0.3, 0.2, 0.2, 0.0], least=0.25) == [False] * 4


def test_values_below_zero_neither_stand_out_nor_count():
    assert marked([-5.0, 1.0, -0.2, 0.1]) == [False, True, False, False]
    assert marked([-5.0, -1.0]) == [False, False]


def test_draws_are_marked_one_by_one():
    draws = np.random.default_rng(0).normal(size=(6, 50))
    together = stand_out(draws, 0.3)
    assert together.tolist() == np.column_stack([stand_out(draws[:, [i]], 0.3) for i in range(50)]).tolist()
    assert together.any()
    assert not together.all()


def test_runs_are_named_from_the_lowest():
    found = runs(np.array([True, False, True, True, False, True]))
    assert found == [(0, 0), (2, 3), (5, 5)]
    assert named(found) == "0, 2-3, 5"
    assert runs(np.zeros(3, dtype=bool)) == []


@pytest.mark.parametrize(
    ("values", "share"),
    [([1, 1, 0, 0], 1.0), ([0, 0, 3, 1], 0.0), ([1, 0, 0, 3], 0.25), ([1, 2, 1], 0.5), ([1, -4, 1, 2], 0.25)],
)
def test_the_first_half_has_its_share_of_what_is_positive(values, share):
    assert first_half_shares(np.array(values, dtype=float)[:, None])[0] == pytest.approx(share)


def test_without_anything_positive_there_is_no_share():
    assert np.isnan(first_half_shares(np.array([[-1.0], [0.0]]))[0])
