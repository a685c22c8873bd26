"""Pictures from layer to layer. UMAP's compiler runs once for all of them."""

import warnings

import numpy as np
import pyarrow as pa
import pytest
from sklearn.manifold import trustworthiness

from analyses import projection
from analyses.geometry import euclidean_distances
from analyses.projection import DIMENSIONS, continuity, covering_templates, project
from warehouse.errors import InputError
from warehouse.tables import table
from warehouse.validation import validate

WIDTH = 12


def concept(terms=40, seed=0):
    """Three asking templates, one of them held out, and one neutral; two groups of terms part more at each layer."""
    names = [f"t{i:02d}" for i in range(terms)]
    templates = [("a1", "asking", False), ("a2", "asking", False), ("a3", "asking", True), ("n1", "neutral", False)]
    rows = [
        {
            "template": t,
            "term": name,
            "template_kind": kind,
            "labelling": "group" if kind == "asking" else None,
            "held_out": held,
            "text": name,
            "answer": None,
            "term_start": 0,
            "term_end": 3,
        }
        for t, kind, held in templates
        for name in names
    ]
    prompts = pa.Table.from_pylist(rows, schema=table("prompts").schema())
    words = pa.table({"term": names, "spelling": names, "variant": [""] * terms, "source": ["-"] * terms})
    rng = np.random.default_rng(seed)
    own, apart = rng.normal(size=(terms, WIDTH)), np.outer(np.arange(terms) % 2, rng.normal(size=WIDTH))
    offset = {t: 9.0 * rng.normal(size=WIDTH) for t, _, _ in templates}
    noise = {t: 0.1 * rng.normal(size=(terms, WIDTH)) for t, _, _ in templates}
    layers = []
    for layer in (-1, 0, 1, 2):
        vectors = [offset[t] + (layer >= 0) * (own + 3.0 * layer * apart + noise[t]) for t, _, _ in templates]
        layers.append((layer, activations(layer, [t for t, _, _ in templates], names, np.concatenate(vectors))))
    return layers, prompts, words


def activations(layer, templates, names, vectors):
    rows = [(layer, "last", template, name) for template in templates for name in names]
    columns = [pa.array(column) for column in zip(*rows, strict=True)]
    columns[0] = columns[0].cast(pa.int16())
    flat = pa.array(vectors.astype(np.float32).ravel())
    columns.append(pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]))
    return pa.table(columns, schema=table("activations").schema(width=vectors.shape[1]))


@pytest.fixture(scope="module")
def case():
    layers, prompts, terms = concept()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictures = project(layers, prompts, terms)
    return layers, prompts, terms, pictures


def at(pictures, layer, *columns):
    rows = pictures.filter(pa.compute.equal(pictures["layer"], layer))
    return np.stack([rows[column].to_numpy() for column in columns], axis=1)


def coordinates(pictures, layer):
    rows = pictures.filter(pa.compute.equal(pictures["layer"], layer))
    return np.array(rows["coordinates"].to_pylist())


def test_every_layer_has_one_point_a_term_and_passes_the_registry(case):
    *_, pictures = case
    validate(table("projections"), pictures)
    assert pictures.num_rows == 4 * 40
    assert pictures["layer"].to_pylist() == sorted(pictures["layer"].to_pylist())
    assert coordinates(pictures, 0).shape == (40, DIMENSIONS)


def test_the_same_seed_draws_the_same_picture_and_another_seed_another(case):
    layers, prompts, terms, pictures = case
    assert project(iter(layers), prompts, terms).equals(pictures)
    assert not project(layers, prompts, terms, seed=1).equals(pictures)


def test_terms_with_the_same_vector_lie_at_zero_and_are_trusted(case):
    *_, pictures = case
    assert not at(pictures, -1, "x", "y").any()
    assert not coordinates(pictures, -1).any()
    assert (at(pictures, -1, "trustworthiness", "continuity") == 1.0).all()


def test_rounding_among_equal_vectors_is_not_drawn(case):
    _layers, prompts, terms, _ = case
    noisy = 1.0 + 1e-7 * np.random.default_rng(0).normal(size=(160, WIDTH))
    names = terms["term"].to_pylist()
    pictures = project([(-1, activations(-1, ["a1", "a2", "a3", "n1"], names, noisy))], prompts, terms)
    assert not at(pictures, -1, "x", "y").any()


def test_continuity_is_scikit_learn_s_trustworthiness_with_the_spaces_exchanged():
    rng = np.random.default_rng(0)
    space = rng.normal(size=(50, 6))
    # A picture that keeps something of the space, and one that keeps nothing.
    for drawn in (space[:, :2] + 0.3 * rng.normal(size=(50, 2)), rng.normal(size=(50, 2))):
        expected = trustworthiness(drawn, space, n_neighbors=8)
        assert continuity(euclidean_distances(space), drawn, 8) == pytest.approx(expected, abs=1e-12)


