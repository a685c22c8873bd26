"""What each claim makes of small made-up tables: estimate, interval, verdict, and what it says if data are missing."""

import math

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom

from analyses.atlas.telling import digits
from analyses.claims.claim import Claim, Evidence, Measured, at_least, best_layer
from analyses.claims.maps import concepts_share_layers
from analyses.findings import CLAIMS, READ_OF_ALL, READ_OF_MODEL, findings, in_order
from analyses.numerals import percent, signed, two
from analyses.relations import overlap
from analyses.resampling import share_interval
from warehouse.tables import TABLES, table
from warehouse.validation import validate

CONCEPTS = pl.DataFrame(
    {
        "concept": ["age", "diseases", "drugs", "progression", "symptoms", "animals", "countries"],
        "role": ["medical"] * 5 + ["control"] * 2,
    }
)


def models(**architectures):
    rows = [
        {"model": name.replace("_", "-"), "layers": 4, "architecture": kind} for name, kind in architectures.items()
    ]
    return pl.DataFrame(rows)


def profile(metric, values, concept="drugs", labelling="specialty", spread=0.05, first=0, **other):
    keys = {
        "model": "m",
        "technique": "made up",
        "template_kind": "asking",
        "position": "last",
        "variant": "",
        "null_mean": None,
        "null_p": None,
        "n": 40,
    } | other
    return [
        {**keys, "concept": concept, "labelling": labelling, "metric": metric, "layer": layer}
        | {"value": value, "low": value - spread, "high": value + spread}
        for layer, value in enumerate(values, start=first)
    ]


def frame(rows):
    floats = dict.fromkeys(("value", "low", "high", "null_mean", "null_p"), pl.Float64)
    return pl.DataFrame(rows, schema_overrides={name: kind for name, kind in floats.items() if name in rows[0]})


def judged(finding, **tables):
    """The row of one claim, from tables and the concepts' roles."""
    given = {"concepts": CONCEPTS, "models": models(m="LlamaForCausalLM"), **tables}
    return {row["finding"]: row for row in findings("m", given).to_pylist()}[finding]


def judged_profiles(finding, rows, **tables):
    return judged(finding, profiles=frame(rows), **tables)


def localisation(concept, share=None, verdict="localised", labelling="", low=0.1, high=0.1, places="1"):
    return {
        "model": "m",
        "concept": concept,
        "mode": "consensus",
        "labelling": labelling,
        "verdict": verdict,
        "places": places,
        "first_half_share": share,
        "first_half_low": None if share is None else share - low,
        "first_half_high": None if share is None else share + high,
    }


def cells(concept, values, labelling="", agreement=None, mode="consensus"):
    return [
        {
            "model": "m",
            "concept": concept,
            "mode": mode,
            "labelling": labelling,
            "layer": layer,
            "confidence": value,
            "agreement": agreement,
        }
        for layer, value in enumerate(values)
    ]


def marks(technique, best, concept="drugs", labelling="specialty", layers=4):
    return [
        {
            "model": "m",
            "concept": concept,
            "mode": "consensus",
            "technique": technique,
            "metric": "made up",
            "labelling": labelling,
            "position": "last",
            "layer": layer,
            "marked": 0.9 if layer == best else 0.1,
            "value": 1.0 if layer == best else 0.0,
        }
        for layer in range(layers)
    ]


def test_without_tables_every_claim_is_undecided_and_says_what_is_missing():
    rows = findings("m", {})
    validate(table("findings"), rows)
    assert len(rows) == len(CLAIMS) == len({claim.name for claim in CLAIMS})
    for row in rows.to_pylist():
        assert (row["verdict"], row["estimate"]) == ("undecided", None)
        assert row["sentence"].endswith(".")
        assert len(row["sentence"].split()) > 5


def test_claims_read_tables_that_exist_and_name_their_rule():
    assert {*READ_OF_ALL, *READ_OF_MODEL} <= set(TABLES)
    for claim in CLAIMS:
        assert claim.question.endswith("?")
        assert f"{claim.threshold:g}" in claim.rule
        assert ("null" in claim.rule) == claim.has_null


def test_empty_tables_are_like_absent_ones():
    empty = {}
    for name in (*READ_OF_ALL, *READ_OF_MODEL):
        entry = table(name)
        rows = pl.from_arrow(entry.schema(1).empty_table())
        empty[name] = rows.with_columns(pl.lit(None, pl.String).alias(key) for key in entry.partitions)
    assert findings("m", empty) == findings("m", {})


