"""Profiles of the patches: how much of the answer comes back with the clean run's activation, layer by layer.

Here rows of `patches` become profiles, for the positions `last` and `term`; the full grid over tokens has no
profile. Which prompts enter is in `effects`. How a run is patched doesn't belong here.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from analyses.effects import Draws, MeasuredConcept
from analyses.resampling import Floats, calibrated_pairs
from analyses.series import STEP, Key, Profile, Series
from warehouse.errors import InputError

LEAST_DIFFERENCE = 0.5
"""By how many logits the clean run's difference must exceed the corrupted run's; the macro `differs` in SQL has it too.

A pair below has nothing to restore: the model gives both prompts the same answer, or the wrong ones. With it, the
denominator would be carried by pairs of the wrong sign. Half a logit is four steps of bfloat16 at logits of 16 to 32.
"""

_PAIR = ("template", "term", "corrupting_term")


@dataclass(frozen=True)
class _Pairs:
    """The pairs that are kept, templates put together.

    Attributes:
        terms: how many clean terms there are.
        all_terms: how many terms there are, corrupting ones counted in.
        clean: place of each pair's clean term among all terms, shape (pairs,).
        corrupting: place of its corrupting term, shape (pairs,).
        restored: patched less corrupted logit difference, shape (layers, pairs).
        whole: clean less corrupted logit difference, shape (pairs,).
    """

    terms: int
    all_terms: int
    clean: NDArray[np.intp]
    corrupting: NDArray[np.intp]
    restored: Floats
    whole: Floats


def patch_profiles(concept: MeasuredConcept, *, seed: int = 0, resamples: int = 1000) -> list[Profile]:
    """How much of the answer a patch at each layer restores, for one model and one concept.

    For each site, position, asked labelling and variant, `<site>_restored`: the paper's P, as a ratio of sums over
    pairs, sum(patched - corrupted) / sum(clean - corrupted) of logit differences. Pairs whose clean run isn't above the
    corrupted one by `LEAST_DIFFERENCE` are left out (the view `patch_effects` counts them).

    Of the site `resid` also `resid_restored_step`, the change from the layer below. At the last token it begins at
    layer 0: both prompts have the same token there, so a patch of the embedding output restores nothing. At the
    term's token, and where a prompt ends with its term, it begins at layer 1. Of a layer's own contribution a step
    says nothing.

    Intervals redraw terms, and a pair is taken as often as its clean term times its corrupting one (vertex bootstrap,
    T. Snijders and S. Borgatti, Connections 22, 1999): pairs that share a term, on either side, hang together. Such
    draws spread too much by what belongs to the pair alone, and are scaled (`resampling.calibrated_pairs`). *Measured*
    on simulated pairs of 60 terms, whether terms or pairs count more: 95 to 97 of 100 intervals hold the truth; of 20
    to 30 terms 91 to 94. There is no null, as no label plays a part.

    Args:
        concept: the concept with its rows of `patches`.
        seed: of the draws.
        resamples: bootstrap resamples.

    Returns:
        Profiles: template kind `asking`, positions `last` and `term`; `n` counts clean terms.

    Raises:
        InputError: a pair lacks a layer.
    """
    draws = Draws(seed, resamples)
    goes_on = _prompts_that_go_on(concept.prompts)
    profiles: list[Profile] = []
    patched = concept.asked().filter(pl.col("position") != "token")
    for key, found in patched.group_by("labelling", "variant", "site", "position"):
        labelling, variant, site, position = map(str, key)
        kept = found.filter(pl.col("ld_clean") - pl.col("ld_corrupted") >= LEAST_DIFFERENCE)
        if not len(kept):
            continue
        pairs = _pairs(kept)
        counts = draws.counts(pairs.all_terms, variant, labelling)
        same_token = position == "last" and not len(kept.join(goes_on, on=["template", "term"], how="anti"))
        for metric, measured in _metrics(site, pairs, counts, same_token=same_token):
            named = Key("patches", metric, labelling, variant, position)
            profiles.append(Profile(named, measured, pairs.terms))
    return profiles


def _metrics(site: str, pairs: _Pairs, counts: Floats, *, same_token: bool) -> Iterator[tuple[str, Series]]:
    name = f"{site}_restored"
    yield name, _restored(pairs, pairs.restored, counts)
    if site == "resid" and same_token:
        yield name + STEP, _restored(pairs, np.diff(pairs.restored, axis=0, prepend=0.0), counts)
    elif site == "resid" and len(pairs.restored) > 1:
        yield name + STEP, _restored(pairs, np.diff(pairs.restored, axis=0), counts, first=1)


def _restored(pairs: _Pairs, restored: Floats, counts: Floats, first: int = 0) -> Series:
    """The ratio of sums; not finite in draws that hold no pair."""
    weights = counts[pairs.clean] * counts[pairs.corrupting]
    value = restored.sum(axis=1) / pairs.whole.sum()
    with np.errstate(invalid="ignore"):
        resampled = restored @ weights / (pairs.whole @ weights)
    influence = (restored - value[:, None] * pairs.whole) / pairs.whole.sum()
    return Series(value, calibrated_pairs(value, resampled, influence, pairs.clean, pairs.corrupting), first=first)


def _pairs(kept: pl.DataFrame) -> _Pairs:
    """The kept pairs as arrays.

    Raises:
        InputError: layers are not 0, 1, … or a pair is missing at some.
    """
    ordered = kept.sort("layer", *_PAIR)
    layers = ordered["layer"].unique().sort().to_list()
    complete = (ordered.group_by(_PAIR).len()["len"] == len(layers)).all()
    pairs = ordered.filter(pl.col("layer") == layers[0])
    if not complete or layers != list(range(len(layers))):
        raise InputError(
            f"Not every pair was patched at every layer (layers {', '.join(map(str, layers))}, {len(ordered)} "
            f"patches of {len(pairs)} pairs): extract this concept again with its present prompts."
        )
    restored = (ordered["ld_patched"] - ordered["ld_corrupted"]).to_numpy().reshape(len(layers), len(pairs))
    names = sorted({*pairs["term"], *pairs["corrupting_term"]})
    places = {name: place for place, name in enumerate(names)}
    return _Pairs(
        terms=pairs["term"].n_unique(),
        all_terms=len(names),
        clean=np.array([places[term] for term in pairs["term"]], dtype=np.intp),
        corrupting=np.array([places[term] for term in pairs["corrupting_term"]], dtype=np.intp),
        restored=restored,
        whole=(pairs["ld_clean"] - pairs["ld_corrupted"]).to_numpy(),
    )


def _prompts_that_go_on(prompts: pa.Table) -> pl.DataFrame:
    """The prompts with a whole word behind their term: their last token is the template's, the same for every term."""
    frame = pl.DataFrame(prompts)
    rest = pl.col("text").str.slice(pl.col("term_end"))
    return frame.filter(rest.str.contains(r"\s\S")).select("template", "term")
