"""The paper's rules, on small profiles whose regions can be read off by eye."""

import numpy as np
import polars as pl
import pytest

from analyses.map_tables import paper_rows
from analyses.paper_map import fastest_rise, high_runs, paper_marks


def profile(technique, metric, values, labelling="specialty"):
    return [
        {
            "technique": technique,
            "metric": metric,
            "labelling": labelling,
            "template_kind": "asking",
            "position": "last",
            "variant": "",
            "layer": layer,
            "value": float(value),
        }
        for layer, value in enumerate(values)
    ]


def smoothed(values):
    """A Gaussian of one layer, the profile mirrored at its ends, by hand."""
    values = np.asarray(values, dtype=float)
    reach = range(-4, 5)
    weights = np.exp(-0.5 * np.array(reach, dtype=float) ** 2)
    mirrored = np.concatenate([values[::-1], values, values[::-1]])
    return (
        np.array(
            [
                sum(weight * mirrored[len(values) + layer + away] for weight, away in zip(weights, reach, strict=True))
                for layer in range(len(values))
            ]
        )
        / weights.sum()
    )


def test_silhouettes_are_marked_where_they_rise_fastest_within_three_layers():
    assert fastest_rise(np.array([0.0, 0.0, 0.1, 0.5, 0.9, 0.9, 1.2])) == ((2, 4),)
    assert fastest_rise(np.array([0.9, 0.5, 0.1, 0.0])) == ()


def test_runs_above_the_75th_percentile_are_at_least_two_layers_long_and_at_most_three():
    assert high_runs(np.array([0, 0, 5, 5, 0, 0, 0, 0.0])) == ((2, 3),)
    assert high_runs(np.array([0, 0, 5, 0, 0, 0, 0, 0.0])) == ()
    values = np.zeros(40)
    for start, height in ((0, 5), (10, 9), (20, 7), (30, 6)):
        values[start : start + 2] = height
    assert high_runs(values) == ((10, 11), (20, 21), (30, 31))


def test_profiles_are_smoothed_by_a_gaussian_of_one_layer():
    values = [0, 3, 0, 0, 1, 7, 6, 0]
    rows = pl.DataFrame(profile("lesions", "identity_log_probability_drop", values))
    (marks,) = paper_marks(rows, "drugs", "specialty", 8).values()
    assert marks.smoothed == pytest.approx(smoothed(values), abs=1e-3)
    assert marks.regions == ((5, 6),)


def test_age_has_no_silhouette_in_the_paper():
    rows = pl.DataFrame(profile("activations", "silhouette_umap", [0, 0, 1, 2, 2], labelling="age_group"))
    assert paper_marks(rows, "age", "age_group", 5) == {}
    assert set(paper_marks(rows, "diseases", "age_group", 5)) == {"activations"}


def test_a_profile_that_lacks_a_layer_is_not_read():
    rows = pl.DataFrame(profile("patches", "resid_restored", [0, 0, 1, 1]))
    assert paper_marks(rows, "drugs", "specialty", 4)
    assert paper_marks(rows, "drugs", "specialty", 5) == {}


def test_confidence_is_the_share_of_techniques_that_mark_a_layer():
    rows = pl.DataFrame(
        profile("lesions", "identity_log_probability_drop", [0, 0, 9, 9, 0, 0, 0, 0])
        + profile("patches", "resid_restored", [0, 0, 0, 9, 9, 0, 0, 0])
    )
    tables = paper_rows({"specialty": paper_marks(rows, "drugs", "specialty", 8)}, 8).tables()
    cells = {row["layer"]: row["confidence"] for row in tables["knowledge_map"].to_pylist() if row["labelling"] == ""}
    assert cells == {0: 0.0, 1: 0.0, 2: 0.5, 3: 1.0, 4: 0.5, 5: 0.0, 6: 0.0, 7: 0.0}
    (whole,) = (row for row in tables["localisations"].to_pylist() if row["labelling"] == "")
    assert (whole["verdict"], whole["places"]) == ("localised", "2-4")


def test_a_concept_without_any_of_the_profiles_is_not_measured():
    (row,) = paper_rows({}, 4).tables()["localisations"].to_pylist()
    assert row["verdict"] == "not measured"
