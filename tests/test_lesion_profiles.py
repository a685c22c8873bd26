"""Profiles of lesions, and what is left of them over controls, beside loops over terms and draws."""

from functools import partial

import numpy as np
import pyarrow as pa
import pytest
from effect_rows import TEMPLATES, concept, series, tabled

from analyses.effects import Draws
from analyses.lesion_profiles import lesion_profiles as lesion_series
from analyses.resampling import Sampled, estimate, generator, permutations
from warehouse.errors import InputError
from warehouse.tables import table
from warehouse.validation import validate

lesion_profiles = tabled(lesion_series)

LAYERS = 4
PLANTED = 2
DRUGS = [f"drug-{i:02d}" for i in range(14)]
COUNTRIES = [f"country-{i:02d}" for i in range(10)]
ANIMALS = [f"animal-{i:02d}" for i in range(12)]


def lesioned(means, seed, *, part="layer", known=0.9):
    """What gives the rows of a prompt: drops of the log-probability around `means`, by layer."""
    rng = np.random.default_rng(seed)

    def rows(template, term):
        right = bool(rng.random() < known)
        for layer, mean in enumerate(means):
            drop = 1000.0 if template == "held" else mean + 0.3 * rng.normal()
            yield {
                "lesion": "resample",
                "part": part,
                "layer": layer,
                "log_probability": min(0.0, -0.5 - drop),
                "kl": abs(drop),
                "correct": right and drop < 1,
                "intact_log_probability": -0.5,
                "intact_correct": right,
            }

    return rows


@pytest.fixture(scope="module")
def drugs():
    return concept("drugs", "lesions", lesioned([3, 0.2, 2, 0.1], 1), DRUGS)


@pytest.fixture(scope="module")
def controls():
    return [
        concept("countries", "lesions", lesioned([6, 0.3, 0.3, 0.1], 2), COUNTRIES),
        concept("animals", "lesions", lesioned([4, 0.1, 0.2, 0.1], 3), ANIMALS),
    ]


@pytest.fixture(scope="module")
def profiles(drugs, controls):
    return lesion_profiles(drugs, controls, resamples=80, permutations=50)


def effects_of(measured, name):
    """By term and layer, a list of what prompts that aren't held out show: the slow way."""
    found = {}
    for row in measured.measured.to_pylist():
        if row["template"] != "held":
            value = {
                "log_probability_drop": row["intact_log_probability"] - row["log_probability"],
                "accuracy_drop": float(row["intact_correct"]) - float(row["correct"]),
                "kl": row["kl"],
                "known": float(row["intact_correct"]),
            }[name]
            found.setdefault(row["term"], {}).setdefault(row["layer"], []).append(value)
    return {term: [np.mean(values[layer]) for layer in range(LAYERS)] for term, values in sorted(found.items())}


def mean_profile(terms, name, source):
    return [np.mean([source[name][term][layer] for term in terms]) for layer in range(LAYERS)]


def scaled(terms, name, source):
    """The scaled profile of some terms, with repeats, by the definition."""
    values = mean_profile(terms, name, source)
    known = name == "accuracy_drop" and mean_profile(terms, "known", source)[0]
    return np.array(values) / (known or max(abs(value) for value in values))


@pytest.mark.parametrize("name", ["log_probability_drop", "accuracy_drop", "kl"])
def test_a_profile_is_the_mean_over_terms_of_the_mean_over_their_prompts(drugs, profiles, name):
    source = {name: effects_of(drugs, name)}
    found = series(profiles, f"resample_{name}")
    assert [row["value"] for row in found] == pytest.approx(mean_profile(DRUGS, name, source))
    counts = Draws(0, 80).counts(len(DRUGS), "", "colour", "drugs")
    drawn = [[term for term, times in zip(DRUGS, one, strict=True) for _ in range(int(times))] for one in counts.T]
    resampled = np.array([mean_profile(terms, name, source) for terms in drawn])
    for row in found:
        expected = estimate(Sampled(row["value"], resampled[:, row["layer"]], terms=row["n"]))
        assert (row["low"], row["high"]) == (pytest.approx(expected.low), pytest.approx(expected.high))
        assert (row["null_mean"], row["null_high"], row["null_p"], row["n"]) == (None, None, None, len(DRUGS))


