"""Ages: each number beside its slow definition, on lines, bends, and jumps that are planted."""

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from grid_tables import activations, tables
from scipy.stats import pearsonr
from sklearn.linear_model import LinearRegression

from analyses import ages, jumps
from analyses.age_profiles import age_profiles
from analyses.geometry import ridge_predictions
from analyses.jump_tables import jump_profiles
from analyses.jump_tables import jumps as jump_table
from analyses.series import profiles_table
from warehouse.tables import table
from warehouse.validation import validate

AGES = np.arange(60.0)
WIDTH = 16
RNG = np.random.default_rng(0)
YEAR, SEX, CURVE, JUMP = np.linalg.qr(RNG.normal(size=(WIDTH, 4)))[0].T


def test_the_inner_stretch_of_a_century_is_twenty_to_sixty():
    numbers = np.arange(101.0)
    assert numbers[ages.is_inner(numbers)].tolist() == list(range(20, 61))


@pytest.mark.parametrize("width", [5, 80])
def test_a_fit_from_products_is_the_fit_from_vectors(width):
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(40, width)) + 3
    numbers = np.column_stack([vectors[:, 0] + rng.normal(size=40), rng.normal(size=40)])
    folds = (np.arange(40) % 3 == 0).astype(np.intp)
    expected = ridge_predictions(vectors, numbers, folds)
    products = vectors @ vectors.T
    for fold in (0, 1):
        found = ages.ridge_transfer(products, numbers, np.flatnonzero(folds != fold), np.flatnonzero(folds == fold))
        np.testing.assert_allclose(found, expected[folds == fold], atol=1e-6)


def test_products_are_centred_over_all_or_within_strata():
    vectors = RNG.normal(size=(3, 7, 5)) + 50
    flat = vectors.reshape(21, 5)
    products = ages.centred_products(flat)
    centred = flat - flat.mean(axis=0)
    np.testing.assert_allclose(products, centred @ centred.T, atol=1e-4)
    own = (vectors - vectors.mean(axis=1, keepdims=True)).reshape(21, 5)
    np.testing.assert_allclose(ages.centred_within(products, 3), own @ own.T, atol=1e-4)
    assert not ages.centred_products(np.full((4, 3), 0.1, dtype=np.float32)).any()


def test_chords_are_straight_distances_between_vectors_of_length_one():
    one, other = RNG.normal(size=(2, 9, 4))
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (one, other)]
    np.testing.assert_allclose(ages.chords(one, other), np.linalg.norm(unit[0] - unit[1], axis=1))
    assert ages.chords(one, 2 * one).tolist() == [0.0] * 9
    assert ages.chords(one[0], np.zeros(4)) == pytest.approx(np.sqrt(2))


def test_the_distance_of_sexes_is_theirs_with_ages_drawn_or_sexes_exchanged():
    one, other = RNG.normal(size=(2, 8, 5))
    gaps = ages.sex_gaps(one, other)
    swaps = RNG.integers(2, size=(8, 3)).astype(bool)

    def slow(first, second):
        steps = [ages.chords(sex[age], sex[age + 1]) for sex in (first, second) for age in range(7)]
        return np.mean([ages.chords(first[age], second[age]) for age in range(8)]) / np.mean(steps)

    assert gaps.distance() == pytest.approx(slow(one, other))
    for draw, swap in enumerate(swaps.T):
        exchanged = np.where(swap[:, None], other, one), np.where(swap[:, None], one, other)
        assert gaps.swapped(swaps)[draw] == pytest.approx(slow(*exchanged))
    twice = np.ones((8, 1))
    twice[2] = 2
    counted = [ages.chords(one[age], other[age]) for age in (*range(8), 2)]
    steps = [(gaps.along[age]) for age in (*range(7), 2)]
    assert gaps.distance(twice)[0] == pytest.approx(np.mean(counted) / np.mean(steps))
    assert ages.sex_gaps(np.ones((4, 2)), np.ones((4, 2))).distance() == 0


def test_steps_are_counted_in_mean_steps():
    angles = np.array([0.0, 0.1, 0.2, 0.6])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)[None]
    expected = 2 * np.sin(np.diff(angles) / 2)
    np.testing.assert_allclose(ages.relative_gaps(vectors), expected / expected.mean())
    assert not ages.relative_gaps(np.ones((2, 4, 3))).any()


def test_the_smooth_course_is_a_robust_local_line_that_leaves_the_step_out():
    values = np.random.default_rng(2).normal(size=45) + 0.1 * np.arange(45)
    found = jumps.smoothed(values)
    for step in (0, 3, 22, 44):
        near = sorted((place for place in range(45) if place != step), key=lambda place: (abs(place - step), place))
        near = np.array(near[: jumps.NEIGHBOURS])
        kernel = (1 - (np.abs(near - step) / (np.abs(near - step).max() + 1)) ** 3) ** 3
        weights = kernel
        for _ in range(4):
            line = LinearRegression().fit(near[:, None], values[near], weights)
            off = np.abs(values[near] - line.predict(near[:, None]))
            weights = kernel * np.maximum(1 - (off / (6 * np.median(off))) ** 2, 0) ** 2
        assert found[step] == pytest.approx(line.predict([[step]])[0])


