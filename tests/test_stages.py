"""Stages on lines and rings, each number beside its slow definition, and nulls that hold their level."""

from itertools import combinations

import numpy as np
import polars as pl
import pytest
from grid_tables import activations, tables
from scipy.stats import spearmanr

from analyses import stages
from analyses.series import profiles_table
from analyses.stage_profiles import stage_circles
from warehouse.errors import InputError
from warehouse.tables import table
from warehouse.validation import validate

WIDTH = 12
BASE, ALONG, ACROSS, *OWN = np.linalg.qr(np.random.default_rng(0).normal(size=(WIDTH, WIDTH)))[0].T


def straight(points):
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def line(count):
    return straight(np.arange(count, dtype=float)[:, None])


def circle(count):
    angles = 2 * np.pi * np.arange(count) / count
    return straight(np.stack([np.cos(angles), np.sin(angles)], axis=1))


def test_the_first_stage_is_early_the_last_late_and_all_between_middle():
    assert stages.sides(3).tolist() == [0, 1, 2]
    assert stages.sides(6).tolist() == [0, 1, 1, 1, 1, 2]
    with pytest.raises(InputError):
        stages.sides(2)


def test_stage_distances_are_chords_between_means_in_mean_chords():
    rng = np.random.default_rng(1)
    vectors, of_stage = rng.normal(size=(9, 5)) + 2, np.repeat([0, 1, 2], 3)
    weights = (of_stage[:, None] == np.arange(3)) / 3
    between, away = stages.stage_distances(vectors @ vectors.T, np.stack([weights, weights[:, ::-1]]))

    def unit(rows):
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    means = unit(np.array([vectors[of_stage == stage].mean(axis=0) for stage in range(3)]))
    chords = straight(means)
    usual = chords[np.triu_indices(3, 1)].mean()
    np.testing.assert_allclose(between[0], chords / usual, atol=1e-9)
    np.testing.assert_allclose(between[1], chords[::-1, ::-1] / usual, atol=1e-9)
    np.testing.assert_allclose(away[0], np.linalg.norm(unit(vectors)[:, None] - means, axis=-1) / usual)
    same, terms = stages.stage_distances(np.ones((9, 9)), weights)
    assert not same.any()
    assert not terms.any()


def test_order_and_ring_are_rank_correlations_with_the_stages_apart():
    distances = straight(np.random.default_rng(2).normal(size=(5, 3)))
    first, second = np.triu_indices(5, 1)
    apart = second - first
    for function, wanted in ((stages.order, apart), (stages.ring, np.minimum(apart, 5 - apart))):
        expected = spearmanr(distances[first, second], wanted)[0]
        assert function(np.stack([distances, distances * 2])) == pytest.approx([expected, expected])
    assert stages.order(line(6)) == pytest.approx(1)
    assert stages.ring(circle(6)) == pytest.approx(1)
    assert stages.order(circle(6)) < 0.6
    assert stages.order(np.zeros((4, 4))) == 0


def test_circularity_is_below_zero_on_a_line_and_above_on_a_ring():
    assert stages.circularity(line(4)) == pytest.approx(((2 + 1) / 2 - 3) / (10 / 6))
    assert all(stages.circularity(circle(count)) > 0.15 for count in range(4, 9))
    assert all(stages.circularity(line(count)) < -0.5 for count in range(3, 9))
    assert stages.circularity(np.zeros((4, 4))) == 0


def test_the_nearest_stage_is_looked_for_among_early_and_middle_ones():
    away = np.array([[0.5, 0.9, 0.8, 0.1], [0.9, 0.3, 0.8, 0.1], [0.5, 0.5, 0.7, 0.1], [0.0, 0.1, 0.2, 0.3]])
    places = np.array([3, 3, 3, 0])
    assert stages.nearest_early(away, places) == pytest.approx((1 + 0 + 0.5) / 3)
    assert stages.nearest_early(away, places, np.array([2, 1, 0, 5])) == pytest.approx(2 / 3)


