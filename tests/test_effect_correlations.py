"""Whether effects follow the number of tokens or the frequency of terms, beside scipy and loops over terms."""

import numpy as np
import pytest
from effect_rows import concept, filled
from scipy.stats import spearmanr

from analyses.effect_correlations import effect_correlations, rank_correlations
from analyses.effects import Draws
from analyses.resampling import bootstrap_counts
from analyses.series import profiles_table
from analyses.term_numbers import term_numbers
from warehouse.errors import InputError
from warehouse.tables import table
from warehouse.validation import validate

TERMS = [f"drug-{i:02d}" for i in range(30)]
LENGTHS = dict(zip(TERMS, np.random.default_rng(1).integers(1, 5, size=len(TERMS)).tolist(), strict=True))
TOKENS = filled(
    "tokens",
    [{"template": template, "term": term, "term_tokens": LENGTHS[term]} for template in ("t1", "t2") for term in TERMS],
)
FREQUENCIES = filled("frequencies", [{"term": term, "zipf_frequency": 6 - LENGTHS[term]} for term in TERMS])
"""The longer, the rarer: effects follow them with the other sign."""
DRAWN = {"resamples": 50}
RNG = np.random.default_rng(2)
NOISE = {(template, term): RNG.normal() for template in ("t1", "t2", "held") for term in TERMS}


def effect(layer, template, term):
    """By chance at layer 0, by length at layer 1, the same for all terms at layer 2, against length at layer 3."""
    length = LENGTHS[term]
    return (NOISE[template, term], length + 0.5 * NOISE[template, term], 3.0, -2.0 * length)[layer]


def lesions(template, term):
    for layer in range(4):
        drop = effect(layer, template, term)
        row = {"lesion": "resample", "layer": layer, "log_probability": -9 - drop, "intact_log_probability": -9.0}
        yield row | {"part": "layer"}
        yield row | {"part": "mlp"}


def patches(template, term):
    for layer in range(4):
        for corrupting, whole in (("drug-00", 2.0), ("drug-01", 4.0), ("drug-02", 0.1)):
            part = effect(layer, template, term) * whole if whole >= 0.5 else 99.0 * layer
            row = {"corrupting_term": corrupting, "ld_clean": whole, "ld_corrupted": 0.0, "ld_patched": part}
            yield row | {"site": "delta", "layer": layer, "position": "last"}


def gradients(template, term):
    for layer in range(4):
        for module, share in (("q", 0.25), ("down", 0.75)):
            row = {"layer": layer, "module": module, "first_order_effect": share * effect(layer, template, term)}
            yield row | {"target": "logit_difference"}
            yield row | {"target": "loss", "first_order_effect": 1.0}


MEASURED = {"lesions": lesions, "patches": patches, "saliency": gradients}
METRICS = {
    "lesions": "resample_log_probability_drop",
    "patches": "delta_restored",
    "saliency": "logit_difference_first_order_effect",
}


def correlations(technique, tokens=TOKENS, frequencies=FREQUENCIES, **more):
    measured = concept("drugs", technique, MEASURED[technique], TERMS)
    return effect_correlations(technique, measured, term_numbers(tokens, frequencies), **DRAWN | more)


def test_ranks_are_correlated_as_scipy_does_on_the_terms_that_a_draw_takes():
    rng = np.random.default_rng(3)
    values = rng.integers(6, size=(4, 25)).astype(float)  # with ties
    others = rng.integers(4, size=(2, 25)).astype(float)
    counts = bootstrap_counts(25, 12, rng).astype(float)
    found = rank_correlations(values, others, counts)
    for layer in range(4):
        for draw in range(12):
            taken = np.repeat(np.arange(25), counts[:, draw].astype(int))
            for number in range(2):
                slow = spearmanr(values[layer, taken], others[number, taken]).statistic
                assert found[number, layer, draw] == pytest.approx(slow)


@pytest.mark.parametrize("technique", MEASURED)
def test_an_effect_that_follows_the_token_count_is_told_from_one_that_does_not(technique):
    found, other = correlations(technique)
    assert (found.key.metric, found.terms) == (f"{METRICS[technique]}_token_count_correlation", len(TERMS))
    assert (other.key.metric, other.terms) == (f"{METRICS[technique]}_frequency_correlation", len(TERMS))
    np.testing.assert_allclose(other.series.value, -found.series.value, atol=1e-12)
    np.testing.assert_allclose(other.series.resampled, -found.series.resampled, atol=1e-12)
    assert (found.key.technique, found.key.position, found.series.permuted) == (technique, "last", None)
    lengths = [LENGTHS[term] for term in TERMS]
    for layer in (0, 1):
        means = [np.mean([effect(layer, template, term) for template in ("t1", "t2")]) for term in TERMS]
        assert found.series.value[layer] == pytest.approx(spearmanr(means, lengths).statistic)
    assert abs(found.series.value[0]) < 0.3
    assert found.series.value[1] > 0.7
    assert (found.series.value[2], found.series.resampled[2].any()) == (0, False)
    assert found.series.value[3] == pytest.approx(-1)


def test_terms_are_drawn_as_for_the_profile_of_the_effect_itself():
    found, _ = correlations("lesions", seed=4)
    counts = Draws(4, 50).counts(len(TERMS), "", "colour", "drugs")[:, 7].astype(int)
    taken = np.repeat(np.arange(len(TERMS)), counts)
    means = np.array([np.mean([effect(1, template, term) for template in ("t1", "t2")]) for term in TERMS])
    lengths = np.array([LENGTHS[term] for term in TERMS])
    assert found.series.resampled[1, 7] == pytest.approx(spearmanr(means[taken], lengths[taken]).statistic)


def test_rows_pass_the_registry():
    validate(table("profiles"), profiles_table([each for name in MEASURED for each in correlations(name)]))


def test_terms_of_one_length_have_no_correlation():
    alike = filled("tokens", [{"template": "t1", "term": term, "term_tokens": 2} for term in TERMS])
    (found,) = correlations("lesions", alike)
    assert found.key.metric.endswith("_frequency_correlation")


def test_a_term_without_a_number_and_a_technique_without_effects_are_refused():
    with pytest.raises(InputError, match="1 of 30 terms of drugs have no token count, 'drug-29'"):
        correlations("lesions", TOKENS.filter([term != TERMS[-1] for term in TOKENS["term"].to_pylist()]))
    measured = concept("drugs", "lesions", lesions, TERMS)
    with pytest.raises(InputError, match="'activations' has no effects"):
        effect_correlations("activations", measured, term_numbers(TOKENS, FREQUENCIES))
