"""Profiles of the lesions: how much of the answers goes when a layer, its attention or its MLP goes.

Here rows of `lesions` become profiles. Which prompts enter, how terms are drawn and how controls are taken
off is in `effects`. How a layer is lesioned doesn't belong here.
"""

from collections.abc import Sequence

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

_KNOWN = pl.col("intact_correct").cast(pl.Float64)
_EFFECTS: dict[str, tuple[pl.Expr, pl.Expr | None]] = {
    "log_probability_drop": (pl.col("intact_log_probability") - pl.col("log_probability"), None),
    "accuracy_drop": (_KNOWN - pl.col("correct").cast(pl.Float64), _KNOWN),
    "kl": (pl.col("kl"), None),
}
"""The effect on a prompt, by metric, and what of it there is to lose."""


def lesion_profiles(
    concept: MeasuredConcept,
    controls: Sequence[MeasuredConcept] = (),
    *,
    seed: int = 0,
    resamples: int = 1000,
    permutations: int = 200,
) -> list[Profile]:
    """How far each layer's lesion takes the answers away, for one model and one concept.

    For each lesion, part, asked labelling and variant: the mean over terms (a term's prompts averaged first) of
    - `<lesion>[_attention|_mlp]_log_probability_drop`: intact less lesioned log-probability of the answer, in nats;
    - `…_accuracy_drop`: the same of the answer's being the top token;
    - `…_kl`: KL(intact || lesioned) over the vocabulary, in nats;

    and each with `_over_controls` at the end: the profile, scaled, less the mean of the controls' profiles, each
    scaled (`effects.profile_over_controls`): the drop of accuracy by the intact accuracy, others by their largest
    magnitude over the layers. A layer whose loss breaks every prompt is then near 0. Of controls main terms are read.
    Where the intact accuracy is under `LEAST_SHARE_KNOWN`, a control is left out of the
    accuracy's contrast, and a concept has none. The null is that of `profile_over_controls`; the other metrics have
    none, as no label plays a part in them.

    Args:
        concept: the concept with its rows of `lesions`.
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
    against = control_sets(concept.concept, controls)
    profiles: list[Profile] = []
    for key, found in concept.asked().group_by("labelling", "variant", "lesion", "part"):
        labelling, variant, lesion, part = map(str, key)
        same = [(name, control.filter(lesion=lesion, part=part)) for name, control in against]
        for name, expressions in _EFFECTS.items():
            own = Key("lesions", f"{lesion}{PART_ENDINGS[part]}_{name}", labelling, variant)
            effects = term_effects(concept.concept, found, *expressions)
            profiles.append(Profile(own, profile(effects, draws, variant, labelling), len(effects.terms)))
            others = [term_effects(other, control, *expressions) for other, control in same if len(control)]
            contrast = profile_over_controls(effects, others, draws, variant, labelling)
            if contrast is not None:
                profiles.append(Profile(own.over_controls(), contrast, len(effects.terms)))
    return profiles
