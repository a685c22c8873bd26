"""Profiles of patches beside loops over pairs and draws."""

import numpy as np
import pyarrow as pa
import pytest
from effect_rows import concept, series, tabled

from analyses.effects import Draws
from analyses.patch_profiles import LEAST_DIFFERENCE
from analyses.patch_profiles import patch_profiles as patch_series
from analyses.resampling import Sampled, calibrated_pairs, estimate
from warehouse.errors import InputError
from warehouse.tables import table
from warehouse.validation import validate

patch_profiles = tabled(patch_series)

LAYERS = 4
PLANTED = 2
TERMS = [f"t{i:02d}" for i in range(16)]
ARRIVING = [0.05, 0.1, 0.9, 1.0]


def corrupting(term, count=3):
    place = TERMS.index(term)
    return [TERMS[(place + 1 + step) % len(TERMS)] for step in range(count)]


def patched(restored, seed):
    """What gives the rows of a prompt: patches that restore `restored` by layer, more or less."""
    rng = np.random.default_rng(seed)
    sizes = {term: 4 + rng.normal() for term in TERMS}

    def rows(template, term):
        for other in corrupting(term):
            clean, corrupted = sizes[term] + rng.normal(), -sizes[other] + rng.normal()
            if template == "held":
                clean = 1000.0
            for layer, share in enumerate(restored):
                whole = clean - corrupted
                yield {
                    "site": "resid",
                    "position": "last",
                    "layer": layer,
                    "token": 7,
                    "corrupting_term": other,
                    "ld_clean": clean,
                    "ld_corrupted": corrupted,
                    "ld_patched": corrupted + (share + 0.1 * rng.normal()) * whole,
                }

    return rows


@pytest.fixture(scope="module")
def measured():
    return concept("drugs", "patches", patched(ARRIVING, 1), TERMS)


@pytest.fixture(scope="module")
def profiles(measured):
    return patch_profiles(measured, resamples=100)


def changed(measured, change):
    """The same concept with other rows: `change` gives a row anew, or None to leave it out."""
    rows = [row for old in measured.measured.to_pylist() if (row := change(dict(old))) is not None]
    table_ = pa.Table.from_pylist(rows, schema=measured.measured.schema)
    return type(measured)(measured.concept, table_, measured.prompts, measured.terms)


def pairs_of(measured, layer):
    """Term, corrupting term, and what is restored of what, of the pairs that aren't held out."""
    for row in measured.measured.to_pylist():
        whole = row["ld_clean"] - row["ld_corrupted"]
        if row["layer"] == layer and row["template"] != "held" and whole >= LEAST_DIFFERENCE:
            yield row["term"], row["corrupting_term"], row["ld_patched"] - row["ld_corrupted"], whole


def ratio(measured, layer, times=None):
    """The ratio of sums when each pair counts as often as its two terms."""
    restored = whole = 0.0
    for term, other, part, all_ in pairs_of(measured, layer):
        weight = 1 if times is None else times[term] * times[other]
        restored, whole = restored + weight * part, whole + weight * all_
    return restored / whole


def test_restored_is_a_ratio_of_sums_with_terms_redrawn_on_both_sides(measured, profiles):
    found = series(profiles, "resid_restored")
    counts = Draws(0, 100).counts(len(TERMS), "", "colour")
    draws = [dict(zip(TERMS, one, strict=True)) for one in counts.T]
    resampled = np.array([[ratio(measured, layer, times) for layer in range(LAYERS)] for times in draws])
    values = np.array([ratio(measured, layer) for layer in range(LAYERS)])
    by_layer = [list(pairs_of(measured, layer)) for layer in range(LAYERS)]
    first, second = (np.array([TERMS.index(pair[side]) for pair in by_layer[0]]) for side in (0, 1))
    parts, whole = np.array([[pair[2] for pair in pairs] for pairs in by_layer]), [pair[3] for pair in by_layer[0]]

    def scaled(value, drawn, part):
        influence = (part - value * np.array(whole)) / sum(whole)
        drawn = calibrated_pairs(np.array([value]), drawn[None], influence[None], first, second)[0]
        return estimate(Sampled(value, drawn, terms=len(TERMS)))

    assert [row["layer"] for row in found] == list(range(LAYERS))
    for row in found:
        layer = row["layer"]
        expected = scaled(values[layer], resampled[:, layer], parts[layer])
        for column in ("value", "low", "high", "null_p"):
            assert row[column] == pytest.approx(getattr(expected, column)), column
        assert row["n"] == len(TERMS)
    steps = series(profiles, "resid_restored_step")
    below = np.column_stack([np.zeros(100), resampled])
    for row, step in zip(steps, np.diff(values, prepend=0.0), strict=True):
        layer = row["layer"]
        expected = scaled(step, np.diff(below, axis=1)[:, layer], np.diff(parts, axis=0, prepend=0.0)[layer])
        for column in ("value", "low", "high"):
            assert row[column] == pytest.approx(getattr(expected, column)), column


def test_the_step_names_the_planted_layer_and_its_interval_covers(profiles):
    steps = series(profiles, "resid_restored_step")
    best = max(steps, key=lambda row: row["value"])
    assert best["layer"] == PLANTED
    assert best["low"] < 0.8 < best["high"]
    assert best["low"] > max(row["high"] for row in steps if row is not best)
    assert max(series(profiles, "resid_restored"), key=lambda row: row["value"])["layer"] == LAYERS - 1