def test_a_smooth_course_has_jumps_as_rarely_as_it_should():
    logs = 0.3 * np.random.default_rng(3).normal(size=(300, 100)) + np.exp(-np.arange(100) / 30)
    judged = jumps.judge(np.exp(logs), seed=0, courses=200)
    assert (judged.p < 0.05).mean() == pytest.approx(0.05, abs=0.01)
    assert (judged.q < 0.05).any(axis=1).mean() < 0.1
    assert (np.exp(logs) > judged.high).mean() == pytest.approx(0.05, abs=0.01)
    assert (judged.p[:, :5] < 0.05).mean() < 0.08


def test_a_planted_jump_is_found_and_nothing_beside_it():
    sizes = np.exp(0.2 * np.random.default_rng(4).normal(size=100))
    sizes[17] *= 6
    judged = jumps.judge(sizes, seed=0, courses=200)
    assert np.flatnonzero(judged.q < 0.05).tolist() == [17]
    assert judged.excess[17] == pytest.approx(np.log(sizes[17] / judged.expected[17]))
    still = jumps.judge(np.zeros(30), seed=0, courses=20)
    assert (still.q > 0.4).all()
    assert not still.expected.any()


def test_what_features_explain_is_the_r_squared_of_their_fit():
    rng = np.random.default_rng(5)
    excess, features = rng.normal(size=(2, 30)), rng.integers(2, size=(30, 2)).astype(float)
    counts = rng.multinomial(30, np.ones(30) / 30, size=4).T.astype(float)
    found, drawn = jumps.explained(excess, features), jumps.explained(excess, features, counts)
    permuted = jumps.explained(excess, np.stack([features, features[::-1]]))
    for row in range(2):
        fit = LinearRegression().fit(features, excess[row])
        assert found[row] == pytest.approx(fit.score(features, excess[row]))
        np.testing.assert_allclose(jumps.unexplained(excess, features)[row], excess[row] - fit.predict(features))
        assert permuted[row, 0] == pytest.approx(found[row])
        for draw, taken in enumerate(counts.T):
            fit = LinearRegression().fit(features, excess[row], taken)
            assert drawn[row, draw] == pytest.approx(fit.score(features, excess[row], taken))
    assert jumps.explained(np.ones(30), features) == 0


def test_correlations_over_draws_are_those_of_the_repeated_steps():
    rng = np.random.default_rng(6)
    one, other = rng.normal(size=(2, 3, 20))
    counts = rng.multinomial(20, np.ones(20) / 20, size=4).T
    found = jumps.correlations(one, other, counts.astype(float))
    for row in range(3):
        assert jumps.correlations(one, other)[row] == pytest.approx(pearsonr(one[row], other[row])[0])
        for draw in range(4):
            taken = np.repeat(np.arange(20), counts[:, draw])
            assert found[row, draw] == pytest.approx(pearsonr(one[row, taken], other[row, taken])[0])
    assert not jumps.correlations(np.ones((1, 20)), other[:1]).any()


def concept(course, noise=0.01, sexes=("female", "male")):
    """Layer 0 of ages as men, women and persons, in numerals and words; `course(years, sex, variant)` is a vector."""
    rng = np.random.default_rng(7)
    terms, labels, vectors = {}, [], []
    for variant in ("", "words"):
        for sex in (*sexes, None):
            for age in AGES:
                term = f"{variant}{age:g} {sex}"
                terms[term] = variant
                labels.append(
                    {"labelling": "years", "term": term, "kind": "continuous", "number": age, "unit": "years"}
                )
                if sex:
                    labels.append({"labelling": "sex", "term": term, "kind": "categorical", "label": sex})
                vectors.append(course(age, sex, variant))
    points = np.array(vectors)
    by_template = {
        name: points + offset + noise * rng.normal(size=points.shape)
        for name, offset in (("a1", 0.0), ("a2", 1.0), ("a3", 2.0), ("n1", 0.5))
    }
    return [(0, activations(0, list(terms), by_template))], tables(terms, labels)


def tokens(terms, split):
    rows = [
        {"template": "a1", "term": term, "term_tokens": 2 + (float(term.removeprefix("words").split()[0]) >= split)}
        for term in terms["term"].to_pylist()
    ]
    return pa.Table.from_pylist(rows)


def profiles(course, **settings):
    layers, made = concept(course, **settings)
    found = profiles_table(age_profiles(layers, *made, resamples=50, permutations=40))
    validate(table("profiles"), found)
    chosen = pl.DataFrame(found).filter((pl.col("template_kind") == "asking") & (pl.col("variant") == ""))
    return {row["metric"]: row for row in chosen.to_dicts()}