@pytest.mark.parametrize(
    ("low", "high", "p", "verdict"),
    [
        (0.6, 0.8, None, "supported"),
        (0.6, 0.8, 0.01, "supported"),
        (0.6, 0.8, 0.2, "undecided"),
        (0.4, 0.8, 0.01, "undecided"),
        (0.2, 0.4, None, "refuted"),
        (0.2, 0.4, 0.9, "refuted"),
        (None, None, 0.01, "undecided"),
    ],
)
def test_the_verdict_follows_from_interval_threshold_and_null(low, high, p, verdict):
    claim = Claim("x", "this project", "A claim", "Why?", 0.5, lambda _: None)
    assert claim.verdict(Measured(0.5, low, high, "", "", None, p)) == verdict


def test_at_least_is_the_binomial_tail_where_chances_are_equal():
    for hits in range(7):
        assert at_least(hits, [0.3] * 6) == pytest.approx(binom.sf(hits - 1, 6, 0.3))
    assert at_least(1, [0.2, 0.5]) == pytest.approx(1 - 0.8 * 0.5)


def test_the_interval_of_a_best_layer_allows_for_the_choice():
    rows = frame(profile("x", [0.1, 0.5, 0.5, 0.2], spread=0.1))
    best = best_layer(rows)
    assert (best.layer, best.value) == (1, 0.5)
    wider = 2.4977 / 1.96
    assert (best.low, best.high) == (
        pytest.approx(0.5 - 0.1 * wider, abs=1e-4),
        pytest.approx(0.5 + 0.1 * wider, abs=1e-4),
    )
    alone = best_layer(rows.filter(layer=0))
    assert (alone.low, alone.high) == (pytest.approx(0.0), pytest.approx(0.2))


def test_best_layers_of_noise_are_rarely_taken_for_a_signal():
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(300):
        noise = rng.normal(size=12)
        best = best_layer(frame(profile("x", noise.tolist(), spread=1.96)))
        found += best.low > 0
    assert found <= 0.05 * 300


def test_most_knowledge_in_the_first_half_is_the_mean_over_medical_concepts():
    rows = [localisation("drugs", 0.8), localisation("diseases", 0.6), localisation("animals", 0.0)]
    row = judged("first-half", localisations=pl.DataFrame(rows))
    assert row["estimate"] == pytest.approx(0.7)
    assert row["low"] == pytest.approx(0.7 - math.hypot(0.1, 0.1) / 2)
    assert row["verdict"] == "supported"
    assert "70%" in row["sentence"]
    later = [localisation("drugs", 0.2), localisation("diseases", 0.3)]
    assert judged("first-half", localisations=pl.DataFrame(later))["verdict"] == "refuted"


def test_what_the_model_does_not_know_has_no_first_half():
    rows = [localisation("drugs", 0.9, verdict="not known"), localisation("diseases", None, verdict="not measured")]
    row = judged("first-half", localisations=frame_of(rows))
    assert (row["verdict"], row["estimate"]) == ("undecided", None)
    assert "lesions or patches" in row["sentence"]


def frame_of(rows):
    names = ("first_half_share", "first_half_low", "first_half_high")
    return pl.DataFrame(rows, schema_overrides=dict.fromkeys(names, pl.Float64))


def test_localised_names_layers_and_what_is_not_localised_or_not_known():
    rows = [
        localisation("drugs", labelling="specialty", places="6"),
        localisation("drugs", labelling="mechanism", verdict="not localised"),
        localisation("diseases", labelling="category", verdict="not known"),
        localisation("symptoms", labelling="system", verdict="not measured"),
        localisation("animals", labelling="class"),
        localisation("drugs"),
    ]
    row = judged("localised", localisations=frame_of(rows))
    assert (row["estimate"], row["verdict"]) == (0.5, "undecided")
    assert (row["low"], row["high"]) == pytest.approx(share_interval(1, 2))
    for said in ("drugs · specialty in 6", "Not localised: drugs · mechanism", "Not known to the model: diseases"):
        assert said in row["sentence"]
    assert "animals" not in row["sentence"]


