"""Maps made from parts of the data, on effects whose place is known, and how far they agree."""

from dataclasses import replace

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from effect_rows import concept, filled

from analyses import silhouettes
from analyses.concept_map import evidence
from analyses.contrasts import Contrast, best_contrasts
from analyses.effects import known_labellings
from analyses.geometry import cosine_distances
from analyses.lesion_profiles import lesion_profiles
from analyses.mapping import Map
from analyses.part_silhouettes import Part, silhouette_steps
from analyses.series import draws_table
from analyses.stability import Material, agreement, other_maps, stability_table
from warehouse.tables import table
from warehouse.validation import validate

LAYERS = 4
PLANTED = 2
DRUGS = [f"drug-{i:02d}" for i in range(12)]
ANIMALS = [f"animal-{i:02d}" for i in range(12)]
ACCURACY = "resample_accuracy_drop_over_controls"
VALIDATED = (
    Contrast("lesions", ACCURACY, "last", 0.25, True, 40, 38, 240, 4),
    Contrast("lesions", "resample_log_probability_drop_over_controls", "last", 0.25, False, 40, 30, 240, 8),
)


def lesioned(broken, held_out_broken):
    """What gives the rows of a prompt: right answers, but at the layer that is broken."""

    def rows(template, _term):
        for layer in range(LAYERS):
            is_wrong = layer == (held_out_broken if template == "held" else broken)
            yield {
                "lesion": "resample",
                "part": "layer",
                "layer": layer,
                "log_probability": -3.0 if is_wrong else -0.5 if broken is None and layer == 0 else -0.05,
                "kl": 1.0,
                "correct": not is_wrong,
                "intact_log_probability": -0.05,
                "intact_correct": True,
            }

    return rows


def material(held_out_broken=PLANTED):
    drugs = concept("drugs", "lesions", lesioned(PLANTED, held_out_broken), DRUGS)
    animals = concept("animals", "lesions", lesioned(None, None), ANIMALS)
    labels = filled(
        "labels",
        [
            {"labelling": "colour", "term": term, "kind": "categorical", "label": "red" if place % 2 else "blue"}
            for place, term in enumerate(DRUGS)
        ],
    )
    return Material(drugs.prompts, drugs.terms, labels, (drugs, animals), (), None)


def found_in(measured):
    profiles = lesion_profiles(measured.lesions[0], measured.lesions[1:], resamples=30, permutations=9)
    draws = draws_table(profiles, {contrast.metric for contrast in VALIDATED}, 30)
    return evidence("drugs", LAYERS, draws, measured.prompts, measured.lesions[0])


def maps_of(measured):
    return found_in(measured), other_maps(found_in(measured), measured, iter(()), VALIDATED)


def test_a_map_is_made_from_halves_templates_held_out_ones_other_metrics_and_draws():
    _, maps = maps_of(material())
    made = {}
    for part, _ in maps:
        made[part.change] = made.get(part.change, 0) + 1
    assert made == {"half of the terms": 8, "one template": 2, "held-out templates": 1, "metric": 1, "seed": 2}
    rows = stability_table(maps)
    validate(table("stability"), rows)
    assert rows.num_rows == sum(made.values()) * LAYERS


def test_what_sits_in_one_layer_is_found_there_in_every_map():
    _, maps = maps_of(material())
    assert all(found.regions == [(PLANTED, PLANTED)] for _, found in maps)


def test_both_halves_of_a_split_hold_all_terms_and_every_label_in_both():
    _, maps = maps_of(material())
    halves = [part.terms for part, _ in maps if part.change == "half of the terms"]
    for first, second in zip(halves[::2], halves[1::2], strict=True):
        assert first | second == set(DRUGS)
        assert not first & second
        for half in (first, second):
            assert {DRUGS.index(term) % 2 for term in half} == {0, 1}
    assert len(set(halves)) > 2


def test_agreement_falls_where_held_out_templates_say_otherwise():
    measured = material(held_out_broken=0)
    found, maps = maps_of(measured)
    agreed = agreement(found.maps(best_contrasts(VALIDATED)), maps)
    # One change of five disagrees, about the layer that is broken and about the one that it breaks instead.
    assert agreed["colour"] == pytest.approx([0.8, 1.0, 0.8, 1.0])
    assert agreed[""] == pytest.approx([0.8, 1.0, 0.8, 1.0])


