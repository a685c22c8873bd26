"""Profiles of activations beside the slow, obvious computation."""

import warnings

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from effect_rows import tabled
from sklearn.metrics import silhouette_score

from analyses import geometry
from analyses.profiles import activation_profiles as activation_series
from analyses.series import Key
from warehouse.errors import InputError
from warehouse.tables import table
from warehouse.validation import validate

activation_profiles = tabled(activation_series)

TERMS = 70
WIDTH = 10
NAMES = [f"t{i:02d}" for i in range(TERMS)]
TEMPLATES = {  # kind, labelling that it asks for, held out
    "a1": ("asking", "colour", False),
    "a2": ("asking", "colour", False),
    "a3": ("asking", "size", False),
    "a4": ("asking", "colour", True),
    "n1": ("neutral", None, False),
}
COLOURS = np.arange(TERMS) % 3
SIZES = np.arange(TERMS) // 2
LAYERS = (-1, 0, 1)
RNG = np.random.default_rng(3)
VECTORS = {
    (layer, position, template): (
        20.0 * RNG.normal(size=WIDTH)
        + (layer >= 0) * RNG.normal(size=(TERMS, WIDTH))
        + max(layer, 0) * np.outer(COLOURS == 1, np.linspace(1, 3, WIDTH))
        + 0.1 * (layer >= 0) * np.outer(SIZES, np.linspace(-1, 1, WIDTH))
    ).astype(np.float32)
    for layer in LAYERS
    for position in ("last", "mean")
    for template in TEMPLATES
}


def filled(name, rows, **sizes):
    schema = table(name).schema(**sizes)
    return pa.Table.from_pylist([{column: row.get(column) for column in schema.names} for row in rows], schema=schema)


def layer_table(layer):
    parts = [(p, t, vectors) for (at, p, t), vectors in VECTORS.items() if at == layer]
    rows = [
        {"layer": layer, "position": position, "template": template, "term": term, "vector": vector.tolist()}
        for position, template, vectors in parts
        for term, vector in zip(NAMES, vectors, strict=True)
    ]
    # Rows in another order than the terms: they must be found by name.
    return filled("activations", rows[::-1], width=WIDTH)


def labelled(name, kind, values, **more):
    column = "number" if kind == "continuous" else "label"
    convert = float if kind == "continuous" else str
    return [
        {"labelling": name, "term": term, "kind": kind, "answer_in_spelling": False, **more}
        | ({column: convert(value)} if value is not None else {})
        for term, value in zip(NAMES, values, strict=True)
    ]


PROMPTS = filled(
    "prompts",
    [
        {
            "template": template,
            "term": term,
            "template_kind": kind,
            "labelling": labelling,
            "held_out": held,
            "text": term,
            "term_start": 0,
            "term_end": 3,
        }
        for template, (kind, labelling, held) in TEMPLATES.items()
        for term in NAMES
    ],
)
WORDS = filled("terms", [{"term": term, "spelling": term, "variant": "", "source": "-"} for term in NAMES])
LABELS = filled(
    "labels",
    labelled("colour", "categorical", COLOURS)
    + labelled("partial", "categorical", [c if i < 30 else None for i, c in enumerate(COLOURS)])
    + labelled("alone", "categorical", ["same"] * (TERMS - 1) + ["other"])
    + labelled("stage", "ordinal", COLOURS, ordinal=1)
    + labelled("size", "continuous", SIZES)
    + labelled("flat", "continuous", SIZES % 4),
)
NOTHING_DRAWN = table("projections").schema(width=30).empty_table()
PICTURES = filled(
    "projections",
    [
        {
            "template_kind": "asking",
            "position": "last",
            "variant": "",
            "layer": layer,
            "term": term,
            "x": 0.0,
            "y": 0.0,
            "coordinates": np.resize(vector, 30).tolist(),
            "trustworthiness": 1.0,
            "continuity": 1.0,
        }
        for layer in LAYERS
        for term, vector in zip(NAMES, VECTORS[layer, "last", "n1"], strict=True)
    ],
    width=30,
)


def measure(layers=LAYERS, labels=LABELS, prompts=PROMPTS, pictures=PICTURES, **more):
    more = {"resamples": 60, "permutations": 40} | more
    return activation_profiles([(at, layer_table(at)) for at in layers], prompts, WORDS, labels, pictures, **more)


@pytest.fixture(scope="module")
def profiles():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return measure()


def row(profiles, metric, labelling, layer, kind="asking", position="last"):
    wanted = {"metric": metric, "labelling": labelling, "layer": layer, "template_kind": kind, "position": position}
    mask = pa.array([True] * len(profiles))
    for name, value in wanted.items():
        mask = pc.and_(mask, pc.equal(profiles[name], value))
    (found,) = profiles.filter(mask).to_pylist()
    return found


def has(profiles, **wanted):
    return any(all(found[name] == value for name, value in wanted.items()) for found in profiles.to_pylist())