def test_techniques_agree_where_they_name_the_same_layer_more_than_chance():
    names = [("drugs", f"l{place}") for place in range(8)]
    same = [row for name in names for technique in ("lesions", "patches") for row in marks(technique, 2, *name)]
    row = judged("techniques-agree", marks=pl.DataFrame(same))
    assert (row["estimate"], row["verdict"], row["null_mean"]) == (1.0, "supported", 0.25)
    assert row["null_p"] == pytest.approx(0.25**8)
    apart = [
        row
        for name in names
        for at, technique in enumerate(("lesions", "patches"))
        for row in marks(technique, at, *name)
    ]
    row = judged("techniques-agree", marks=pl.DataFrame(apart))
    assert (row["estimate"], row["verdict"], row["null_p"]) == (0.0, "refuted", 1.0)
    assert "drugs · l0" in row["sentence"]
    # Of several layers that stand out in as many resamples the strongest is the one that a technique names.
    several = [row | {"marked": 0.9} if row["layer"] in {0, 2} else row for row in same]
    assert judged("techniques-agree", marks=pl.DataFrame(several))["estimate"] == 1.0
    mixed = [row | {"marked": 0.9} if row["layer"] == 0 and row["technique"] == "patches" else row for row in same]
    assert judged("techniques-agree", marks=pl.DataFrame(mixed))["estimate"] == 1.0
    alone = judged("techniques-agree", marks=pl.DataFrame(marks("lesions", 2)))
    assert (alone["verdict"], alone["estimate"]) == ("undecided", None)


def test_overlap_is_the_cosine_of_two_maps():
    maps = {"drugs": [1.0, 0.0, 1.0], "diseases": [1.0, 0.0, 0.0], "animals": [0.2, 0.9, 0.1]}
    rows = pl.DataFrame([cell for name, values in maps.items() for cell in cells(name, values)])
    found = {row[:2]: row[2] for row in overlap(rows, pl.DataFrame({"concept": ["drugs", "diseases"]})).rows()}
    assert found == {("diseases", "drugs"): pytest.approx(1 / math.sqrt(2))}


def test_medical_concepts_share_layers_if_their_maps_overlap_more_than_with_controls():
    medical = {name: [0.9, 0.8, 0.1, 0.1] for name in ("age", "diseases", "drugs", "progression", "symptoms")}
    controls = {name: [0.1, 0.1, 0.9, 0.8] for name in ("animals", "countries")}
    every = medical | controls
    rows = pl.DataFrame([cell for name, values in every.items() for cell in cells(name, values)])
    localised = frame_of([localisation(name) for name in every])
    row = judged("concepts-share-layers", knowledge_map=rows, localisations=localised)
    assert row["verdict"] == "supported"
    # Of the 21 ways to choose two of seven as controls only the true one separates them as well.
    assert row["null_p"] == pytest.approx(1 / 21)
    evidence = Evidence("m", {"concepts": CONCEPTS, "knowledge_map": rows, "localisations": localised.head(2)})
    assert "0 controls" in concepts_share_layers(evidence).why


@pytest.mark.parametrize("value", [-0.0, -0.001, -0.0049, 0.004])
def test_what_rounds_to_zero_has_no_minus(value):
    assert (two(value), signed(value), percent(value), digits(-0.0)) == ("0.00", "+0.00", "0%", "0")


def test_a_map_is_stable_if_other_maps_mark_its_marked_cells():
    rows = cells("drugs", [0.1, 0.9], "specialty", 0.95) + cells("diseases", [0.9, 0.1], "category", 0.9)
    row = judged("map-stable", knowledge_map=pl.DataFrame(rows))
    assert (row["estimate"], row["verdict"]) == (pytest.approx(0.925), "supported")
    assert "fewest for diseases · category (90%)" in row["sentence"]
    alike = judged("map-stable", knowledge_map=pl.DataFrame([{**row, "agreement": 1.0} for row in rows]))
    assert alike["sentence"].endswith(
        "100% of the maps made from other terms, templates, seeds or metrics mark it too; "
        "that is so for every labelling."
    )
    unsure = cells("drugs", [0.1, 0.9], "specialty", None)
    row = judged("map-stable", knowledge_map=pl.DataFrame(unsure, schema_overrides={"agreement": pl.Float64}))
    assert "measure their stability" in row["sentence"]


def test_the_raw_lesion_is_said_to_name_layer_0_for_everything():
    raw = [
        row
        for concept in ("drugs", "diseases", "symptoms", "age", "progression", "animals", "countries")
        for row in profile("identity_log_probability_drop", [5.0, 1.0, 2.0, 1.0], concept)
    ]
    contrast = profile("resample_log_probability_drop_over_controls", [0.0, 0.1, 0.9, 0.0])
    row = judged_profiles("raw-lesion-names-layer-0", raw + contrast)
    assert (row["estimate"], row["verdict"], row["null_p"]) == (1.0, "supported", pytest.approx(0.25**7))
    assert "does so for 0 of 1" in row["sentence"]