@pytest.mark.parametrize("name", ["log_probability_drop", "accuracy_drop", "kl"])
def test_over_controls_is_the_scaled_profile_less_the_mean_of_the_controls(drugs, controls, profiles, name):
    sets = [drugs, *controls]
    source = {
        key: {term: values for measured in sets for term, values in effects_of(measured, key).items()}
        for key in (name, "known")
    }

    def contrast(groups):
        own, *others = (scaled(terms, name, source) for terms in groups)
        return own - np.mean(others, axis=0)

    members = [DRUGS, COUNTRIES, ANIMALS]
    found = series(profiles, f"resample_{name}_over_controls")
    value = contrast(members)
    assert [row["value"] for row in found] == pytest.approx(value)
    draws = Draws(0, 80)
    counts = [
        draws.counts(len(terms), "", "colour", measured.concept) for terms, measured in zip(members, sets, strict=True)
    ]
    resampled = np.array(
        [
            contrast([np.repeat(terms, of[:, draw].astype(int)) for terms, of in zip(members, counts, strict=True)])
            for draw in range(80)
        ]
    )
    everyone = [term for terms in members for term in terms]
    owner = np.repeat([0, 1, 2], [len(terms) for terms in members])
    orders = permutations(len(everyone), 50, generator(0, "exchanged", "", "colour"))
    permuted = np.array(
        [
            contrast([[term for term, at in zip(everyone, owner[order], strict=True) if at == g] for g in range(3)])
            for order in orders.T
        ]
    )
    for row in found:
        at = row["layer"]
        expected = estimate(Sampled(value[at], resampled[:, at], permuted[:, at], terms=row["n"]))
        for column in ("low", "high", "null_mean", "null_high", "null_p"):
            assert row[column] == pytest.approx(getattr(expected, column)), column


def test_the_raw_lesion_names_the_first_layer_and_the_contrast_the_planted_one(profiles):
    raw = series(profiles, "resample_log_probability_drop")
    assert max(raw, key=lambda row: row["value"])["layer"] == 0
    for name in ("log_probability_drop", "accuracy_drop", "kl"):
        contrast = series(profiles, f"resample_{name}_over_controls")
        best = max(contrast, key=lambda row: row["value"])
        assert best["layer"] == PLANTED
        assert best["low"] > max(row["high"] for row in contrast if row is not best)
        assert best["null_p"] == pytest.approx(1 / 51)
        assert best["value"] > best["null_high"]
    # 2 of 3, less the mean of 0.3 of 6 and 0.2 of 4
    truth = 2 / 3 - 0.05
    planted = series(profiles, "resample_log_probability_drop_over_controls")[PLANTED]
    assert planted["low"] < truth < planted["high"]


def of_its_sort(planted, sorts, template, term):
    return sorts[planted[term] - 1](template, term)


def test_terms_dealt_out_at_random_show_nothing_over_the_controls():
    p_values = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        # Two sorts of terms, hit in other layers, but mixed in every concept alike.
        planted = {term: 1 + int(rng.random() < 0.5) for term in [*DRUGS, *COUNTRIES, *ANIMALS]}
        sorts = [lesioned([3, 2, 0, 0], rng.integers(10**6)), lesioned([3, 0, 2, 0], rng.integers(10**6))]
        rows = partial(of_its_sort, planted, sorts)
        sets = [
            concept(name, "lesions", rows, terms)
            for name, terms in (("drugs", DRUGS), ("countries", COUNTRIES), ("animals", ANIMALS))
        ]
        found = series(
            lesion_profiles(sets[0], sets[1:], resamples=10, permutations=99),
            "resample_log_probability_drop_over_controls",
        )
        p_values += [row["null_p"] for row in found if row["layer"] in (1, 2)]
    assert np.mean(np.array(p_values) <= 0.05) <= 0.2
    assert 0.25 < np.mean(p_values) < 0.75


def test_rows_pass_the_registry_and_are_sorted_by_key(profiles):
    validate(table("profiles"), profiles)
    assert profiles.equals(profiles.sort_by([(key.name, "ascending") for key in table("profiles").keys]))
    assert set(profiles["technique"].to_pylist()) == {"lesions"}
    assert set(profiles["position"].to_pylist()) == {"last"}
    assert len(profiles) == LAYERS * 6


