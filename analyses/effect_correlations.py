"""Do effects follow the number of tokens, or frequency? How a term's effect goes along with either, layer by layer.

Lesions, patches and gradients compare no labels, so spelling and embeddings are no rivals of theirs. Their own
confounds are numbers of terms: one of many tokens, or one that is rare, can be hit harder for that alone. What these
numbers make of the activations' profiles is in `rivals`; what is left of lesions and saliency over the controls in
`effects`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from analyses.effects import Draws, MeasuredConcept, TermEffects, term_effects
from analyses.patch_profiles import LEAST_DIFFERENCE
from analyses.resampling import Floats
from analyses.series import Key, Profile, Series
from analyses.term_numbers import TermNumber
from warehouse.errors import InputError

CORRELATION = "_correlation"
"""Ends the name of a metric's correlation with a number of terms; that number's name stands before it."""

_SAME = 1e-5
"""Effects that differ by less, relative to the largest, are the same: logits are in float32, and are subtracted."""


def effect_correlations(
    technique: str, concept: MeasuredConcept, numbers: Sequence[TermNumber], *, seed: int = 0, resamples: int = 1000
) -> list[Profile]:
    """Spearman's rank correlation between a term's effect and its number of tokens, or its frequency, at each layer.

    Of lesions `<lesion>_log_probability_drop` (whole layers), of patches `<site>_restored` (a term's pairs: the ratio
    of sums over those whose clean run is above the corrupted one by `LEAST_DIFFERENCE`), of saliency
    `logit_difference_first_order_effect` (whole layers); each with `_token_count_correlation` or
    `_frequency_correlation` at the end, for each asked labelling and variant. 0 at a layer that has the same effect on
    all terms; no profile where all terms have the same number. Intervals redraw terms, and ranks are taken anew.

    Args:
        technique: `lesions`, `patches` or `saliency`.
        concept: the concept with its rows of that table.
        numbers: those of the concept's terms, from `term_numbers`.
        seed: of the draws.
        resamples: bootstrap resamples.

    Raises:
        InputError: another technique, a prompt that lacks a layer, or a term without a number.
    """
    draws = Draws(seed, resamples)
    profiles = []
    for key, effects in _effects(technique, concept):
        drawn = draws.counts(len(effects.terms), key.variant, key.labelling, concept.concept)
        by_number = {number.name: number.of(effects.terms, concept.concept) for number in numbers}
        varied = {name: others for name, others in by_number.items() if np.ptp(others) > 0}
        if not varied:
            continue
        together = np.stack(list(varied.values()))
        values = rank_correlations(effects.values, together, np.ones((len(effects.terms), 1)))[:, :, 0]
        resampled = rank_correlations(effects.values, together, drawn)
        for name, value, draws_of in zip(varied, values, resampled, strict=True):
            named = replace(key, metric=f"{key.metric}_{name}{CORRELATION}")
            profiles.append(Profile(named, Series(value, draws_of), len(effects.terms)))
    return profiles


def _effects(technique: str, concept: MeasuredConcept) -> Iterator[tuple[Key, TermEffects]]:
    asked = concept.asked()
    if technique == "lesions":
        value = pl.col("intact_log_probability") - pl.col("log_probability")
        for names, rows in asked.filter(part="layer").group_by("labelling", "variant", "lesion", maintain_order=True):
            labelling, variant, lesion = map(str, names)
            key = Key(technique, f"{lesion}_log_probability_drop", labelling, variant)
            yield key, term_effects(concept.concept, rows, value)
    elif technique == "patches":
        kept = asked.filter(
            pl.col("position") != "token", pl.col("ld_clean") - pl.col("ld_corrupted") >= LEAST_DIFFERENCE
        )
        restored = (pl.col("ld_patched") - pl.col("ld_corrupted")).sum()
        whole = (pl.col("ld_clean") - pl.col("ld_corrupted")).sum()
        for names, rows in kept.group_by("labelling", "variant", "site", "position", maintain_order=True):
            labelling, variant, site, position = map(str, names)
            key = Key(technique, f"{site}_restored", labelling, variant, position)
            shares = rows.group_by("layer", "term", maintain_order=True).agg((restored / whole).alias("value"))
            yield key, term_effects(concept.concept, shares, pl.col("value"))
    elif technique == "saliency":
        wanted = asked.filter(target="logit_difference")
        for names, rows in wanted.group_by("labelling", "variant", maintain_order=True):
            labelling, variant = map(str, names)
            key = Key(technique, "logit_difference_first_order_effect", labelling, variant)
            pushes = rows.group_by("layer", "template", "term").agg(pl.col("first_order_effect").sum())
            yield key, term_effects(concept.concept, pushes, pl.col("first_order_effect"))
    else:
        raise InputError(f"{technique!r} has no effects on terms: give lesions, patches or saliency.")


def rank_correlations(values: Floats, others: Floats, counts: Floats) -> Floats:
    """Spearman's correlation, ties sharing their mean rank, for all draws at once.

    The rank of a term in a draw is the number of drawn terms below it and half of those that tie with it, so ranks are
    a product of one matrix of comparisons with the counts. That product is most of the work: it is done once a layer.

    Args:
        values: shape (layers, terms).
        others: what they are correlated with, shape (numbers, terms).
        counts: how often each draw takes each term, shape (terms, draws).

    Returns:
        Shape (numbers, layers, draws); 0 where either is the same for all terms that were drawn.
    """
    rights = [_centred_ranks(each, counts) for each in others]
    squares = [(counts * right * right).sum(axis=0) for right in rights]
    found = np.empty((len(others), len(values), counts.shape[1]))
    for layer, each in enumerate(values):
        left = _centred_ranks(each, counts)
        weighed = counts * left
        square = (weighed * left).sum(axis=0)
        for number, (right, other) in enumerate(zip(rights, squares, strict=True)):
            shared, norm = (weighed * right).sum(axis=0), square * other
            found[number, layer] = np.divide(shared, np.sqrt(norm), out=np.zeros_like(shared), where=norm > 0)
    return found


def _centred_ranks(values: Floats, counts: Floats) -> Floats:
    """Ranks less their mean, by draw, shape (terms, draws); all 0 where values are the same but for rounding."""
    if np.ptp(values) <= _SAME * np.abs(values).max():
        return np.zeros(counts.shape)
    below = (values[:, None] > values).astype(np.float64) - (values[:, None] < values)
    # Terms below less terms above is twice the rank less its mean: it is centred already.
    return np.asarray(below @ counts)