def test_age_bends_if_a_line_fails_outside_of_what_it_was_fitted_on():
    ages = {"concept": "age", "labelling": "years", "template_kind": "neutral", "first": -1}
    inside = profile("r2_inside", [0.1, 0.95, 0.97, 0.2, 0.96], **ages)
    bent = profile("r2_outside", [0.9, -2.0, 0.4, 0.9, 0.5], **ages)
    row = judged_profiles("age-bends", inside + bent)
    # Of the layers 0 to 3, age can be read in three; the middle one of 3.0, 0.6 and 0.5 is 0.6.
    assert (row["estimate"], row["verdict"]) == (pytest.approx(0.6), "supported")
    assert (row["low"], row["high"]) == (pytest.approx(0.55), pytest.approx(0.65))
    straight = profile("r2_outside", [0.9, 0.97, 0.98, 0.99, 0.99], spread=0.01, **ages)
    assert judged_profiles("age-bends", inside + straight)["verdict"] == "refuted"
    blind = profile("r2_inside", [0.1, 0.2, 0.1, 0.2, 0.1], **ages)
    assert "At no layer can age be read" in judged_profiles("age-bends", blind + bent)["sentence"]


def jump(number, size, layer=0, p=0.5, q=0.5, split=False, decade=False):
    return {
        "model": "m",
        "concept": "age",
        "labelling": "years",
        "template_kind": "neutral",
        "position": "last",
        "variant": "",
        "layer": layer,
        "number": float(number),
        "size": size,
        "null_mean": 1.0,
        "null_high": 1.1,
        "null_p": p,
        "q": q,
        "token_split": split,
        "decade": decade,
    }


def test_age_jumps_at_18_if_the_step_is_far_larger_than_its_neighbours_lead_to_expect():
    clear = [jump(18, 3.0, p=0.001, q=0.01), jump(18, 2.0, layer=1, p=0.01), jump(20, 1.0)]
    row = judged("age-jumps-at-18", jumps=pl.DataFrame(clear))
    assert (row["estimate"], row["verdict"]) == (3.0, "supported")
    assert row["null_p"] == pytest.approx(0.002)
    assert row["low"] < 3.0 < row["high"]
    assert "splits the two alike" in row["sentence"]
    smooth = [jump(18, 1.05, layer=layer) for layer in range(4)]
    assert judged("age-jumps-at-18", jumps=pl.DataFrame(smooth))["verdict"] == "refuted"
    split = judged("age-jumps-at-18", jumps=pl.DataFrame([jump(18, 3.0, split=True)]))
    assert "may be all there is to it" in split["sentence"]


def test_jumps_follow_spelling_if_they_lie_at_its_seams():
    steps = [jump(number, 1.0, split=number == 10, decade=number % 10 == 0) for number in range(1, 41)]
    seams = [jump(number, 5.0, layer=1, q=0.01, decade=True, split=number == 10) for number in (10, 20, 30, 40)]
    row = judged("age-jumps-follow-spelling", jumps=pl.DataFrame(steps + seams))
    assert (row["estimate"], row["verdict"]) == (1.0, "supported")
    assert (row["null_mean"], row["null_p"]) == (pytest.approx(0.1), pytest.approx(1e-4))
    none = judged("age-jumps-follow-spelling", jumps=pl.DataFrame(steps))
    assert "no jump to explain" in none["sentence"]


def test_sexes_differ_if_they_lie_more_than_a_year_apart_and_exchanged_ones_do_not():
    ages = {"concept": "age", "labelling": "years", "template_kind": "neutral"}
    across = profile("r2_across_sex", [0.8, 0.9, 0.7], **ages)
    far = profile("sex_distance", [3.0, 4.0, 5.0], null_mean=1.0, null_p=0.01, **ages)
    row = judged_profiles("age-differs-by-sex", far + across)
    assert (row["estimate"], row["verdict"], row["null_p"]) == (4.0, "supported", pytest.approx(0.02))
    assert "4.0 times the distance from one year of age to the next (" in row["sentence"]
    assert "R² 0.80" in row["sentence"]
    chance = profile("sex_distance", [3.0, 4.0, 5.0], null_mean=4.0, null_p=0.6, **ages)
    assert judged_profiles("age-differs-by-sex", chance)["verdict"] == "undecided"


