"""Profiles of saliency: how large the gradients of a layer's weights are, and which way its weights push the answer.

Here rows of `saliency` become profiles. Which prompts enter, how terms are drawn and how controls are taken
off is in `effects`. How gradients are taken doesn't belong here.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import polars as pl

from analyses.effects import (
    PART_ENDINGS,
    Draws,
    MeasuredConcept,
    control_sets,
    profile,
    profile_over_controls,
    term_effects,
)
from analyses.series import Key, Profile

_SIZE = pl.col("size").sum() / pl.col("weights").sum()
_PUSH = pl.col("first_order_effect").sum()
_VALUE = pl.col("value")
_METRICS = {
    "mean_abs_gradient": ("loss", _SIZE),
    "loss_first_order_effect": ("loss", _PUSH),
    "logit_difference_first_order_effect": ("logit_difference", _PUSH),
}
"""The target that a metric is of, and what makes one number of a prompt's modules, or of its parts."""


def saliency_profiles(
    concept: MeasuredConcept,
    controls: Sequence[MeasuredConcept] = (),
    *,
    seed: int = 0,
    resamples: int = 1000,
    permutations: int = 200,
) -> list[Profile]:
    """How each layer's weights bear on the answer, for one model and one concept.

    For each labelling that is asked for and each variant, of the whole layer (norms and all) and, with `_attention` or
    `_mlp` behind, of that part: the mean over terms (a term's prompts averaged first) of
    - `mean_abs_gradient`: mean of |g| over the weights, modules weighed by their weights; g is of the answer's loss;
    - `loss_first_order_effect`, `logit_difference_first_order_effect`: Σ g·w over the modules, for either target. It is
      signed: weights that hold the answer up lower the loss (below 0) and raise the logit difference (above 0).

    Each also with `_over_controls` at the end: the profile divided by its largest magnitude over the layers, less the
    mean of the controls' profiles, scaled alike, with the null of `effects.profile_over_controls`; its p-value is
    that of large values, which for the loss are harm. The other metrics have no null, as no label plays a part in
    them.

    Args:
        concept: the concept with its rows of `saliency`.
        controls: the control concepts with theirs, possibly none; each labelling asked for is a set of its own. The
            concept itself is passed over.
        seed: of the draws.
        resamples: bootstrap resamples.
        permutations: of terms over concept and controls.

    Returns:
        Profiles: template kind `asking`, position `last`.

    Raises:
        InputError: a prompt lacks a layer, or a control was measured at other layers than the concept.
    """
    draws = Draws(seed, resamples, permutations)
    against = [(name, _parts(rows)) for name, rows in control_sets(concept.concept, controls)]
    profiles: list[Profile] = []
    for key, found in concept.asked().group_by("labelling", "variant"):
        labelling, variant = map(str, key)
        parts = _parts(found)
        for metric, of_parts in _metrics():
            prompts = of_parts(parts)
            if not len(prompts):
                continue
            own = Key("saliency", metric, labelling, variant)
            effects = term_effects(concept.concept, prompts, _VALUE)
            profiles.append(Profile(own, profile(effects, draws, variant, labelling), len(effects.terms)))
            others = [term_effects(name, same, _VALUE) for name, control in against if len(same := of_parts(control))]
            contrast = profile_over_controls(effects, others, draws, variant, labelling)
            if contrast is not None:
                profiles.append(Profile(own.over_controls(), contrast, len(effects.terms)))
    return profiles


def _parts(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a prompt, layer, target and part, of one row a module: what all metrics are made from."""
    return rows.group_by("layer", "template", "term", "target", "part").agg(
        (pl.col("mean_abs_gradient") * pl.col("weights")).sum().alias("size"),
        pl.col("weights").sum(),
        _PUSH,
    )


def _metrics() -> Iterator[tuple[str, Callable[[pl.DataFrame], pl.DataFrame]]]:
    """Each metric, and what makes one row a layer and prompt of the rows of parts."""
    for name, (target, value) in _METRICS.items():
        for part, ending in PART_ENDINGS.items():
            chosen = (pl.col("target") == target) & (pl.lit(part == "layer") | (pl.col("part") == part))
            yield name + ending, partial(_of_parts, chosen=chosen, value=value)


def _of_parts(rows: pl.DataFrame, chosen: pl.Expr, value: pl.Expr) -> pl.DataFrame:
    return rows.filter(chosen).group_by("layer", "template", "term").agg(value.alias("value"))