def slow_loop(distances):
    """The textbook's column reduction over all edges and triangles, one set of points."""
    points = range(len(distances))
    edges = sorted(combinations(points, 2), key=lambda edge: distances[edge])
    size = {corners: max(distances[e] for e in combinations(corners, 2)) for corners in combinations(points, 3)}
    rank, pivots, longest = {edge: place for place, edge in enumerate(edges)}, {}, 0.0
    for corners in sorted(size, key=size.get):
        column = {rank[edge] for edge in combinations(corners, 2)}
        while column and max(column) in pivots:
            column ^= pivots[max(column)]
        if column:
            pivots[max(column)] = column
            longest = max(longest, size[corners] - distances[edges[max(column)]])
    return longest / distances.max()


@pytest.mark.parametrize("count", [3, 4, 5, 7, 10])
def test_loops_are_those_of_the_textbook(count):
    rng = np.random.default_rng(count)
    sets = [straight(rng.normal(size=(count, 2))) for _ in range(20)]
    sets += [circle(count), line(count), straight(rng.integers(3, size=(count, 2)).astype(float))]
    np.testing.assert_allclose(stages.longest_loops(np.array(sets)), [slow_loop(one) for one in sets], atol=1e-9)


def test_loops_of_known_shapes():
    square = straight(np.array([[0.0, 0], [0, 1], [1, 1], [1, 0]]))
    assert stages.longest_loops(square[None])[0] == pytest.approx(1 - np.sqrt(0.5))
    # Eight points on a circle: born with the side, filled when triangles reach over three sides.
    eight = np.sin(np.pi * np.array([1, 3]) / 8)
    assert stages.longest_loops(circle(8)[None])[0] == pytest.approx(eight[1] - eight[0])
    assert stages.longest_loops(np.zeros((1, 5, 5)))[0] == 0
    with pytest.raises(InputError):
        stages.longest_loops(np.zeros((1, 11, 11)))


def test_clouds_are_as_wide_as_the_points():
    points = np.random.default_rng(3).normal(size=(6, 3)) * [3, 1, 0.2]
    clouds = stages.cloud_distances(straight(points), np.random.default_rng(4).normal(size=(4000, 6, 6)))
    # The mean squared distance of two points is twice the summed variance.
    assert (clouds**2).sum(axis=(1, 2)).mean() / 30 == pytest.approx(2 * points.var(axis=0, ddof=1).sum(), rel=0.05)


def test_a_cloud_has_loops_as_rarely_as_its_null_says():
    rng = np.random.default_rng(5)
    p = []
    for _ in range(100):
        points = straight(rng.normal(size=(7, 3)) * [2, 1, 0.5])
        drawn = stages.cloud_distances(points, rng.normal(size=(99, 7, 7)))
        found = stages.longest_loops(np.concatenate([points[None], drawn]))
        p.append((found >= found[0]).mean())
    assert np.mean(np.array(p) <= 0.05) < 0.12


def test_diseases_that_worsen_alike_share_a_direction():
    rng = np.random.default_rng(6)
    severity = np.array([-1.0, 0, 1])
    vectors = np.concatenate([severity[:, None] * ALONG + own + BASE for own in OWN[:2]])
    vectors += 0.3 * rng.normal(size=vectors.shape)
    slopes = [np.column_stack([severity, severity[::-1]])] * 2
    found = stages.shared_direction(vectors @ vectors.T, slopes)
    one, other = severity @ vectors[:3], severity @ vectors[3:]
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    np.testing.assert_allclose(found[:, :, 0], [[1, cosine], [cosine, 1]])
    assert found[0, 1, 1] == pytest.approx(cosine)


def concept(course, diseases=6, count=5, wordings=4, noise=0.05, seed=7):
    """Layer 0 of diseases, whose stages lie at `course(stage)`, each stage worded several times."""
    rng = np.random.default_rng(seed)
    terms, labels, vectors = {}, [], []
    for disease in range(diseases):
        for stage in range(count):
            for wording in range(wordings):
                term = f"{disease} {stage} {wording}"
                terms[term] = ""
                steps = {"label": f"stage {stage + 1}", "ordinal": stage + 1}
                labels.append({"labelling": "stage", "term": term, "kind": "ordinal", **steps})
                labels.append({"labelling": "disease", "term": term, "kind": "categorical", "label": f"d{disease}"})
                labels.append({"labelling": "wording", "term": term, "kind": "categorical", "label": f"w{wording % 2}"})
                vectors.append(6 * BASE + 2 * OWN[disease % len(OWN)] + course(stage))
    points = np.array(vectors)
    by_template = {name: points + noise * rng.normal(size=points.shape) for name in ("a1", "a2", "a3", "n1")}
    return [(0, activations(0, list(terms), by_template))], tables(terms, labels)