def staged(disease, measure, q, layer=0, value=0.5, reach=0.1):
    return {
        "model": "m",
        "concept": "progression",
        "labelling": "stage",
        "staged": disease,
        "measure": measure,
        "template_kind": "neutral",
        "position": "last",
        "variant": "",
        "layer": layer,
        "value": value,
        "low": value - reach,
        "high": value + reach,
        "q": q,
    }


DISEASES = [f"d{place:02}" for place in range(12)]


def test_progression_is_circular_if_it_is_for_enough_diseases():
    straight = [staged(name, "circularity", 0.9, layer, -0.5) for name in DISEASES for layer in range(3)]
    row = judged("progression-circular", stage_circles=pl.DataFrame(straight))
    assert (row["estimate"], row["verdict"]) == (0.0, "refuted")
    assert row["high"] == pytest.approx(share_interval(0, 12)[1])
    bends = [staged(name, "circularity", 0.4, 2, 0.5 if name < "d08" else 0.05) for name in DISEASES]
    many = pl.DataFrame(bends)
    row = judged("progression-circular", stage_circles=many)
    assert (row["estimate"], row["verdict"]) == (pytest.approx(8 / 12), "supported")
    assert "d00 at layer 2" in row["sentence"]


def test_circles_that_nobody_can_tell_leave_the_claim_undecided():
    vague = [staged(name, "circularity", 0.4, layer, -0.1, reach=0.5) for name in DISEASES for layer in range(3)]
    row = judged("progression-circular", stage_circles=pl.DataFrame(vague))
    assert (row["estimate"], row["verdict"]) == (0.0, "undecided")
    assert row["high"] == pytest.approx(share_interval(12, 12)[1])


def test_progression_is_not_monotonic_if_stages_are_far_from_their_order():
    def ordered(value):
        rows = [staged(name, "order", 0.01, layer, value + layer / 100) for name in DISEASES for layer in range(3)]
        return judged("progression-not-monotonic", stage_circles=pl.DataFrame(rows))

    row = ordered(0.8)
    assert (row["estimate"], row["verdict"]) == (pytest.approx(0.19), "refuted")
    assert row["low"] == pytest.approx(0.19 - 0.1 / math.sqrt(12))
    assert "12 of 12 diseases" in row["sentence"]
    assert ordered(0.1)["verdict"] == "supported"


def test_specialty_is_compared_with_mechanism_over_chance_where_both_are_highest():
    neutral = {"template_kind": "neutral", "first": -1}
    specialty = profile("silhouette_cosine", [0.9, 0.0, 0.3, 0.2], null_mean=-0.1, spread=0.03, **neutral)
    mechanism = profile(
        "silhouette_cosine", [0.9, 0.0, 0.1, 0.15], labelling="mechanism", null_mean=-0.2, spread=0.04, **neutral
    )
    row = judged_profiles("specialty-over-mechanism", specialty + mechanism)
    # Over chance 0.4 and 0.3 at layer 1 and 0.3 and 0.35 at layer 2: the sum is larger at layer 1.
    assert row["estimate"] == pytest.approx(0.1)
    assert (row["low"], row["high"]) == (pytest.approx(0.05), pytest.approx(0.15))
    assert row["verdict"] == "supported"
    asked = judged_profiles("specialty-over-mechanism-asked", specialty + mechanism)
    assert (asked["verdict"], asked["estimate"]) == ("undecided", None)


def test_what_is_left_over_spelling_is_judged_with_the_choice_of_layer():
    rivals = pl.DataFrame(
        {
            "model": ["m"],
            "concept": ["drugs"],
            "rival": ["spelling"],
            "metric": ["silhouette_cosine"],
            "labelling": ["mechanism"],
            "template_kind": ["asking"],
            "variant": [""],
            "value": [0.25],
            "null_mean": [-0.05],
        }
    )
    left = profile("silhouette_cosine_over_rivals", [-0.2, -0.3, -0.1], labelling="mechanism", spread=0.02)
    row = judged_profiles("drugs-by-mechanism-beyond-spelling", left, rivals=rivals)
    assert (row["estimate"], row["verdict"]) == (pytest.approx(-0.1), "refuted")
    assert "spelling 0.30" in row["sentence"]
    close = profile("silhouette_cosine_over_rivals", [0.021, 0.0, -0.1], labelling="mechanism", spread=0.02)
    assert judged_profiles("drugs-by-mechanism-beyond-spelling", close)["verdict"] == "undecided"