def test_rows_pass_the_registry_and_are_sorted_by_key(profiles):
    validate(table("profiles"), profiles)
    assert profiles.equals(profiles.sort_by([(key.name, "ascending") for key in table("profiles").keys]))
    assert set(profiles["technique"].to_pylist()) == {"activations"}


def test_the_silhouette_is_the_mean_over_the_templates_that_ask_for_the_labelling(profiles):
    for position in ("last", "mean"):
        scores = [
            silhouette_score(VECTORS[1, position, t].astype(np.float64), COLOURS, metric="cosine") for t in ("a1", "a2")
        ]
        found = row(profiles, "silhouette_cosine", "colour", 1, position=position)
        assert found["value"] == pytest.approx(np.mean(scores), abs=1e-6)
        assert found["n"] == TERMS


def test_all_asking_templates_are_read_for_a_labelling_that_none_asks_for(profiles):
    scores = [
        silhouette_score(VECTORS[1, "last", t].astype(np.float64), COLOURS, metric="cosine") for t in ("a1", "a2", "a3")
    ]
    assert row(profiles, "silhouette_cosine", "stage", 1)["value"] == pytest.approx(np.mean(scores), abs=1e-6)


def test_neutral_templates_are_measured_apart(profiles):
    expected = silhouette_score(VECTORS[0, "last", "n1"].astype(np.float64), COLOURS, metric="cosine")
    assert row(profiles, "silhouette_cosine", "colour", 0, kind="neutral")["value"] == pytest.approx(expected, abs=1e-6)


def test_terms_without_a_label_are_left_out(profiles):
    some = COLOURS[:30]
    scores = [
        silhouette_score(VECTORS[1, "last", t].astype(np.float64)[:30], some, metric="cosine")
        for t in ("a1", "a2", "a3")
    ]
    found = row(profiles, "silhouette_cosine", "partial", 1)
    assert found["value"] == pytest.approx(np.mean(scores), abs=1e-6)
    assert found["n"] == 30


def test_a_labelling_with_too_few_labels_or_numbers_has_no_rows(profiles):
    assert not {"alone", "flat"} & set(profiles["labelling"].to_pylist())


def test_a_step_is_the_difference_from_the_layer_below_and_the_first_layer_has_none(profiles):
    below, above = (row(profiles, "silhouette_cosine", "colour", layer) for layer in (0, 1))
    step = row(profiles, "silhouette_cosine_step", "colour", 1)
    assert step["value"] == pytest.approx(above["value"] - below["value"])
    assert not has(profiles, metric="silhouette_cosine_step", layer=-1)


def test_a_step_is_paired_so_a_layer_that_changes_nothing_has_a_step_of_exactly_zero():
    again = pa.table({name: layer_table(1)[name] for name in layer_table(1).column_names})
    layers = [(1, again), (2, again)]
    found = activation_profiles(layers, PROMPTS, WORDS, LABELS, NOTHING_DRAWN, resamples=40, permutations=10)
    step = row(found, "silhouette_cosine_step", "colour", 2)
    assert (step["value"], step["low"], step["high"], step["null_p"]) == (0.0, 0.0, 0.0, 1.0)
    assert row(found, "silhouette_cosine", "colour", 2)["low"] < row(found, "silhouette_cosine", "colour", 2)["high"]


def test_the_interval_holds_the_estimate_and_what_is_there_beats_the_null(profiles):
    for found in profiles.to_pylist():
        if found["layer"] >= 0:
            assert found["low"] <= found["value"] <= found["high"], found
    clear = row(profiles, "silhouette_cosine", "colour", 1)
    assert clear["null_p"] == pytest.approx(1 / 41)
    assert clear["null_high"] < clear["low"]
    assert row(profiles, "silhouette_cosine", "colour", 0)["null_p"] > 1 / 41


def test_vectors_that_are_all_the_same_have_silhouette_zero_and_no_anisotropy(profiles):
    found = row(profiles, "silhouette_cosine", "colour", -1)
    assert (found["value"], found["low"], found["high"], found["null_p"]) == (0.0, 0.0, 0.0, 1.0)
    assert row(profiles, "local_anisotropy", "size", -1)["value"] == 0.0
    assert row(profiles, "r2_umap", "size", -1)["value"] == 0.0
    assert row(profiles, "r2_ridge", "size", -1)["value"] == pytest.approx(0.0, abs=0.2)


def test_continuous_labellings_get_linearity_and_anisotropy(profiles):
    found = row(profiles, "r2_ridge", "size", 1)
    assert found["value"] > 0.5
    assert found["null_high"] < 0.2
    local = row(profiles, "local_anisotropy", "size", 1)
    assert local["value"] == pytest.approx(geometry.anisotropy_samples(VECTORS[1, "last", "a3"]).mean())
    assert local["null_p"] is None
    assert not has(profiles, labelling="size", metric="silhouette_cosine")