def test_maps_for_which_nothing_was_measured_have_no_say():
    found, maps = maps_of(material())
    silent = Map("not measured", np.zeros(LAYERS), (), np.empty(0))
    shown = found.maps(best_contrasts(VALIDATED))
    part = next(part for part, _ in maps)
    assert agreement(shown, [(part, silent), *maps])["colour"] == pytest.approx([1.0] * LAYERS)
    assert agreement(shown, [(part, silent)]) == {}


def test_steps_of_a_part_are_those_of_its_own_terms_and_templates():
    measured = material()
    rng = np.random.default_rng(0)
    vectors = {
        (layer, template, term): rng.normal(size=5) + (layer + 1) * np.eye(5)[place % 2]
        for layer in range(-1, 3)
        for template in ("t1", "t2", "held")
        for place, term in enumerate(DRUGS)
    }

    def layers():
        for layer in range(-1, 3):
            keys = [key[1:] for key in vectors if key[0] == layer]
            flat = np.concatenate([vectors[layer, *key] for key in keys]).astype(np.float32)
            yield (
                layer,
                pa.table(
                    {
                        "position": ["last"] * len(keys),
                        "template": [key[0] for key in keys],
                        "term": [key[1] for key in keys],
                        "vector": pa.FixedSizeListArray.from_arrays(flat, 5),
                    }
                ),
            )

    part = Part("one template", 0, "", "colour", frozenset(DRUGS[:7]), frozenset({"t1", "held"}))
    empty = Part("one template", 1, "", "colour", frozenset(DRUGS[:1]), frozenset({"t1"}))
    made = silhouette_steps([part, empty], measured.prompts, measured.terms, measured.labels, layers())
    assert made[empty] == []
    (profile,) = made[part]
    slow = []
    for layer in range(-1, 3):
        values = []
        for template in ("t1", "held"):
            points = np.array([vectors[layer, template, term] for term in DRUGS[:7]], dtype=np.float32)
            labels = silhouettes.group([place % 2 for place in range(7)])
            values.append(silhouettes.silhouette(cosine_distances(points), labels))
        slow.append(np.mean(values))
    assert profile.series.first == 0
    assert profile.series.value == pytest.approx(np.diff(slow))


def test_rows_of_the_map_carry_the_agreement():
    from analyses.concept_map import map_concept

    measured = material(held_out_broken=0)
    found, maps = maps_of(measured)
    agreed = agreement(found.maps(best_contrasts(VALIDATED)), maps)
    profiles = table("profiles").schema().empty_table()
    cells = pl.DataFrame(
        map_concept(found, profiles, chosen=best_contrasts(VALIDATED), agreement=agreed)["knowledge_map"]
    )
    ours = cells.filter(mode="consensus", labelling="").sort("layer")
    assert ours["agreement"].to_list() == pytest.approx([0.8, 1.0, 0.8, 1.0])
    assert ours["confidence"].arg_max() == PLANTED


def test_answers_are_known_if_they_are_right_more_often_than_the_most_frequent_one():
    def share(right, answers):
        """A concept whose first `right` terms of 40 are answered rightly, with so many different answers."""
        terms = [f"t{place:02d}" for place in range(40)]

        def rows(template, term):
            yield {"lesion": "identity", "part": "layer", "layer": 0, "intact_correct": terms.index(term) < right}

        made = concept("drugs", "lesions", rows, terms)
        place = made.prompts.schema.get_field_index("answer")
        given = [f"a{terms.index(term) % answers}" for term in made.prompts["term"].to_pylist()]
        prompts = made.prompts.set_column(place, made.prompts.schema.field(place), pa.array(given))
        return known_labellings(replace(made, prompts=prompts))

    assert share(right=30, answers=4) == {"colour": True}
    assert share(right=10, answers=4) == {"colour": False}
    assert share(right=10, answers=20) == {"colour": True}
    assert share(right=3, answers=40) == {"colour": False}
