"""The fast metrics beside scikit-learn and the slow, obvious loops."""

import warnings

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import r2_score

from analyses import geometry
from analyses.resampling import bootstrap_counts, generator
from warehouse.errors import InputError

RNG = np.random.default_rng(5)
LABELS = np.array(list("aaaabbbbbcccdddddde"))  # e stands alone
VECTORS = RNG.normal(size=(len(LABELS), 6)) + 1.5 * (LABELS == "a")[:, None] + 5.0


def test_constant_vectors_have_defined_values_and_no_warnings():
    same = np.full((12, 5), 0.1, dtype=np.float32) * np.arange(1, 6, dtype=np.float32)
    counts = bootstrap_counts(12, 10, generator(0))
    numbers = np.arange(12.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not geometry.anisotropy_samples(same).any()
        predicted = geometry.ridge_predictions(same, numbers[:, None], np.arange(12) % 3)
        assert np.allclose(predicted[:, 0], [numbers[np.arange(12) % 3 != i % 3].mean() for i in range(12)])
        assert geometry.r_squared(numbers, geometry.linear_fit(same, numbers[:, None])[:, 0]) == 0.0
        assert geometry.r_squared(np.full(12, 0.1), numbers, counts).tolist() == [0.0] * 10


def test_a_zero_vector_is_at_distance_one_from_all():
    assert geometry.cosine_distances(np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 2.0]])).tolist() == [
        [0.0, 1.0, 1.0],
        [1.0, 0.0, 1.0],
        [1.0, 1.0, 0.0],
    ]


def test_local_anisotropy_equals_the_loop_over_neighbours():
    points = RNG.normal(size=(40, 7)) * np.arange(1, 8) + 100.0
    expected = []
    for i, point in enumerate(points):
        apart = np.linalg.norm(points - point, axis=1)
        apart[i] = np.inf
        spectrum = np.linalg.eigvalsh(np.cov(points[np.argsort(apart)[:20]].T))
        expected.append(1 - spectrum[-2] / spectrum[-1])
    assert np.allclose(geometry.anisotropy_samples(points), expected, atol=1e-9)


def test_local_anisotropy_is_one_on_a_line_and_low_in_a_cloud():
    line = np.outer(np.arange(30.0), [1.0, 2.0, -1.0])
    assert np.allclose(geometry.anisotropy_samples(line), 1.0)
    assert geometry.anisotropy_samples(RNG.normal(size=(200, 3))).mean() < 0.7


def test_local_anisotropy_takes_what_neighbours_there_are_and_refuses_two_terms():
    assert np.allclose(geometry.anisotropy_samples([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0]]), 1.0)
    with pytest.raises(InputError, match="at least 3"):
        geometry.anisotropy_samples(np.zeros((2, 4)))


@pytest.mark.parametrize("width", [5, 80])
def test_ridge_predictions_equal_scikit_learn_on_the_same_folds_and_penalties(width):
    vectors = RNG.normal(size=(50, width)) + 3.0
    numbers = np.stack([vectors[:, 0] + RNG.normal(size=50), RNG.normal(size=50)], axis=1)
    folds = np.arange(50) % 5
    expected = np.empty_like(numbers)
    for fold in range(5):
        train = folds != fold
        known = vectors[train] - vectors[train].mean(axis=0)
        for column in range(2):
            scores = {}
            for relative in geometry.PENALTIES:
                penalty = relative * (known**2).sum() / len(known)
                model = Ridge(alpha=penalty).fit(vectors[train], numbers[train, column])
                error = ((model.predict(vectors[train]) - numbers[train, column]) ** 2).sum()
                hat = np.trace(known @ np.linalg.solve(known.T @ known + penalty * np.eye(width), known.T))
                scores[error / (len(known) - 1 - hat) ** 2] = model
            expected[~train, column] = scores[min(scores)].predict(vectors[~train])
    found = geometry.ridge_predictions(vectors, numbers, folds)
    assert np.allclose(found, expected, atol=1e-6)
    assert np.allclose(geometry.r_squared(numbers, found), r2_score(numbers, expected, multioutput="raw_values"))


def test_a_ridge_fit_does_not_find_numbers_in_noise():
    vectors, numbers = RNG.normal(size=(80, 200)), RNG.normal(size=80)
    predicted = geometry.ridge_predictions(vectors, numbers[:, None], np.arange(80) % 5)[:, 0]
    assert -0.5 < geometry.r_squared(numbers, predicted) < 0.1


def test_a_fit_needs_two_folds():
    with pytest.raises(InputError, match="two folds"):
        geometry.ridge_predictions(VECTORS, np.zeros((len(LABELS), 1)), np.zeros(len(LABELS), dtype=int))


def test_the_linear_fit_is_that_of_scikit_learn():
    points = RNG.normal(size=(60, 8)).astype(np.float32)
    numbers = RNG.normal(size=(60, 3)) + points[:, :1]
    expected = LinearRegression().fit(points.astype(np.float64), numbers).predict(points.astype(np.float64))
    assert np.allclose(geometry.linear_fit(points, numbers), expected, atol=1e-9)


def test_r_squared_under_counts_is_that_of_the_terms_repeated():
    numbers = RNG.normal(size=30)
    predictions = numbers + RNG.normal(size=30)
    counts = bootstrap_counts(30, 20, generator(0))
    expected = [r2_score(np.repeat(numbers, column), np.repeat(predictions, column)) for column in counts.T.astype(int)]
    assert np.allclose(geometry.r_squared(numbers, predictions, counts), expected)