def test_patches_that_restore_nothing_have_intervals_around_nothing():
    nothing = concept("drugs", "patches", patched([0, 0, 0, 0], 5), TERMS)
    found = patch_profiles(nothing, resamples=300).to_pylist()
    assert sum(row["low"] <= 0 <= row["high"] for row in found) >= len(found) - 1
    assert all(abs(row["value"]) < 0.05 for row in found)


def test_intervals_cover_the_truth_though_pairs_share_terms_on_both_sides():
    covered = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        shares = {term: 0.5 + 0.2 * rng.normal() for term in TERMS}

        def rows(template, term, shares=shares):
            for other in corrupting(term):
                # What a patch restores hangs on both terms of a pair: its mean is 0.5.
                restored = (shares[term] + shares[other]) / 2
                yield {
                    "site": "resid",
                    "position": "last",
                    "corrupting_term": other,
                    "ld_clean": 1.0,
                    "ld_corrupted": 0.0,
                    "ld_patched": restored,
                }

        (row,) = series(patch_profiles(concept("d", "patches", rows, TERMS), resamples=300), "resid_restored")
        covered.append(row["low"] <= 0.5 <= row["high"])
    assert np.mean(covered) >= 0.85


@pytest.mark.parametrize(("clean", "kept"), [(LEAST_DIFFERENCE, True), (0.4, False), (-3.0, False)])
def test_pairs_without_a_difference_to_restore_are_left_out(measured, clean, kept):
    def change(row):
        if row["term"] == TERMS[3]:
            row |= {"ld_clean": clean, "ld_corrupted": 0.0, "ld_patched": 500.0}
        return row

    found = series(patch_profiles(changed(measured, change), resamples=5), "resid_restored")
    assert [row["n"] for row in found] == [len(TERMS) - (not kept)] * LAYERS
    without = changed(measured, lambda row: None if row["term"] == TERMS[3] else row)
    expected = [ratio(without, layer) for layer in range(LAYERS)]
    assert ([row["value"] for row in found] == pytest.approx(expected)) is not kept


def test_no_profile_is_made_where_no_pair_differs(measured):
    alike = changed(measured, lambda row: row | {"ld_clean": row["ld_corrupted"]})
    assert patch_profiles(alike, resamples=5).num_rows == 0
    assert patch_profiles(changed(measured, lambda row: None), resamples=5).num_rows == 0


def test_the_grid_over_tokens_has_no_profile(measured):
    assert patch_profiles(changed(measured, lambda row: row | {"position": "token"}), resamples=5).num_rows == 0


def test_only_the_residual_stream_has_steps_and_at_the_term_they_begin_at_layer_1(measured):
    own = patch_profiles(changed(measured, lambda row: row | {"site": "delta"}), resamples=5)
    assert set(own["metric"].to_pylist()) == {"delta_restored"}
    at_term = patch_profiles(changed(measured, lambda row: row | {"position": "term"}), resamples=5)
    assert {row["position"] for row in at_term.to_pylist()} == {"term"}
    steps = series(at_term, "resid_restored_step")
    values = [row["value"] for row in series(at_term, "resid_restored")]
    assert [row["layer"] for row in steps] == [1, 2, 3]
    assert [row["value"] for row in steps] == pytest.approx(np.diff(values))


@pytest.mark.parametrize(
    ("text", "first"), [("{} has the colour", 0), ("the colour of {}", 1), ("the colour of {}.", 1), ("of {} :", 0)]
)
def test_the_step_of_layer_0_is_known_where_prompts_go_on_after_their_term(text, first):
    found = patch_profiles(concept("drugs", "patches", patched(ARRIVING, 1), TERMS, text=text), resamples=5)
    assert series(found, "resid_restored_step")[0]["layer"] == first


def test_rows_pass_the_registry_and_are_sorted_by_key(profiles):
    validate(table("profiles"), profiles)
    assert profiles.equals(profiles.sort_by([(key.name, "ascending") for key in table("profiles").keys]))
    assert set(profiles["technique"].to_pylist()) == {"patches"}
    assert {*profiles["null_mean"].to_pylist(), *profiles["null_p"].to_pylist()} == {None}


def test_draws_are_those_of_the_seed(measured, profiles):
    assert patch_profiles(measured, resamples=100).equals(profiles)
    assert not patch_profiles(measured, seed=1, resamples=100).equals(profiles)


def test_two_terms_are_enough(measured):
    few = changed(measured, lambda row: row if {row["term"], row["corrupting_term"]} == {"t00", "t01"} else None)
    found = patch_profiles(few, resamples=50)
    validate(table("profiles"), found)
    # Draws of one of the terms alone hold no pair; the others are all the same.
    assert [row["low"] for row in found.to_pylist()] == pytest.approx(found["value"].to_pylist())


def test_a_pair_without_some_layer_is_refused(measured):
    for gap in (
        lambda row: row["layer"] == 1,
        lambda row: row["layer"] == 1 and row["term"] == "t03",
        lambda row: row["layer"] == (1 if row["term"] == "t03" else 2) and row["term"] in ("t03", "t04"),
    ):
        with pytest.raises(InputError, match="Not every pair was patched at every layer"):
            patch_profiles(changed(measured, lambda row, gap=gap: None if gap(row) else row), resamples=5)