def test_a_number_that_only_its_twin_shares_cannot_be_learned_from_the_twin():
    codes = np.repeat(RNG.normal(size=(TERMS // 2, 200)), 2, axis=0).astype(np.float32)
    rows = [
        {"layer": 0, "position": "last", "template": t, "term": term, "vector": vector.tolist()}
        for t in TEMPLATES
        for term, vector in zip(NAMES, codes, strict=True)
    ]
    layers = [(0, filled("activations", rows, width=200))]
    numbers = labelled("size", "continuous", RNG.permutation(TERMS // 2)[SIZES])
    found = activation_profiles(
        layers, PROMPTS, WORDS, filled("labels", numbers), NOTHING_DRAWN, resamples=10, permutations=10
    )
    assert row(found, "r2_ridge", "size", 0)["value"] < 0.2


def test_what_was_projected_is_measured_in_its_coordinates_and_nothing_else(profiles):
    points = np.resize(VECTORS[1, "last", "n1"], (TERMS, 30))
    points = np.stack([np.resize(vector, 30) for vector in VECTORS[1, "last", "n1"]])
    expected = silhouette_score(points, COLOURS, metric="euclidean")
    assert row(profiles, "silhouette_umap", "colour", 1)["value"] == pytest.approx(expected, abs=1e-5)
    assert row(profiles, "r2_umap", "size", 1)["value"] > 0.5
    assert 0.0 < row(profiles, "local_anisotropy_umap", "size", 1)["value"] < 1.0
    assert not has(profiles, metric="silhouette_umap", position="mean")
    assert not has(profiles, metric="silhouette_umap", template_kind="neutral")


def test_the_linear_fit_in_coordinates_needs_two_terms_a_coefficient():
    few = filled("labels", labelled("size", "continuous", [s if i < 61 else None for i, s in enumerate(SIZES)]))
    found = measure(layers=(1,), labels=few)
    assert not has(found, metric="r2_umap")
    assert has(found, metric="local_anisotropy_umap")


def test_draws_of_a_labelling_do_not_depend_on_the_others():
    alone = LABELS.filter(pc.equal(LABELS["labelling"], "colour"))
    one, all_ = measure(layers=(1,), labels=alone), measure(layers=(1,))
    assert one.equals(all_.filter(pc.equal(all_["labelling"], "colour")))


def test_a_variant_is_measured_apart_from_the_main_terms():
    variants = ["" if i < 40 else "spelled out" for i in range(TERMS)]
    words = WORDS.set_column(2, "variant", pa.array(variants))
    words = words.cast(table("terms").schema())
    found = activation_profiles(
        [(1, layer_table(1))], PROMPTS, words, LABELS, NOTHING_DRAWN, resamples=10, permutations=10
    )
    colour = found.filter(pc.equal(found["labelling"], "colour"))
    assert dict(zip(colour["variant"].to_pylist(), colour["n"].to_pylist(), strict=True)) == {"": 40, "spelled out": 30}


def test_no_resamples_and_no_permutations_leave_the_estimates_alone():
    found = row(measure(layers=(1,), resamples=0, permutations=0), "silhouette_cosine", "colour", 1)
    assert found["value"] > 0.0
    assert [found[name] for name in ("low", "high", "null_mean", "null_high", "null_p")] == [None] * 5


def test_activations_that_lack_a_prompt_are_refused():
    with pytest.raises(InputError, match="no activation for"):
        activation_profiles([(0, layer_table(0).slice(0, 500))], PROMPTS, WORDS, LABELS, NOTHING_DRAWN, resamples=1)


def test_a_profile_that_leaves_out_a_layer_is_refused():
    with pytest.raises(InputError, match="measured at -1, 1"):
        measure(layers=(-1, 1), resamples=5, permutations=5)


def test_series_hold_all_layers_under_the_same_draws_and_steps_are_their_differences():
    layers = [(at, layer_table(at)) for at in LAYERS]
    found = activation_series(layers, PROMPTS, WORDS, LABELS, NOTHING_DRAWN, resamples=30, permutations=20)
    by_key = {profile.key: profile for profile in found}
    assert len(by_key) == len(found)
    own = by_key[Key("activations", "silhouette_cosine", "colour", "")]
    assert (own.series.first, own.terms) == (-1, TERMS)
    assert (own.series.resampled.shape, own.series.permuted.shape) == ((3, 30), (3, 20))
    step = by_key[own.key.step()].series
    assert step.first == 0
    np.testing.assert_array_equal(step.resampled[1], own.series.resampled[2] - own.series.resampled[1])
    np.testing.assert_array_equal(step.permuted[1], own.series.permuted[2] - own.series.permuted[1])


def test_progress_tells_each_layer():
    seen = []
    measure(layers=(0, 1), resamples=5, permutations=5, progress=seen.append)
    assert seen == [0, 1]