def test_a_line_is_a_line_beyond_the_fitted_range_and_for_both_sexes():
    found = profiles(lambda age, sex, _: 4 * CURVE + age / 20 * YEAR + 0.5 * (sex == "male") * SEX)
    assert all(found[name]["value"] > 0.98 for name in ("r2_inside", "r2_outside", "r2_across_sex"))
    assert all(found[name]["null_p"] < 0.05 for name in ("r2_inside", "r2_outside", "r2_across_sex"))
    assert found["sex_distance"]["value"] > 3
    assert found["sex_distance"]["null_p"] < 0.05
    assert {name: row["n"] for name, row in found.items()} == {
        "r2_inside": 3 * 24,
        "r2_outside": 3 * 36,
        "r2_across_sex": 120,
        "sex_distance": 120,
    }
    assert all(row["low"] <= row["value"] <= row["high"] for row in found.values())


def test_a_bend_shows_outside_the_fitted_range_only():
    found = profiles(lambda age, sex, _: 4 * CURVE + min(age, 36) / 20 * YEAR)
    assert found["r2_inside"]["value"] > 0.98
    assert found["r2_outside"]["value"] < 0.9


def test_sexes_that_age_in_other_directions_do_not_tell_of_each_other():
    found = profiles(lambda age, sex, _: 4 * CURVE + age / 20 * (YEAR if sex == "male" else JUMP))
    assert found["r2_inside"]["value"] > 0.9
    assert found["r2_across_sex"]["value"] < 0.1


def test_sexes_that_make_no_difference_lie_within_their_null():
    found = profiles(lambda age, sex, _: 4 * CURVE + age / 20 * YEAR)
    assert found["sex_distance"]["null_p"] > 0.01
    assert found["sex_distance"]["value"] < 1


def jump_rows(course, split):
    layers, made = concept(course)
    found = jump_table(layers, *made, tokens(made[1], split), permutations=100)
    validate(table("jumps"), found)
    return found, pl.DataFrame(found).filter((pl.col("template_kind") == "asking") & (pl.col("variant") == ""))


def with_jump(at, variants):
    return lambda age, _, variant: 4 * CURVE + age / 10 * YEAR + (age >= at and variant in variants) * JUMP


def test_a_jump_at_eighteen_is_one_of_the_number():
    found, rows = jump_rows(with_jump(18, ("", "words")), split=40)
    assert rows.filter(pl.col("q") < 0.05)["number"].to_list() == [18.0]
    assert rows.filter("token_split")["number"].to_list() == [40.0]
    assert rows.filter("decade")["number"].to_list() == [10.0, 20.0, 30.0, 40.0, 50.0]
    assert rows["size"].mean() == pytest.approx(1.0)
    followed = pl.DataFrame(profiles_table(jump_profiles(found, resamples=50, permutations=50)))
    asking = followed.filter(pl.col("template_kind") == "asking")
    by_number = asking.filter(metric="jumps_by_number").row(0, named=True)
    assert by_number["variant"] == "words"
    assert by_number["value"] > 0.5
    assert by_number["null_p"] < 0.05
    assert asking.filter(metric="jumps_by_spelling", variant="").row(0, named=True)["value"] < 0.2


def test_a_jump_at_a_split_of_tokens_is_one_of_spelling():
    found, rows = jump_rows(with_jump(33, ("",)), split=33)
    assert rows.filter(pl.col("q") < 0.05).select("number", "token_split").rows() == [(33.0, True)]
    followed = pl.DataFrame(profiles_table(jump_profiles(found, resamples=50, permutations=50)))
    asking = followed.filter(pl.col("template_kind") == "asking")
    by_spelling = asking.filter(metric="jumps_by_spelling", variant="").row(0, named=True)
    assert by_spelling["value"] > 0.5
    assert by_spelling["null_p"] < 0.05
    assert asking.filter(metric="jumps_by_number").row(0, named=True)["value"] < 0.4


def test_what_is_no_grid_of_numbers_has_no_rows():
    layers, (prompts, terms, labels) = concept(lambda age, sex, _: age * YEAR + CURVE)
    lacking = labels.filter(pa.array([term != "3 male" for term in labels["term"].to_pylist()]))
    made = (prompts, terms.filter(pa.array([not term for term in terms["variant"].to_pylist()])), lacking)
    assert age_profiles(layers, *made) == []
    assert jump_table(layers, *made, tokens(terms, 10)).num_rows == 0
    assert jump_profiles(table("jumps").schema().empty_table()) == []


def test_the_same_seed_gives_the_same_profiles():
    layers, made = concept(lambda age, sex, _: age / 20 * YEAR + CURVE, noise=0.3)
    first, second, other = (
        profiles_table(age_profiles(layers, *made, seed=seed, resamples=20, permutations=10)) for seed in (0, 0, 1)
    )
    assert first.equals(second)
    assert not first.equals(other)
