"""The fast metrics beside scikit-learn and the slow, obvious loops."""

import warnings

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import r2_score, silhouette_samples, silhouette_score

from analyses import geometry
from analyses.resampling import bootstrap_counts, generator, permutations
from warehouse.errors import InputError

RNG = np.random.default_rng(5)
LABELS = np.array(list("aaaabbbbbcccdddddde"))  # e stands alone
VECTORS = RNG.normal(size=(len(LABELS), 6)) + 1.5 * (LABELS == "a")[:, None] + 5.0
GROUPS = geometry.group(LABELS)


def naive_resampled(distances, labels, counts):
    """One resample: sums over its terms, a term's own copies left out of its cluster."""
    total = weight = 0.0
    for i in np.flatnonzero(counts):
        weight += counts[i]
        means = {}
        for label in set(labels[counts > 0]):
            members = [j for j in np.flatnonzero(counts) if labels[j] == label and j != i]
            size = sum(counts[j] for j in members)
            means[label] = sum(counts[j] * distances[i, j] for j in members) / size if size else None
        own = means.pop(labels[i])
        if own is not None and means:
            nearest = min(means.values())
            total += counts[i] * (nearest - own) / max(own, nearest) if max(own, nearest) > 0 else 0.0
    return total / weight


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_silhouette_is_that_of_scikit_learn(metric):
    distances = {"cosine": geometry.cosine_distances, "euclidean": geometry.euclidean_distances}[metric](VECTORS)
    samples = geometry.silhouette_samples(distances, GROUPS)
    assert np.allclose(samples, silhouette_samples(VECTORS, LABELS, metric=metric), atol=1e-6)
    assert geometry.silhouette(distances, GROUPS) == pytest.approx(
        silhouette_score(VECTORS, LABELS, metric=metric), abs=1e-6
    )
    assert samples[-1] == 0.0


def test_the_silhouette_holds_when_all_vectors_point_nearly_the_same_way():
    vectors = (1000.0 + RNG.normal(size=VECTORS.shape)).astype(np.float32)
    expected = silhouette_score(vectors.astype(np.float64), LABELS, metric="cosine")
    distances = geometry.cosine_distances(vectors)
    once = geometry.group_draws(GROUPS, np.ones((len(LABELS), 1), dtype=np.float32))
    assert geometry.silhouette(distances, GROUPS) == pytest.approx(expected, abs=1e-6)
    assert geometry.resampled_silhouettes(distances, once)[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("stratified", [True, False])
def test_all_resamples_at_once_equal_the_loop_that_leaves_own_copies_out(stratified):
    distances = geometry.cosine_distances(VECTORS)
    counts = bootstrap_counts(len(LABELS), 150, generator(0), LABELS if stratified else None)
    expected = [naive_resampled(distances, LABELS, column) for column in counts.T]
    found = geometry.resampled_silhouettes(distances, geometry.group_draws(GROUPS, counts))
    assert np.allclose(found, expected, atol=1e-6)


def test_a_resample_without_copies_is_the_silhouette_of_those_terms():
    distances = geometry.cosine_distances(VECTORS)
    counts = np.array([[1.0] * 15 + [0.0] * 4], dtype=np.float32).T
    found = geometry.resampled_silhouettes(distances, geometry.group_draws(GROUPS, counts))
    assert found[0] == pytest.approx(silhouette_score(VECTORS[:15], LABELS[:15], metric="cosine"), abs=1e-6)


def test_copies_of_terms_do_not_make_meaningless_labels_look_better():
    vectors, labels = RNG.normal(size=(60, 20)), np.arange(60) % 4
    distances, groups = geometry.cosine_distances(vectors), geometry.group(labels)
    counts = bootstrap_counts(60, 300, generator(2), labels)
    ours = geometry.resampled_silhouettes(distances, geometry.group_draws(groups, counts)).mean()
    rows = [np.repeat(np.arange(60), column.astype(int)) for column in counts.T[:40]]
    copied = np.mean([silhouette_score(vectors[row], labels[row], metric="cosine") for row in rows])
    value = geometry.silhouette(distances, groups)
    assert copied > value + 0.01
    assert ours < value + 0.001


def test_all_permutations_at_once_equal_the_loop():
    distances = geometry.cosine_distances(VECTORS)
    orders = permutations(len(LABELS), 70, generator(1))
    expected = [silhouette_score(VECTORS, LABELS[order], metric="cosine") for order in orders.T]
    found = geometry.permuted_silhouettes(distances, geometry.permuted_groups(GROUPS, orders))
    assert np.allclose(found, expected, atol=1e-6)


def test_constant_vectors_have_defined_values_and_no_warnings():
    same = np.full((12, 5), 0.1, dtype=np.float32) * np.arange(1, 6, dtype=np.float32)
    groups = geometry.group([0, 1] * 6)
    counts = bootstrap_counts(12, 10, generator(0))
    numbers = np.arange(12.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for distances in (geometry.cosine_distances(same), geometry.euclidean_distances(same)):
            assert geometry.silhouette(distances, groups) == 0.0
            assert not geometry.resampled_silhouettes(distances, geometry.group_draws(groups, counts)).any()
            permuted = geometry.permuted_groups(groups, permutations(12, 5, generator(0)))
            assert not geometry.permuted_silhouettes(distances, permuted).any()
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


def test_one_label_is_refused():
    with pytest.raises(InputError, match="at least two"):
        geometry.group(["a", "a"])


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
