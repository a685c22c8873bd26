"""Effects on prompts as profiles: their means over terms, layer by layer, and what is left of them over the controls.

Shared by `lesion_profiles`, `patch_profiles` and `saliency_profiles`, which say what is measured. Here it is said which
prompts enter, how a term's prompts become one number, how terms are drawn, and how a concept is compared with controls.
Profiles of activations don't belong here, nor do the intervals themselves: those are made in `resampling`.

Draws come from a seed, the labelling and the variant: they are the same for all layers and metrics, so steps are
paired. They are not stratified by label: a mean needs no label to be in each draw, and with strata of two terms
resamples show half of the variance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from analyses.resampling import Floats, bootstrap_counts, generator, permutations, share_interval
from analyses.series import Series
from warehouse.errors import InputError

PART_ENDINGS = {"layer": "", "attention": "_attention", "mlp": "_mlp"}
"""What a metric's name says of the part of the layer that it is about."""

LEAST_SHARE_KNOWN = 0.1
"""Accuracy of the intact model below which there are no right answers to lose; `lesion_effects` in SQL has it too."""


@dataclass(frozen=True)
class MeasuredConcept:
    """What one technique measured on the prompts of one concept, for one model.

    Attributes:
        concept: the concept.
        measured: its rows of `lesions`, `patches` or `saliency`.
        prompts: its rows of `prompts`.
        terms: its rows of `terms`.
    """

    concept: str
    measured: pa.Table
    prompts: pa.Table
    terms: pa.Table

    def asked(self) -> pl.DataFrame:
        """What was measured on asking prompts that are not held out, with the `labelling` and `variant` of each."""
        prompts = _frame(self.prompts).filter(
            (pl.col("template_kind") == "asking") & ~pl.col("held_out") & pl.col("labelling").is_not_null()
        )
        return (
            _frame(self.measured)
            .join(prompts.select("template", "term", "labelling"), on=["template", "term"])
            .join(_frame(self.terms).select("term", "variant"), on="term")
        )


def known_labellings(lesioned: MeasuredConcept) -> dict[str, bool]:
    """Whether the intact model knows the answers that are asked for, by labelling, on main terms.

    It does where it is right in at least `LEAST_SHARE_KNOWN` of the prompts, and more often than whoever always gives
    the most frequent answer: the lower end of Wilson's 95% interval lies above the share of that answer.

    Args:
        lesioned: a concept with its rows of `lesions`, which tell of the intact model too.
    """
    first = lesioned.asked().filter(variant="", layer=0).unique(["template", "term"])
    answered = first.join(_frame(lesioned.prompts).select("template", "term", "answer"), on=["template", "term"])
    known = {}
    for (labelling,), rows in answered.group_by("labelling"):
        right = int(rows["intact_correct"].sum())
        most_frequent = float(rows["answer"].value_counts()["count"].max() or 0) / len(rows)  # type: ignore[arg-type]
        low, _ = share_interval(right, len(rows))
        known[str(labelling)] = right / len(rows) >= LEAST_SHARE_KNOWN and low > most_frequent
    return known


@dataclass(frozen=True)
class TermEffects:
    """An effect on each term at each layer.

    Attributes:
        concept: whose terms they are; draws are named after it.
        terms: the terms.
        values: shape (layers, terms).
        to_lose: what of each term there is to lose, shape (terms,); None where an effect is read against the concept's
            largest one.
    """

    concept: str
    terms: tuple[str, ...]
    values: Floats
    to_lose: Floats | None = None


@dataclass(frozen=True)
class Draws:
    """How many draws there are, and the seed that they come from."""

    seed: int
    resamples: int
    permutations: int = 0

    def counts(self, terms: int, *names: str) -> Floats:
        """How often each resample takes each term, shape (terms, resamples), the same for the same names."""
        return bootstrap_counts(terms, self.resamples, generator(self.seed, *names)).astype(np.float64)

    def exchanged(self, groups: NDArray[np.intp], *names: str) -> NDArray[np.intp]:
        """The group of each term when terms are dealt out anew to groups of the same sizes, (terms, permutations)."""
        rng = generator(self.seed, "exchanged", *names)
        return groups[permutations(len(groups), self.permutations, rng)]


def control_sets(concept: str, controls: Sequence[MeasuredConcept]) -> list[tuple[str, pl.DataFrame]]:
    """What a concept is compared with: for each other control, by asked labelling, what was measured on main terms."""
    sets = []
    for control in controls:
        if control.concept != concept:
            asked = control.asked().filter(pl.col("variant") == "")
            sets += [(control.concept, rows) for _, rows in sorted(asked.group_by("labelling"), key=itemgetter(0))]
    return sets