def test_draws_are_those_of_the_seed(drugs, controls, profiles):
    assert lesion_profiles(drugs, controls[::-1], resamples=80, permutations=0)["low"].to_pylist() == pytest.approx(
        lesion_profiles(drugs, controls, resamples=80, permutations=0)["low"].to_pylist()
    )
    assert lesion_profiles(drugs, controls, resamples=80, permutations=50).equals(profiles)
    assert not lesion_profiles(drugs, controls, seed=1, resamples=80, permutations=50).equals(profiles)


def test_parts_of_a_layer_are_named_and_compared_with_the_same_part(drugs, controls):
    attention = concept("drugs", "lesions", lesioned([1, 1, 1, 2], 4, part="attention"), DRUGS)
    assert set(lesion_profiles(attention, controls, resamples=5)["metric"].to_pylist()) == {
        "resample_attention_log_probability_drop",
        "resample_attention_accuracy_drop",
        "resample_attention_kl",
    }


def test_without_controls_there_is_no_contrast_and_a_control_is_not_its_own(drugs, controls, profiles):
    raw = {metric for metric in profiles["metric"].to_pylist() if not metric.endswith("_over_controls")}
    assert set(lesion_profiles(drugs, resamples=5)["metric"].to_pylist()) == raw
    assert set(lesion_profiles(drugs, [drugs], resamples=5)["metric"].to_pylist()) == raw
    countries, animals = controls
    alone = lesion_profiles(countries, [animals], resamples=5, permutations=9)
    assert lesion_profiles(countries, controls, resamples=5, permutations=9).equals(alone)


def test_accuracy_has_no_contrast_where_there_is_nothing_to_lose(drugs, controls):
    unknown = concept("countries", "lesions", lesioned([6, 0.3, 0.3, 0.1], 2, known=0.0), COUNTRIES)
    contrast = "resample_accuracy_drop_over_controls"
    assert series(lesion_profiles(unknown, controls[1:], resamples=5), contrast) == []
    assert series(lesion_profiles(unknown, controls[1:], resamples=5), "resample_kl_over_controls")
    with_both = lesion_profiles(drugs, [unknown, controls[1]], resamples=5, permutations=9)
    with_one = lesion_profiles(drugs, controls[1:], resamples=5, permutations=9)
    assert series(with_both, contrast) == series(with_one, contrast)


def test_variants_and_labellings_are_kept_apart(controls):
    templates = TEMPLATES | {"s1": ("asking", "size", False), "n1": ("neutral", None, False)}
    words = [f"word-{i}" for i in range(5)]
    mixed = concept("drugs", "lesions", lesioned([1, 1, 1, 2], 4), DRUGS, templates=templates, words=words)
    found = lesion_profiles(mixed, controls, resamples=5, permutations=5)
    keys = {(row["labelling"], row["variant"], row["n"]) for row in found.to_pylist()}
    assert keys == {(labelling, *of) for labelling in ("colour", "size") for of in (("", 14), ("words", 5))}


def test_no_lesions_give_no_rows(drugs):
    empty = concept("drugs", "lesions", lambda template, term: [], DRUGS)
    assert lesion_profiles(empty, [drugs], resamples=5).equals(table("profiles").schema().empty_table())


def test_a_prompt_without_some_layer_is_refused(drugs, controls):
    def without(measured, which):
        rows = [row for row in measured.measured.to_pylist() if not which(row)]
        kept = pa.Table.from_pylist(rows, schema=measured.measured.schema)
        return type(measured)(measured.concept, kept, measured.prompts, measured.terms)

    for gap in (
        lambda row: row["layer"] == 1,
        lambda row: row["term"] == DRUGS[0] and row["layer"] == 1,
        lambda row: row["term"] == DRUGS[0] and row["layer"] == 1 and row["template"] == "t1",
    ):
        with pytest.raises(InputError, match="Not every prompt of drugs was measured at every layer"):
            lesion_profiles(without(drugs, gap), resamples=5)
    with pytest.raises(InputError, match=r"drugs and its controls .* at different layers"):
        lesion_profiles(drugs, [without(controls[0], lambda row: row["layer"] == 3)], resamples=5)


def test_a_model_of_one_layer_has_profiles():
    one = concept("drugs", "lesions", lesioned([3], 1), DRUGS)
    other = concept("animals", "lesions", lesioned([3], 2), ANIMALS)
    found = lesion_profiles(one, [other], resamples=5, permutations=5)
    validate(table("profiles"), found)
    assert [row["value"] for row in series(found, "resample_kl_over_controls")] == [0.0]