def test_labels_show_beyond_rivals_for_the_share_that_does():
    rows = profile("silhouette_cosine_over_rivals", [0.0, 0.5], "drugs")
    rows += profile("silhouette_cosine_over_rivals", [0.0, -0.5], "symptoms", "system")
    rows += profile("r2_ridge_over_rivals", [0.0, 0.4], "age", "years")
    rows += profile("silhouette_cosine_over_rivals", [0.0, 0.5], "animals", "class")
    row = judged_profiles("beyond-rivals", rows)
    assert row["estimate"] == pytest.approx(2 / 3)
    assert "Not: symptoms · system." in row["sentence"]


def test_a_model_collapses_if_its_rank_falls_in_between_and_comes_back():
    def ranks(values):
        whole = {"labelling": "", "spread": 0.2}
        every = profile("effective_rank", values, "drugs", **whole)
        every += profile("effective_rank", values, "diseases", **whole)
        return every + profile("effective_rank", [1.0] * len(values), "animals", **whole)

    row = judged_profiles("collapse", ranks([10.0, 12.0, 2.0, 5.0, 8.0]))
    # From 12 to 2 five sixths are lost, from 8 to 2 three quarters are regained: the lesser counts.
    assert (row["estimate"], row["verdict"]) == (pytest.approx(0.75), "supported")
    reach = math.hypot(0.2 / math.sqrt(2) / 2.0, 0.2 / math.sqrt(2) / 8.0) * 0.25
    assert row["low"] == pytest.approx(0.75 - reach * 2.394 / 1.96, abs=1e-3)
    assert "12.0 to 2.0" in row["sentence"]
    assert judged_profiles("collapse", ranks([10.0, 12.0, 11.0, 12.0, 13.0]))["verdict"] == "refuted"
    # What never comes back is no collapse in between.
    assert judged_profiles("collapse", ranks([10.0, 8.0, 2.0, 2.0, 2.0]))["estimate"] == pytest.approx(0.0)


def test_lesions_are_compared_between_gemma_and_others():
    def drops(model, size):
        return profile("identity_accuracy_drop", [size, size], model=model)

    described = models(m="Gemma3ForCausalLM", other="LlamaForCausalLM", third="Qwen3ForCausalLM")
    rows = drops("m", 0.9) + drops("other", 0.2) + drops("third", 0.3)
    row = judged_profiles("lesion-sensitivity", rows, models=described)
    assert (row["estimate"], row["verdict"]) == (pytest.approx(0.65), "supported")
    assert row["low"] == pytest.approx(0.65 - math.hypot(0.05, math.hypot(0.05, 0.05) / 2))
    alone = judged_profiles("lesion-sensitivity", drops("m", 0.9), models=described)
    assert (alone["estimate"], alone["low"], alone["verdict"]) == (pytest.approx(0.9), None, "undecided")
    assert "There is no model of another family" in alone["sentence"]


@pytest.mark.parametrize(
    ("claim", "number", "said"),
    [
        ("effects-follow-length", "token_count", "The more tokens a term has, the more"),
        ("effects-follow-frequency", "frequency", "The more frequent a term is in English, the more"),
    ],
)
def test_effects_follow_a_number_of_terms_by_their_mean_rank_correlation(claim, number, said):
    rows = profile(f"resample_log_probability_drop_{number}_correlation", [0.5, 0.3])
    rows += profile(f"resample_log_probability_drop_{number}_correlation", [0.2, 0.4], "diseases", "category")
    row = judged_profiles(claim, rows)
    assert row["sentence"].startswith(said)
    assert (row["estimate"], row["verdict"]) == (pytest.approx(0.35), "supported")
    assert row["low"] == pytest.approx(0.35 - math.hypot(0.05, 0.05) / 2)
    small = profile(f"identity_log_probability_drop_{number}_correlation", [0.05, 0.0])
    assert judged_profiles(claim, small)["verdict"] == "refuted"


def test_other_models_and_their_tables_change_nothing_but_the_comparison():
    rows = profile("silhouette_cosine_over_rivals", [0.0, 0.5])
    strangers = profile("silhouette_cosine_over_rivals", [0.0, -0.9], "symptoms", "system", model="n")
    alone, beside = (judged_profiles("beyond-rivals", found) for found in (rows, rows + strangers))
    assert alone == beside


def test_rows_come_in_the_order_of_the_claims():
    rows = in_order(findings("m", {}))
    assert rows["finding"].to_list() == [claim.name for claim in CLAIMS]
    stranger = rows.head(1).with_columns(finding=pl.lit("a-new-one"))
    assert in_order(pl.concat([stranger, rows]))["finding"].to_list()[-1] == "a-new-one"
