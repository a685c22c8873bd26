"""The fast silhouettes beside scikit-learn and the slow, obvious loops."""

import warnings

import numpy as np
import pytest
from sklearn.metrics import silhouette_samples, silhouette_score

from analyses import geometry, silhouettes
from analyses.resampling import bootstrap_counts, generator, permutations
from warehouse.errors import InputError

RNG = np.random.default_rng(5)
LABELS = np.array(list("aaaabbbbbcccdddddde"))  # e stands alone
VECTORS = RNG.normal(size=(len(LABELS), 6)) + 1.5 * (LABELS == "a")[:, None] + 5.0
GROUPS = silhouettes.group(LABELS)


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
    samples = silhouettes.silhouette_samples(distances, GROUPS)
    assert np.allclose(samples, silhouette_samples(VECTORS, LABELS, metric=metric), atol=1e-6)
    assert silhouettes.silhouette(distances, GROUPS) == pytest.approx(
        silhouette_score(VECTORS, LABELS, metric=metric), abs=1e-6
    )
    assert samples[-1] == 0.0


def test_the_silhouette_holds_when_all_vectors_point_nearly_the_same_way():
    vectors = (1000.0 + RNG.normal(size=VECTORS.shape)).astype(np.float32)
    expected = silhouette_score(vectors.astype(np.float64), LABELS, metric="cosine")
    distances = geometry.cosine_distances(vectors)
    once = silhouettes.group_draws(GROUPS, np.ones((len(LABELS), 1), dtype=np.float32))
    assert silhouettes.silhouette(distances, GROUPS) == pytest.approx(expected, abs=1e-6)
    assert silhouettes.drawn_silhouettes(distances, once)[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("stratified", [True, False])
def test_all_resamples_at_once_equal_the_loop_that_leaves_own_copies_out(stratified):
    distances = geometry.cosine_distances(VECTORS)
    counts = bootstrap_counts(len(LABELS), 150, generator(0), LABELS if stratified else None)
    expected = [naive_resampled(distances, LABELS, column) for column in counts.T]
    found = silhouettes.drawn_silhouettes(distances, silhouettes.group_draws(GROUPS, counts))
    assert np.allclose(found, expected, atol=1e-6)


def test_a_resample_without_copies_is_the_silhouette_of_those_terms():
    distances = geometry.cosine_distances(VECTORS)
    counts = np.array([[1.0] * 15 + [0.0] * 4], dtype=np.float32).T
    found = silhouettes.drawn_silhouettes(distances, silhouettes.group_draws(GROUPS, counts))
    assert found[0] == pytest.approx(silhouette_score(VECTORS[:15], LABELS[:15], metric="cosine"), abs=1e-6)


def test_copies_of_terms_do_not_make_meaningless_labels_look_better():
    vectors, labels = RNG.normal(size=(60, 20)), np.arange(60) % 4
    distances, groups = geometry.cosine_distances(vectors), silhouettes.group(labels)
    counts = bootstrap_counts(60, 300, generator(2), labels)
    ours = silhouettes.drawn_silhouettes(distances, silhouettes.group_draws(groups, counts)).mean()
    rows = [np.repeat(np.arange(60), column.astype(int)) for column in counts.T[:40]]
    copied = np.mean([silhouette_score(vectors[row], labels[row], metric="cosine") for row in rows])
    value = silhouettes.silhouette(distances, groups)
    assert copied > value + 0.01
    assert ours < value + 0.001


def test_all_permutations_at_once_equal_the_loop():
    distances = geometry.cosine_distances(VECTORS)
    orders = permutations(len(LABELS), 70, generator(1))
    expected = [silhouette_score(VECTORS, LABELS[order], metric="cosine") for order in orders.T]
    found = silhouettes.drawn_silhouettes(distances, silhouettes.permuted_groups(GROUPS, orders))
    assert np.allclose(found, expected, atol=1e-6)


def test_one_label_is_refused():
    with pytest.raises(InputError, match="at least two"):
        silhouettes.group(["a", "a"])


def test_constant_vectors_have_defined_values_and_no_warnings():
    same = np.full((12, 5), 0.1, dtype=np.float32) * np.arange(1, 6, dtype=np.float32)
    groups = silhouettes.group([0, 1] * 6)
    counts = bootstrap_counts(12, 10, generator(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for distances in (geometry.cosine_distances(same), geometry.euclidean_distances(same)):
            assert silhouettes.silhouette(distances, groups) == 0.0
            assert not silhouettes.drawn_silhouettes(distances, silhouettes.group_draws(groups, counts)).any()
            permuted = silhouettes.permuted_groups(groups, permutations(12, 5, generator(0)))
            assert not silhouettes.drawn_silhouettes(distances, permuted).any()


def test_a_draw_of_one_label_alone_has_silhouette_zero():
    counts = (LABELS == "b").astype(np.float32)[:, None] * [1.0, 2.0]
    draws = silhouettes.group_draws(GROUPS, counts)
    assert silhouettes.drawn_silhouettes(geometry.cosine_distances(VECTORS), draws).tolist() == [0.0, 0.0]


def test_each_term_is_left_out_in_turn():
    distances = geometry.cosine_distances(VECTORS)
    found = silhouettes.drawn_silhouettes(distances, silhouettes.left_out_groups(GROUPS))
    expected = [
        silhouette_score(np.delete(VECTORS, i, axis=0), np.delete(LABELS, i), metric="cosine")
        for i in range(len(LABELS))
    ]
    assert np.allclose(found, expected, atol=1e-6)