def test_a_torn_picture_loses_continuity_and_one_laid_over_itself_trustworthiness():
    circle = np.stack([np.cos(np.linspace(0, 2 * np.pi, 60, endpoint=False) + shift) for shift in (0, 1.57)], axis=1)
    cut = np.stack([np.arange(60.0), np.zeros(60)], axis=1)
    flat = circle * [1.0, 0.0]
    distances = euclidean_distances(circle)
    trusted = [trustworthiness(circle, drawn, n_neighbors=5) for drawn in (cut, flat)]
    continued = [continuity(distances, drawn, 5) for drawn in (cut, flat)]
    assert continued[0] < trusted[0]
    assert trusted[1] < continued[1]


def test_trustworthiness_and_continuity_are_those_of_scikit_learn_on_centred_means(case):
    layers, _, _, pictures = case
    vectors = np.array(layers[2][1]["vector"].to_pylist(), dtype=np.float64).reshape(4, 40, WIDTH)[:2]
    points = (vectors - vectors.mean(axis=1, keepdims=True)).mean(axis=0)
    drawn = at(pictures, 1, "x", "y")
    expected = trustworthiness(points, drawn, n_neighbors=15, metric="cosine")
    assert at(pictures, 1, "trustworthiness")[0, 0] == pytest.approx(expected, abs=2e-3)
    # Of vectors of length one the straight distance orders as the cosine does.
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    exchanged = trustworthiness(drawn, unit, n_neighbors=15)
    assert at(pictures, 1, "continuity")[0, 0] == pytest.approx(exchanged, abs=2e-3)


def test_layers_that_hardly_differ_look_alike(case):
    layers, prompts, terms, _ = case
    twice = [(0, layers[3][1]), (1, layers[3][1])]
    pictures = project(twice, prompts, terms)
    below, above = at(pictures, 0, "x", "y"), at(pictures, 1, "x", "y")
    moved = np.linalg.norm(above - below, axis=1).mean() / np.sqrt((below**2).sum(axis=1).mean())
    assert moved < 0.5


def test_coordinates_for_metrics_do_not_depend_on_the_layer_below(case):
    layers, prompts, terms, pictures = case
    alone = project(layers[3:], prompts, terms)
    assert np.linalg.norm(coordinates(alone, 2)[::2].mean(axis=0) - coordinates(alone, 2)[1::2].mean(axis=0)) > 1.0
    first, again = (
        np.linalg.norm(c[:, None] - c[None], axis=2) for c in (coordinates(alone, 2), coordinates(pictures, 2))
    )
    assert np.corrcoef(first.ravel(), again.ravel())[0, 1] > 0.5


@pytest.mark.parametrize("terms", [1, 2, 3, 4, 9, 20])
def test_small_concepts_are_drawn_without_warnings(terms, case):
    layers, prompts, words = concept(terms)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictures = project(layers, prompts, words)
    validate(table("projections"), pictures)
    assert np.isfinite(at(pictures, 2, "x", "y")).all()
    assert not coordinates(pictures, 2)[:, max(terms - 2, 3) :].any()


def test_many_equal_terms_among_others_are_drawn(case):
    _, prompts, terms, _ = case
    vectors = np.repeat(np.random.default_rng(0).normal(size=(2, WIDTH)), 80, axis=0)
    vectors[::40] += 1.0
    names = terms["term"].to_pylist()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictures = project([(0, activations(0, ["a1", "a2", "a3", "n1"], names, vectors))], prompts, terms)
    assert np.isfinite(at(pictures, 0, "x", "y")).all()


def test_templates_are_read_by_kind_and_held_out_ones_are_left_aside(case):
    _, prompts, terms, _ = case
    names = terms["term"].to_pylist()
    assert covering_templates(prompts, "asking", names) == ["a1", "a2"]
    assert covering_templates(prompts, "neutral", names) == ["n1"]
    assert covering_templates(prompts, "asking", [*names, "unheard of"]) == []


def test_progress_tells_each_layer(case):
    layers, prompts, terms, _ = case
    seen = []
    project(layers[:2], prompts, terms, progress=seen.append)
    assert seen == [-1, 0]


def test_what_cannot_be_drawn_is_refused(case):
    layers, prompts, terms, _ = case
    with pytest.raises(InputError, match="ascend"):
        project(layers[::-1], prompts, terms)
    with pytest.raises(InputError, match="spelled"):
        project(layers, prompts, terms, variant="spelled")
    with pytest.raises(InputError, match="position 'term'"):
        project(layers, prompts, terms, position="term")
    with pytest.raises(InputError, match="at least 2 neighbours"):
        project(layers, prompts, terms, neighbours=1)
    short = layers[1][1].slice(0, 30)
    with pytest.raises(InputError, match="10 of 40 terms in template 'a1'"):
        project([(0, short)], prompts, terms)


def test_umap_is_not_imported_before_it_is_needed():
    import subprocess
    import sys

    code = "import sys, analyses.profiles, analyses.charts; sys.exit('umap' in sys.modules or 'numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert projection.DIMENSIONS == 30