def term_effects(concept: str, rows: pl.DataFrame, value: pl.Expr, to_lose: pl.Expr | None = None) -> TermEffects:
    """The mean over each term's prompts, at each layer.

    Args:
        concept: whose terms they are.
        rows: one row a layer and prompt.
        value: the effect on a prompt.
        to_lose: what there is to lose of a prompt, the same at each layer.

    Raises:
        InputError: layers are not 0, 1, … or a prompt is missing at some.
    """
    wanted = {"value": value.mean(), "count": pl.len()}
    if to_lose is not None:
        wanted["to_lose"] = to_lose.mean()
    means = rows.group_by("layer", "term").agg(**wanted).sort("layer", "term")
    layers, terms = means["layer"].unique().sort().to_list(), means["term"].unique().sort().to_list()
    shape = (len(layers), len(terms))
    complete = layers == list(range(len(layers))) and len(means) == shape[0] * shape[1]
    if not complete or np.ptp(means["count"].to_numpy().reshape(shape), axis=0).any():
        raise InputError(
            f"Not every prompt of {concept} was measured at every layer (layers {', '.join(map(str, layers))}, "
            f"{len(terms)} terms, {len(rows)} rows): extract this concept again with its present prompts."
        )
    known = means["to_lose"].to_numpy().reshape(shape)[0] if to_lose is not None else None
    return TermEffects(concept, tuple(terms), means["value"].to_numpy().reshape(shape), known)


def profile(effects: TermEffects, draws: Draws, *names: str) -> Series:
    """The mean over terms at each layer, with its resamples; terms are drawn as in `profile_over_controls`."""
    counts = draws.counts(len(effects.terms), *names, effects.concept)
    return Series(effects.values.mean(axis=1), _means(effects.values, counts))


def profile_over_controls(
    effects: TermEffects, controls: Sequence[TermEffects], draws: Draws, *names: str
) -> Series | None:
    """A concept's profile, scaled, less the mean of the controls' profiles, each scaled in the same way.

    A raw effect doesn't compare between sets of prompts: of facts that are known better there is more to lose. So each
    set's mean profile is divided by what it has to lose (`to_lose`: the share of right answers that is lost), or by its
    own largest magnitude over the layers (the share of what the worst layer does, with its sign). The answer's intact
    log-probability is no such scale: it is near 0 for what is known well.

    Resamples redraw the terms of the concept and of each control, and scale anew. The null deals the terms out anew to
    sets of the same sizes: it is what the difference would be if concept and controls were hit in the same layers.

    Args:
        effects: the concept's.
        controls: those of the control concepts; those that have too little to lose are left out.
        draws: the resamples and permutations.
        names: what the draws are named after.

    Returns:
        None where there is no control, or the concept itself has too little to lose.

    Raises:
        InputError: concept and controls were not measured at the same layers.
    """
    sets = [effects, *(control for control in controls if _has_something_to_lose(control))]
    if len(sets) == 1 or not _has_something_to_lose(effects):
        return None
    if len({len(each.values) for each in sets}) > 1:
        raise InputError(
            f"{effects.concept} and its controls ({', '.join(each.concept for each in sets[1:])}) were measured at "
            "different layers: extract them again with one model."
        )
    sizes = [len(each.terms) for each in sets]
    groups = np.repeat(np.arange(len(sets)), sizes)
    values = np.concatenate([each.values for each in sets], axis=1)
    losable = [each.to_lose for each in sets if each.to_lose is not None]
    to_lose = np.concatenate(losable) if losable else None
    counts = np.concatenate([draws.counts(len(each.terms), *names, each.concept) for each in sets])
    return Series(
        _contrast(values, to_lose, groups[:, None])[:, 0],
        _contrast(values, to_lose, groups[:, None], counts),
        _contrast(values, to_lose, draws.exchanged(groups, *names)) if draws.permutations else None,
    )


def _has_something_to_lose(effects: TermEffects) -> bool:
    if effects.to_lose is not None:
        return bool(effects.to_lose.mean() >= LEAST_SHARE_KNOWN)
    return bool(effects.values.mean(axis=1).any())


def _contrast(values: Floats, to_lose: Floats | None, groups: NDArray[np.intp], counts: Floats | None = None) -> Floats:
    """The first group's scaled profile less the mean of the others'.

    Args:
        values: shape (layers, terms).
        to_lose: shape (terms,), or None.
        groups: the group of each term, shape (terms, draws) or (terms, 1).
        counts: how often each term is taken, shape (terms, draws); once if None.

    Returns:
        Shape (layers, draws); not finite where a scale is 0.
    """
    shares = []
    for group in range(int(groups.max()) + 1):
        members = (groups == group).astype(np.float64)
        weights = members if counts is None else members * counts
        means = _means(values, weights)
        scale = np.abs(means).max(axis=0) if to_lose is None else _means(to_lose[None], weights)[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            shares.append(means / scale)
    return np.asarray(shares[0] - np.mean(shares[1:], axis=0))


def _means(values: Floats, weights: Floats) -> Floats:
    """Weighted means over terms: (layers, terms) by (terms, draws)."""
    return np.asarray(values @ weights / weights.sum(axis=0))


def _frame(rows: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(rows)
    if not isinstance(frame, pl.DataFrame):
        raise InputError(f"Expected a table of rows, got {type(rows).__name__}.")
    return frame
