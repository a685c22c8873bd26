"""What is left of profiles over their rivals, beside the slow, obvious computation."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from effect_rows import filled
from sklearn.metrics import r2_score, silhouette_score

from analyses.profiles import activation_profiles
from analyses.resampling import bootstrap_counts, generator, permutations
from analyses.rivals import FLAT, rival_profiles, rivals_of, rivals_table, trigram_counts
from analyses.series import Key, draws_table, profiles_table, series_of
from analyses.term_numbers import term_numbers
from warehouse.errors import InputError
from warehouse.tables import table
from warehouse.validation import validate

STEMS = ("olol", "pril", "statin")
HEADS = ("ben", "cad", "dor", "fex", "gam", "hul", "jix", "kov", "lum", "mer", "nat", "pur")
NAMES = [head + stem for stem in STEMS for head in HEADS]
TERMS = len(NAMES)
BY_STEM = np.repeat(np.arange(3), len(HEADS))
BY_FIELD = np.arange(TERMS) % 3
TOKENS = 1 + np.arange(TERMS) % 5
RESAMPLES, PERMUTATIONS = 60, 40
DRAWN = {"resamples": RESAMPLES, "permutations": PERMUTATIONS}
OWN = Key("activations", "silhouette_cosine", "field", "")

WORDS = filled("terms", [{"term": name, "spelling": name.title()} for name in NAMES])
LABELS = filled(
    "labels",
    [
        {"labelling": labelling, "term": name, "kind": "categorical", "label": str(label)}
        for labelling, labels in (("field", BY_FIELD), ("stem", BY_STEM))
        for name, label in zip(NAMES, labels, strict=True)
    ]
    + [
        {"labelling": "dose", "term": name, "kind": "continuous", "label": None, "number": float(3 * count)}
        for name, count in zip(NAMES, np.arange(TERMS) // 2, strict=True)
    ],
)
PROMPTS = filled(
    "prompts",
    [
        {"template": template, "term": name, "template_kind": kind, "term_end": 3}
        for template, kind in (("asks", "asking"), ("says", "neutral"))
        for name in NAMES
    ],
)
SPLIT = filled(
    "tokens",
    [
        {"template": template, "term": name, "term_tokens": count + more}
        for template, more in (("asks", 0), ("says", 1))
        for name, count in zip(NAMES, TOKENS, strict=True)
    ],
)
USES = np.round(np.random.default_rng(10).uniform(0, 5, size=TERMS), 2)
FREQUENCIES = filled(
    "frequencies", [{"term": name, "zipf_frequency": uses} for name, uses in zip(NAMES, USES, strict=True)]
)
NUMBERS = term_numbers(SPLIT, FREQUENCIES)
NOT_DRAWN = table("projections").schema().empty_table()


def rotated(vectors, width=250):
    """The same vectors in other axes, with a little noise: their cosines are nearly as they were."""
    axes = np.linalg.qr(np.random.default_rng(8).normal(size=(width, vectors.shape[1])))[0]
    return vectors @ axes.T + 0.01 * np.random.default_rng(9).normal(size=(len(vectors), width))


def grown(by_layer, labels=LABELS, **more):
    """Profiles of activations: `by_layer` gives the vectors of all terms at each layer, -1 first."""

    def layers():
        for layer, vectors in enumerate(by_layer, start=-1):
            rows = [
                {"layer": layer, "position": position, "template": template, "term": name, "vector": vector.tolist()}
                for position in ("last", "term")
                for template in ("asks", "says")
                for name, vector in zip(
                    NAMES, vectors if position == "term" or layer >= 0 else 0 * vectors, strict=True
                )
            ]
            schema = table("activations").schema(width=vectors.shape[1])
            yield layer, type(WORDS).from_pylist(rows, schema=schema)

    return activation_profiles(layers(), PROMPTS, WORDS, labels, NOT_DRAWN, **DRAWN | more)


def noise(seed, width=12):
    return np.random.default_rng(seed).normal(size=(TERMS, width))


def by_key(profiles):
    return {profile.key: profile for profile in profiles}


def by_series(profiles):
    return {each.key: each.series for each in profiles}


def kept(profiles):
    return series_of(draws_table(profiles, ("silhouette_cosine", "r2_ridge"), RESAMPLES))


CLUSTERS = np.eye(3)[BY_FIELD] @ (4 * noise(1)[:3])
BASE = grown([noise(2), noise(3), noise(3) + CLUSTERS])


@pytest.fixture(scope="module")
def rivals():
    return rivals_of(BASE, WORDS, LABELS, NUMBERS, **DRAWN)


def rival(rivals, name, metric="silhouette_cosine", labelling="field", kind="asking"):
    (found,) = [
        each
        for each in rivals
        if (each.rival, each.metric, each.labelling, each.template_kind) == (name, metric, labelling, kind)
    ]
    return found


def test_trigrams_are_the_runs_of_three_characters_with_two_blanks_at_each_end():
    spellings = ["Iron", "iron", "ironing in", "4"]
    columns = sorted({f"  {s.lower()}  "[i : i + 3] for s in spellings for i in range(len(s) + 2)})
    slow = []
    for spelling in spellings:
        padded = f"  {spelling.lower()}  "
        counted = Counter(padded[i : i + 3] for i in range(len(spelling) + 2))
        slow.append([counted[column] for column in columns])
    found = trigram_counts(spellings)
    np.testing.assert_array_equal(found @ found.T, np.array(slow) @ np.array(slow).T)
    assert sorted(Counter(found[0])) == [0.0, 1.0]
    assert found[0].sum() == len(["  i", " ir", "iro", "ron", "on ", "n  "])
    assert found[3].sum() == len(["  4", " 4 ", "4  "])


def test_a_term_counts_as_many_tokens_as_it_has_on_average_over_its_prompts():
    counted, used = NUMBERS
    assert counted.by_term == {name: pytest.approx(count + 0.5) for name, count in zip(NAMES, TOKENS, strict=True)}
    assert used.by_term == {name: pytest.approx(uses) for name, uses in zip(NAMES, USES, strict=True)}
    assert counted.of(NAMES[3:1:-1]).tolist() == [TOKENS[3] + 0.5, TOKENS[2] + 0.5]


def test_spelling_and_numbers_of_terms_are_scored_like_the_layers_under_the_same_draws(rivals):
    rng = generator(0, "", "field")
    bootstrap_counts(TERMS, RESAMPLES, rng, BY_FIELD)
    orders = permutations(TERMS, PERMUTATIONS, rng)
    grams = trigram_counts(NAMES)
    flat = {"token_count": TOKENS[:, None], "frequency": USES[:, None]}
    scored = [("spelling", grams, "cosine"), *((name, points, "euclidean") for name, points in flat.items())]
    for name, points, metric in scored:
        found = rival(rivals, name)
        assert found.sampled.value == pytest.approx(silhouette_score(points, BY_FIELD, metric=metric), abs=1e-6)
        permuted = [silhouette_score(points, BY_FIELD[order], metric=metric) for order in orders.T]
        np.testing.assert_allclose(found.sampled.permuted, permuted, atol=1e-5)
        assert (found.sampled.resampled.shape, found.terms) == ((RESAMPLES,), TERMS)


def test_numbers_that_follow_the_token_count_are_foretold_by_it_and_others_are_not():
    numbers = 10.0 * TOKENS + 0.1 * np.arange(TERMS)
    follow = [
        {"labelling": labelling, "term": name, "kind": "continuous", "label": None, "number": float(number)}
        for labelling, values in (("length", numbers), ("dose", np.arange(TERMS)))
        for name, number in zip(NAMES, values, strict=True)
    ]
    labels = filled("labels", follow)
    found = rivals_of(grown([noise(2)], labels), WORDS, labels, NUMBERS, **DRAWN)
    of_length = rival(found, "token_count", "r2_ridge", "length").sampled.value
    slow = r2_score(numbers, np.polyval(np.polyfit(TOKENS, numbers, 1), TOKENS))
    assert of_length == pytest.approx(slow, abs=0.02)
    assert rival(found, "token_count", "r2_ridge", "dose").sampled.value < 0.1


def test_the_embeddings_are_read_at_the_term_for_every_position(rivals):
    at_term = by_key(BASE)[replace(OWN, position="term")].series
    found = rival(rivals, "embeddings").sampled
    assert found.value == at_term.value[0] != 0
    np.testing.assert_array_equal(found.resampled, at_term.resampled[0])
    left = by_key(rival_profiles(BASE, rivals))
    for position in ("last", "term"):
        own = by_key(BASE)[replace(OWN, position=position)].series
        series = left[replace(OWN, position=position, metric="silhouette_cosine_over_embeddings")].series
        expected = own.value[2] - own.permuted[2].mean() - (at_term.value[0] - at_term.permuted[0].mean())
        assert series.value[2] == pytest.approx(expected)
    at_itself = left[replace(OWN, position="term", metric="silhouette_cosine_over_embeddings")].series
    assert (at_itself.value[0], at_itself.resampled[0].any()) == (0, False)


def test_what_is_left_is_paired_draw_by_draw_and_over_chance(rivals):
    own, left = by_key(BASE)[OWN].series, by_key(rival_profiles(BASE, rivals))
    names = FLAT
    chance = {name: rival(rivals, name).sampled.permuted.mean() for name in names}
    for at in range(3):
        over = own.resampled[at] - own.permuted[at].mean()
        null = own.permuted[at] - own.permuted[at].mean()
        other = {name: rival(rivals, name).sampled.resampled - chance[name] for name in names}
        other_null = {name: rival(rivals, name).sampled.permuted - chance[name] for name in names}
        for name in names:
            series = left[replace(OWN, metric=f"silhouette_cosine_over_{name}")].series
            np.testing.assert_allclose(series.resampled[at], over - other[name], atol=1e-12)
            np.testing.assert_allclose(series.permuted[at], null - other_null[name], atol=1e-12)
        strongest = [max(other[name][draw] for name in names) for draw in range(RESAMPLES)]
        series = left[replace(OWN, metric="silhouette_cosine_over_rivals")].series
        np.testing.assert_allclose(series.resampled[at], over - strongest, atol=1e-12)
        strongest = [max(other_null[name][draw] for name in names) for draw in range(PERMUTATIONS)]
        np.testing.assert_allclose(series.permuted[at], null - strongest, atol=1e-12)


def test_clusters_that_follow_the_stems_of_names_vanish_over_spelling_and_others_stay():
    stems = rotated(trigram_counts(NAMES))
    fields = noise(4, 250) * 0.3 + np.eye(3)[BY_FIELD] @ noise(5, 250)[:3]
    found = []
    for vectors in (stems, fields):
        own = grown([noise(2, 250), vectors])
        table_ = profiles_table([*own, *rival_profiles(own, rivals_of(own, WORDS, LABELS, NUMBERS, **DRAWN))])
        found.append(
            {
                (row["labelling"], row["metric"]): row
                for row in table_.to_pylist()
                if (row["layer"], row["position"], row["template_kind"]) == (0, "last", "asking")
            }
        )
    named, meant = found
    assert named["stem", "silhouette_cosine"]["low"] > 0.1
    assert named["stem", "silhouette_cosine"]["null_p"] == pytest.approx(1 / (1 + PERMUTATIONS))
    assert abs(named["stem", "silhouette_cosine_over_spelling"]["value"]) < 0.01
    assert named["stem", "silhouette_cosine_over_rivals"]["high"] < 0.05
    for metric in ("silhouette_cosine_over_spelling", "silhouette_cosine_over_rivals"):
        assert meant["field", metric]["low"] > 0.3
        assert meant["field", metric]["null_p"] == pytest.approx(1 / (1 + PERMUTATIONS))


def test_one_rival_alone_is_not_the_strongest_of_all(rivals):
    spelled = [each for each in rivals if each.rival == "spelling"]
    metrics = {profile.key.metric for profile in rival_profiles(BASE, spelled)}
    assert metrics == {"silhouette_cosine_over_spelling", "r2_ridge_over_spelling"}


def test_controls_are_averaged_over_their_labellings_at_the_same_place():
    countries, animals = kept(grown([noise(6)] * 3)), kept(grown([noise(7), noise(7) + CLUSTERS, noise(7)]))
    # A spelling of the control that reads otherwise must not enter.
    countries[replace(OWN, variant="words")] = countries[replace(OWN, labelling="stem", template_kind="neutral")]
    left = by_key(rival_profiles(BASE, (), [countries, animals]))
    own, found = by_key(BASE)[OWN].series, left[replace(OWN, metric="silhouette_cosine_over_controls")].series
    same = [control[replace(OWN, labelling=name)] for control in (countries, animals) for name in ("field", "stem")]
    for at in range(3):
        others = np.mean([series.resampled[at] - series.permuted[at].mean() for series in same], axis=0)
        np.testing.assert_allclose(found.resampled[at], own.resampled[at] - own.permuted[at].mean() - others)
    assert found.permuted is None
    assert found.value[2] > 0.3
    step = left[replace(OWN, metric="silhouette_cosine_over_controls_step")].series
    np.testing.assert_allclose(step.resampled, np.diff(found.resampled, axis=0))
    assert step.first == 0


def test_a_control_spelling_is_read_against_the_main_terms_of_controls():
    spelled_out = [replace(each, key=replace(each.key, variant="words")) for each in BASE]
    controls = [kept(grown([noise(6)] * 3))]
    main, other = (by_key(rival_profiles(own, (), controls)) for own in (BASE, spelled_out))
    key = replace(OWN, metric="silhouette_cosine_over_controls")
    np.testing.assert_array_equal(other[replace(key, variant="words")].series.resampled, main[key].series.resampled)


def test_each_kind_of_template_has_its_own_rival(rivals):
    found = rival(rivals, "embeddings", kind="neutral")
    higher = replace(found, sampled=replace(found.sampled, value=found.sampled.value + 1.0))
    before, after = (by_key(rival_profiles(BASE, [rival(rivals, "embeddings"), other])) for other in (found, higher))
    for kind, expected in (("asking", 0.0), ("neutral", -1.0)):
        key = replace(OWN, metric="silhouette_cosine_over_embeddings", template_kind=kind)
        np.testing.assert_allclose(after[key].series.value - before[key].series.value, expected, atol=1e-12)


def test_without_controls_or_an_untrained_model_there_is_nothing_over_them(rivals):
    metrics = {profile.key.metric for profile in rival_profiles(BASE, rivals)}
    assert not [metric for metric in metrics if "controls" in metric or "untrained" in metric]
    only_labels = {key: series for key, series in kept(BASE).items() if key.metric == "silhouette_cosine"}
    metrics = {profile.key.metric for profile in rival_profiles(BASE, (), [only_labels])}
    assert metrics == {"silhouette_cosine_over_controls", "silhouette_cosine_over_controls_step"}


def test_what_an_untrained_model_shows_too_is_not_left_over():
    random = grown([noise(2), noise(3), noise(6)])
    found = by_key(rival_profiles(BASE, (), untrained=by_series(random)))
    series = found[replace(OWN, metric="silhouette_cosine_over_untrained")].series
    assert (series.value[:2] == 0).all()
    assert not series.resampled[:2].any()
    assert not series.permuted[:2].any()
    assert np.percentile(series.resampled[2], 2.5) > 0.3
    # From the table come the same numbers as float32, and of the null its mean only.
    read = by_key(rival_profiles(BASE, (), untrained=kept(random)))[
        replace(OWN, metric="silhouette_cosine_over_untrained")
    ].series
    np.testing.assert_allclose(read.resampled, series.resampled, atol=1e-6)
    np.testing.assert_allclose(read.value, series.value, atol=1e-12)
    assert read.permuted is None


def test_kept_draws_are_read_as_the_series_that_they_were():
    found = kept(BASE)
    wanted = {each.key: each.series for each in BASE if each.key.metric in ("silhouette_cosine", "r2_ridge")}
    assert found.keys() == wanted.keys()
    for key, series in wanted.items():
        assert found[key].first == -1
        np.testing.assert_array_equal(found[key].value, series.value)
        np.testing.assert_allclose(found[key].resampled, series.resampled, atol=1e-6)
        np.testing.assert_allclose(found[key].permuted, series.permuted.mean(axis=1, keepdims=True))
    assert (
        series_of(draws_table(BASE, ("local_anisotropy",), RESAMPLES))[
            replace(OWN, metric="local_anisotropy", labelling="dose")
        ].permuted
        is None
    )


@pytest.mark.parametrize("other", [grown([noise(2)] * 2), grown([noise(2)] * 3, resamples=30)])
def test_series_of_another_shape_are_refused(other):
    with pytest.raises(InputError, match="can't be compared"):
        rival_profiles(BASE, (), untrained=by_series(other))
    with pytest.raises(InputError, match="can't be compared"):
        rival_profiles(BASE, (), [by_series(other)])


def test_a_term_without_a_number_is_refused():
    lacking = [rows.filter([name != NAMES[-1] for name in rows["term"].to_pylist()]) for rows in (SPLIT, FREQUENCIES)]
    with pytest.raises(InputError, match="1 of 36 terms have no token count, 'purstatin' among them: extract"):
        rivals_of(BASE, WORDS, LABELS, term_numbers(lacking[0], FREQUENCIES), **DRAWN)
    with pytest.raises(InputError, match="1 of 36 terms have no frequency, 'purstatin' among them: write the concept"):
        rivals_of(BASE, WORDS, LABELS, term_numbers(SPLIT, lacking[1]), **DRAWN)


def test_terms_of_one_length_say_nothing_of_labels_or_numbers():
    alike = filled("tokens", [{"template": "asks", "term": name, "term_tokens": 2} for name in NAMES])
    found = rivals_of(BASE, WORDS, LABELS, term_numbers(alike, FREQUENCIES), **DRAWN)
    assert rival(found, "token_count").sampled.value == 0
    assert not rival(found, "token_count").sampled.permuted.any()
    assert rival(found, "token_count", "r2_ridge", "dose").sampled.value == pytest.approx(0, abs=0.1)


def test_rows_pass_the_registry(rivals):
    found = rivals_table(rivals)
    validate(table("rivals"), found)
    assert set(found["rival"].to_pylist()) == set(FLAT)
    assert len(found) == len(FLAT) * 3 * 2
    left = profiles_table([*BASE, *rival_profiles(BASE, rivals, [kept(BASE)], kept(BASE))])
    validate(table("profiles"), left)
    validate(table("profile_draws"), draws_table(BASE, ("silhouette_cosine", "local_anisotropy"), RESAMPLES))