def on_circle(stage, count=5):
    angle = 2 * np.pi * stage / count
    return np.cos(angle) * ALONG + np.sin(angle) * ACROSS


def measured(course, **settings):
    layers, made = concept(course, **settings)
    found = stage_circles(layers, *made, resamples=60, permutations=99)
    validate(table("stage_circles"), found.table)
    profiles = profiles_table(found.profiles)
    validate(table("profiles"), profiles)
    rows, common = (pl.DataFrame(one).filter(pl.col("template_kind") == "asking") for one in (found.table, profiles))
    return rows, {row["metric"]: row for row in common.to_dicts()}


def test_stages_on_a_line_are_in_order_and_no_circle():
    rows, common = measured(lambda stage: 0.5 * stage * ALONG)
    assert set(rows["staged"]) == {f"d{disease}" for disease in range(6)}
    assert set(rows["stages"]) == {5}
    assert set(rows["n"]) == {20}
    assert common["stage_order"]["value"] > 0.9
    assert common["stage_order"]["null_p"] < 0.05
    assert common["stage_circularity"]["value"] < -0.2
    assert common["stage_circularity"]["null_p"] > 0.5
    assert common["stage_loop"]["value"] < 0.02
    assert common["severity_shared"]["value"] > 0.9
    assert common["severity_shared"]["null_p"] < 0.05
    assert rows.filter(measure="circularity")["high"].max() < 0


def test_stages_on_a_circle_bend_back_to_their_beginning():
    rows, common = measured(on_circle)
    assert common["stage_circularity"]["value"] > 0.05
    for name in ("stage_circularity", "stage_ring", "stage_loop"):
        assert common[name]["null_p"] < 0.05
    assert common["stage_ring"]["value"] > 0.8
    assert common["stage_nearest_early"]["value"] > common["stage_nearest_early"]["null_mean"]
    assert rows.filter(measure="circularity")["low"].min() > 0


def test_stages_that_mean_nothing_are_found_as_rarely_as_the_null_says():
    found = []
    for seed in range(6):
        own = np.random.default_rng(seed).normal(size=(5, WIDTH)) / 5
        layers, made = concept(lambda stage, own=own: own[stage], diseases=8, noise=0.3, seed=seed)
        rows = pl.DataFrame(stage_circles(layers, *made, resamples=5, permutations=60).table)
        found.append(rows.filter(pl.col("template_kind") == "neutral"))
    shares = pl.concat(found).group_by("measure").agg((pl.col("null_p") <= 0.05).mean())
    assert max(shares["null_p"]) < 0.1


def test_corrected_p_values_are_over_diseases_and_layers():
    rows, _ = measured(on_circle)
    order = rows.filter(measure="order").sort("null_p")
    expected = [
        min(order["null_p"][later] * len(order) / (later + 1) for later in range(place, len(order)))
        for place in range(len(order))
    ]
    assert order["q"].to_list() == pytest.approx(expected)


def test_few_diseases_have_rows_but_no_profiles_and_three_stages_no_loop():
    rows, common = measured(lambda stage: stage * ALONG, diseases=4, count=3)
    assert common == {}
    assert set(rows["measure"]) == {"order", "ring", "circularity", "nearest_early"}


def test_what_has_no_stages_has_no_rows():
    layers, (prompts, terms, labels) = concept(lambda stage: stage * ALONG, count=2)
    found = stage_circles(layers, prompts, terms, labels)
    assert (found.table.num_rows, found.profiles) == (0, [])


def test_embeddings_that_are_all_the_same_have_neither_order_nor_loop():
    layers, made = concept(lambda stage: 0 * ALONG, diseases=5, noise=0.0)
    _, vectors = layers[0]
    same = vectors.set_column(
        vectors.schema.get_field_index("vector"), "vector", vectors["vector"].take([0] * len(vectors))
    )
    rows = pl.DataFrame(stage_circles([(0, same)], *made, resamples=10, permutations=10).table)
    assert set(rows.filter(pl.col("measure") != "nearest_early")["value"]) == {0.0}
    assert set(rows["null_p"]) == {1.0}
