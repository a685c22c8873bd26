"""Vectors that fall together are found to; the first token is put back; a dip tells where it is and how deep."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import cosine_similarity

from analyses.collapse import EFFECTIVE_RANK, MEAN_COSINE, NORM, collapse, dip, with_first_token
from analyses.collapse_profiles import WITH_FIRST_TOKEN, collapse_profiles
from analyses.resampling import bootstrap_counts, estimate
from analyses.series import Series, profiles_table
from warehouse.errors import InputError
from warehouse.tables import POSITIONS, table
from warehouse.validation import validate

ONCE = np.ones((40, 1))


def rank_by_scikit_learn(vectors):
    shares = PCA().fit(vectors).explained_variance_ratio_
    shares = shares[shares > 1e-14]
    return np.exp(-(shares * np.log(shares)).sum())


@pytest.mark.parametrize("width", [5, 200])
@pytest.mark.parametrize("offset", [0.0, 3e4])
def test_the_effective_rank_is_that_of_scikit_learn_s_principal_components(width, offset):
    vectors = np.random.default_rng(0).normal(size=(40, width)) * np.linspace(0.1, 3.0, width) + offset
    assert collapse(vectors, ONCE)[EFFECTIVE_RANK].value == pytest.approx(rank_by_scikit_learn(vectors), rel=1e-6)


def test_a_line_has_rank_one_and_equally_used_axes_their_number():
    line = np.outer(np.arange(40.0), np.ones(7))
    assert collapse(line, ONCE)[EFFECTIVE_RANK].value == pytest.approx(1.0)
    axes = np.concatenate([np.eye(6), -np.eye(6)])
    assert collapse(axes, np.ones((12, 1)))[EFFECTIVE_RANK].value == pytest.approx(6.0)


def test_mean_cosine_and_length_are_those_of_all_pairs():
    vectors = np.random.default_rng(1).normal(size=(40, 9)).astype(np.float32) + 0.5
    cosines = cosine_similarity(vectors.astype(np.float64))
    measured = collapse(vectors, ONCE)
    assert measured[MEAN_COSINE].value == pytest.approx(cosines[~np.eye(40, dtype=bool)].mean(), abs=1e-12)
    assert measured[NORM].value == pytest.approx(np.linalg.norm(vectors, axis=1).mean())


def test_vectors_that_are_all_the_same_have_rank_one_cosine_one_and_no_spread():
    same = np.tile(np.random.default_rng(2).normal(size=8).astype(np.float32), (40, 1))
    counts = bootstrap_counts(40, 30, np.random.default_rng(0))
    measured = collapse(same, counts)
    assert (measured[EFFECTIVE_RANK].resampled == 1.0).all()
    assert measured[MEAN_COSINE].resampled == pytest.approx(1.0, abs=1e-6)
    assert collapse(np.zeros((40, 3)), counts)[MEAN_COSINE].value == 0.0
    with pytest.raises(InputError, match="two vectors or more"):
        collapse(same[:1], counts[:1])


def test_draws_of_cosine_and_length_are_those_of_the_drawn_terms_without_pairs_of_copies():
    rng = np.random.default_rng(3)
    vectors, counts = rng.normal(size=(12, 5)), bootstrap_counts(12, 20, rng)
    measured = collapse(vectors, counts)
    cosines = cosine_similarity(vectors)
    for draw in range(20):
        drawn = np.repeat(np.arange(12), counts[:, draw].astype(int))
        pairs = drawn[:, None] != drawn[None, :]
        assert measured[MEAN_COSINE].resampled[draw] == pytest.approx(cosines[np.ix_(drawn, drawn)][pairs].mean(), 1e-5)
        assert measured[NORM].resampled[draw] == pytest.approx(np.linalg.norm(vectors[drawn], axis=1).mean())


def test_draws_of_the_rank_move_as_a_small_change_of_a_term_s_weight_moves_it():
    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(12, 5)) * [3, 2, 1, 1, 0.5]

    def rank(weights):
        shares = np.linalg.eigvalsh(np.cov(vectors.T, aweights=weights, ddof=0))
        shares = shares / shares.sum()
        return np.exp(-(shares * np.log(shares)).sum())

    for term in range(12):
        step = 1e-4 * (np.arange(12) == term)
        # Twelve counts in all, a hair of them moved to one term.
        heavier = (1 + step) * 12 / (12 + step.sum())
        measured = collapse(vectors, heavier[:, None])[EFFECTIVE_RANK]
        assert measured.resampled[0] - measured.value == pytest.approx(rank(heavier) - rank(np.ones(12)), rel=1e-2)


def test_intervals_of_the_rank_cover_what_samples_of_that_size_have_on_average():
    scales = 1.0 / np.arange(1, 31)
    draws = np.random.default_rng(5)

    def sample():
        return draws.normal(size=(60, 30)) * scales

    truth = np.mean([collapse(sample(), np.ones((60, 1)))[EFFECTIVE_RANK].value for _ in range(400)])
    covered = 0
    for _ in range(200):
        interval = estimate(collapse(sample(), bootstrap_counts(60, 300, draws))[EFFECTIVE_RANK])
        covered += interval.low <= truth <= interval.high
    assert covered >= 180


def test_the_first_token_is_put_back_into_the_mean():
    rng = np.random.default_rng(6)
    prompts = [rng.normal(size=(length, 4)) for length in (2, 5, 9)]
    rest = np.stack([prompt[1:].mean(axis=0) for prompt in prompts])
    first = np.stack([prompt[0] for prompt in prompts])
    whole = with_first_token(rest, first, np.array([2, 5, 9]))
    np.testing.assert_allclose(whole, [prompt.mean(axis=0) for prompt in prompts])
    # Of a prompt of one token the mean is that token.
    np.testing.assert_array_equal(with_first_token(first[:1], first[:1], np.array([1])), first[:1])


# The dip


def test_a_dip_is_found_with_its_depth_and_what_comes_back():
    value = np.array([1.0, 20.0, 18.0, 6.0, 8.0, 13.0])
    draws = value[:, None] * (1 + 0.01 * np.random.default_rng(7).normal(size=(6, 500)))
    found = dip(Series(value, draws, first=-1))
    assert (found.layer, found.before) == (2, 0)
    assert found.depth == pytest.approx(14 / 20)
    assert found.recovery == pytest.approx(7 / 14)
    assert found.depth_low < found.depth < found.depth_high
    assert found.recovery_low < 0.5 < found.recovery_high
    assert found.depth_high - found.depth_low < 0.05
    assert found.chosen == 1.0


def test_a_profile_that_only_rises_has_no_depth_and_nothing_to_recover():
    rising = np.arange(1.0, 7.0)
    found = dip(Series(rising, np.tile(rising[:, None], 10)))
    assert found.depth == 0.0
    assert np.isnan(found.recovery)
    assert np.isnan(found.recovery_low)


def test_a_dip_within_the_noise_has_an_interval_that_holds_zero():
    rng = np.random.default_rng(8)
    value = np.array([10.0, 10.1, 10.0, 10.05])
    found = dip(Series(value, value[:, None] + rng.normal(size=(4, 400))))
    assert found.depth_low < 0 < found.depth_high
    assert np.isnan(found.recovery_low)
    assert found.chosen < 0.9


def test_a_dip_needs_an_inner_layer():
    with pytest.raises(InputError, match="three layers"):
        dip(Series(np.ones(3), np.ones((3, 5)), first=-1))


# Profiles


TEMPLATES = (("a1", "asking", False), ("a2", "asking", False), ("a3", "asking", True), ("n1", "neutral", False))
TERMS, WIDTH = 24, 16


def library(variant_terms=3):
    names = [f"t{place:02d}" for place in range(TERMS)] + [f"words-{place}" for place in range(variant_terms)]
    # A template of fewer terms, as for a labelling that some terms lack.
    rows = [
        {
            "template": template,
            "term": name,
            "template_kind": kind,
            "labelling": None,
            "held_out": held,
            "text": name,
            "answer": None,
            "term_start": 0,
            "term_end": 3,
        }
        for template, kind, held in TEMPLATES
        for name in names[: TERMS - 4 if template == "a2" else None]
    ]
    prompts = pa.Table.from_pylist(rows, schema=table("prompts").schema())
    variants = ["" if name.startswith("t") else "words" for name in names]
    terms = pa.table({"term": names, "spelling": names, "variant": variants, "source": ["-"] * len(names)})
    tokens = pa.table(
        {
            "template": prompts["template"],
            "term": prompts["term"],
            "tokens": [4 + place % 3 for place in range(len(rows))],
            "first_token": [1 + (row["template"] == "n1") for row in rows],
        }
    )
    return prompts, terms, tokens


def stack(prompts, spread):
    """Activations whose terms lie as far apart at each layer as `spread` says, and first tokens of enormous norm."""
    rng = np.random.default_rng(9)
    keys = list(zip(prompts["template"].to_pylist(), prompts["term"].to_pylist(), strict=True))
    own, shared = {key: rng.normal(size=WIDTH) for key in keys}, rng.normal(size=WIDTH)
    layers, first = [], []
    for layer, (apart, axes) in enumerate(spread, start=-1):
        vectors = np.stack([shared + apart * own[key] * (np.arange(WIDTH) < axes) for key in keys] * 3)
        columns = [
            pa.array([layer] * len(vectors), pa.int16()),
            pa.array(np.repeat(POSITIONS, len(keys))),
            pa.array([template for template, _ in keys] * 3),
            pa.array([term for _, term in keys] * 3),
            pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float32).ravel()), WIDTH),
        ]
        layers.append((layer, pa.table(columns, schema=table("activations").schema(WIDTH))))
        first += [
            {"layer": layer, "first_token": token, "vector": 1000.0 * token * shared, "prompts": 1} for token in (1, 2)
        ]
    return layers, pa.Table.from_pylist(first, schema=table("first_tokens").schema(WIDTH))


SPREAD = ((0.0, WIDTH), (1.0, WIDTH), (1.0, 12), (0.3, 2), (1.0, 12))


@pytest.fixture(scope="module")
def planted():
    prompts, terms, tokens = library()
    layers, first = stack(prompts, SPREAD)
    return collapse_profiles(layers, first, prompts, terms, tokens, seed=1, resamples=100)


def at(found, metric, position="last", kind="asking"):
    (profile,) = [
        each
        for each in found
        if (each.key.metric, each.key.position, each.key.template_kind) == (metric, position, kind)
    ]
    return profile


def test_a_planted_collapse_is_found_where_it_was_planted(planted):
    found = dip(at(planted, EFFECTIVE_RANK).series)
    assert (found.layer, found.before) == (2, 0)
    assert found.depth_low > 0.7
    assert 0.5 < found.recovery_low < found.recovery_high < 1.0
    cosines = at(planted, MEAN_COSINE).series.value
    assert cosines[0] == pytest.approx(1.0)
    assert cosines[3] == cosines[1:].max() > 0.9 > cosines[1]


def test_rows_are_of_all_layers_and_metrics_and_pass_the_registry(planted):
    rows = profiles_table(planted)
    validate(table("profiles"), rows)
    metrics = {EFFECTIVE_RANK, MEAN_COSINE, NORM}
    assert {profile.key.metric for profile in planted if profile.key.position != "mean"} == metrics
    every = metrics | {metric + WITH_FIRST_TOKEN for metric in metrics}
    assert {profile.key.metric for profile in planted if profile.key.position == "mean"} == every
    assert set(rows["layer"].to_pylist()) == set(range(-1, len(SPREAD) - 1))
    assert set(rows["labelling"].to_pylist()) == {""}
    assert set(rows["n"].to_pylist()) == {TERMS}
    assert rows["null_p"].null_count == rows.num_rows


def test_a_profile_is_the_mean_over_templates_of_main_terms(planted):
    prompts, _, _ = library()
    layers, _ = stack(prompts, SPREAD)
    data = layers[1][1].to_pylist()
    ranks = []
    for template, many in (("a1", TERMS), ("a2", TERMS - 4)):
        rows = {row["term"]: row["vector"] for row in data if row["template"] == template and row["position"] == "last"}
        ranks.append(rank_by_scikit_learn(np.array([rows[f"t{place:02d}"] for place in range(many)], dtype=np.float64)))
    assert at(planted, EFFECTIVE_RANK).series.value[1] == pytest.approx(np.mean(ranks), rel=1e-5)


def test_the_first_token_hides_the_spread_of_terms_from_a_mean_that_counts_it_in(planted):
    without, counted = (at(planted, f"{NORM}{ending}", "mean", "neutral") for ending in ("", WITH_FIRST_TOKEN))
    assert (counted.series.value > 50 * without.series.value).all()
    cosine = at(planted, MEAN_COSINE + WITH_FIRST_TOKEN, "mean")
    assert (cosine.series.value > 0.999).all()


def test_what_is_missing_is_said_with_what_to_do():
    prompts, terms, tokens = library()
    layers, first = stack(prompts, SPREAD)
    with pytest.raises(InputError, match="no vector for the token 2 at layer 1"):
        collapse_profiles(layers, first.filter(pa.array([True] * 5 + [False] * 5)), prompts, terms, tokens)
    with pytest.raises(InputError, match="Table tokens has nothing for 't00'"):
        collapse_profiles(layers, first, prompts, terms, tokens.slice(1))
    assert collapse_profiles(layers, first, prompts.slice(0, 0), terms, tokens) == []
