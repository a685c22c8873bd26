"""What each metric of a profile means, in a sentence, and the unit that it is counted in.

The one place where that is said: the atlas shows these sentences, and a test holds `docs/techniques.md` to them. How a
metric is computed is in the docstring of the function that does.
"""

OVER_CONTROLS = "_over_controls"
_OF_PEAK, _OF_RIGHT = "share of the peak", "share of the right answers"
_SCALED = {
    _OF_PEAK: ", each divided by its own highest layer",
    _OF_RIGHT: ", each divided by the answers that are right without a lesion",
}
"""How effects are made comparable before the controls are taken off, by the unit that comes of it."""


BASES: dict[str, tuple[str, str]] = {
    "silhouette_cosine": (
        "silhouette",
        "whether terms lie nearer to their own label than to the next: 1 is apart, 0 is mixed",
    ),
    "silhouette_umap": ("silhouette", "the same in 30 UMAP dimensions"),
    "r2_ridge": (
        "R²",
        "how well a straight line reads the number of a term that it has not seen: 1 is exactly, 0 not at all",
    ),
    "r2_umap": (
        "R²",
        "how well a straight line fits numbers in 30 UMAP dimensions, on the terms that it was made from",
    ),
    "local_anisotropy": ("share", "how far the nearest terms around a term lie along one direction: 1 is on a line"),
    "local_anisotropy_umap": ("share", "the same in 30 UMAP dimensions"),
    "r2_inside": ("R²", "how well a straight line through ages 20 to 60 reads ages in that range"),
    "r2_outside": ("R²", "how well the same line reads the ages outside that range"),
    "r2_across_sex": ("R²", "how well a line that was fitted on one sex reads the ages of the other"),
    "sex_distance": ("steps of a year", "how many times the distance of a year lies between the sexes at the same age"),
    "jumps_by_spelling": ("share", "how much of the jumps of age the number of tokens and the tens digit explain"),
    "jumps_by_number": (
        "share",
        "how much of the jumps of age numerals and spelled-out numbers have in common beyond spelling",
    ),
    "stage_order": ("rank correlation", "whether stages lie in their order: 1 is a straight course, 0 none"),
    "stage_nearest_early": ("share", "how many late stages have the first one as the nearest of the others"),
    "stage_circularity": (
        "mean distances",
        "whether the last stage is nearer to the first than to the middle one: above 0 it is",
    ),
    "stage_ring": ("rank correlation", "whether stages lie in order along a closed ring: 1 is a ring"),
    "stage_loop": ("share of the diameter", "how long the longest-lived loop of the stages lasts"),
    "severity_shared": ("cosine", "whether diseases move the same way with severity: 1 is one direction for all"),
    "effective_rank": ("directions", "over how many directions terms spread"),
    "mean_cosine": ("cosine", "how alike the terms are, over all pairs"),
    "norm": ("length", "how long the vectors of the terms are, in the mean"),
    "identity_log_probability_drop": ("nats", "what the answer loses when the layer is left out"),
    "identity_accuracy_drop": ("share of answers", "how many right answers are lost when the layer is left out"),
    "identity_kl": ("nats", "how far all next tokens move when the layer is left out"),
    "mean_log_probability_drop": ("nats", "what the answer loses when the layer adds what it adds on average"),
    "mean_accuracy_drop": (
        "share of answers",
        "how many right answers are lost when the layer adds what it adds on average",
    ),
    "mean_kl": ("nats", "how far all next tokens move when the layer adds what it adds on average"),
    "resample_log_probability_drop": (
        "nats",
        "what the answer loses when the layer adds what it adds in another prompt",
    ),
    "resample_accuracy_drop": (
        "share of answers",
        "how many right answers are lost when the layer adds what it adds in another prompt",
    ),
    "resample_kl": ("nats", "how far all next tokens move when the layer adds what it adds in another prompt"),
    "resid_restored": (
        "share restored",
        "how much of the clean answer comes back when the stream after the layer is patched in",
    ),
    "delta_restored": (
        "share restored",
        "how much of the clean answer comes back when the layer's own contribution is patched in",
    ),
    "attn_out_restored": (
        "share restored",
        "how much of the clean answer comes back when the attention's output is patched in",
    ),
    "mlp_out_restored": (
        "share restored",
        "how much of the clean answer comes back when the MLP's output is patched in",
    ),
    "mean_abs_gradient": (
        "nats per weight",
        "how much the loss of the answer hangs on a weight of the layer, whichever way",
    ),
    "loss_first_order_effect": (
        "nats",
        "gradient times weight, summed: below 0 the layer's weights hold the answer up",
    ),
    "logit_difference_first_order_effect": (
        "logits",
        "gradient times weight, summed: above 0 the layer's weights push the right answer over the wrong one",
    ),
}
"""Of each base its unit and its sentence."""

ENDINGS = {
    "_attention": "of the layer's attention alone",
    "_mlp": "of the layer's MLP alone",
    "_with_first_token": "over all tokens of a prompt, the first one counted in",
    OVER_CONTROLS: "less what the control concepts have at that layer",
    "_over_spelling": "what is left over spelling",
    "_over_token_count": "what is left over token counts",
    "_over_frequency": "what is left over how frequent terms are",
    "_over_embeddings": "what is left over the embeddings",
    "_over_rivals": "what is left over the largest of spelling, token counts, frequency and embeddings",
    "_over_untrained": "less what the untrained twin has at that layer",
    "_token_count_correlation": "as it goes along with the number of tokens, over terms",
    "_frequency_correlation": "as it goes along with how frequent terms are in English",
    "_step": "less the layer below",
}
"""What an ending adds."""


def meaning(metric: str) -> str:
    """A metric in a sentence; empty for a name that is none."""
    base, endings = _split(metric)
    if base is None:
        return ""
    scaled = _SCALED.get(unit_of(metric), "")
    told = BASES[base][1]
    told += "".join(f"; {ENDINGS[ending]}{scaled if ending == OVER_CONTROLS else ''}" for ending in endings)
    return f"{told[0].upper()}{told[1:]}."


def unit_of(metric: str) -> str:
    """What a metric is counted in; empty for a name that is none.

    Effects over controls are shares: of right answers, or of the layer where the concept has most (its peak), since
    effects of two sets of prompts don't compare (`effects.profile_over_controls`).
    """
    base, endings = _split(metric)
    if base is None:
        return ""
    if endings and endings[-1].endswith("_correlation"):
        return "rank correlation"
    if OVER_CONTROLS not in endings or not base.endswith(("_drop", "_kl", "_gradient", "_effect")):
        return BASES[base][0]
    return _OF_RIGHT if base.endswith("_accuracy_drop") else _OF_PEAK


def _split(metric: str) -> tuple[str | None, list[str]]:
    """The base of a metric and its endings, from the base on; of a lesion the part stands behind its kind."""
    endings: list[str] = []
    rest = metric
    for part in ("_attention", "_mlp"):
        for kind in ("identity", "mean", "resample"):
            if rest.startswith(f"{kind}{part}_"):
                rest = kind + rest.removeprefix(kind + part)
                endings.append(part)
    found: list[str] = []
    while rest not in BASES:
        ending = next((one for one in sorted(ENDINGS, key=len, reverse=True) if rest.endswith(one)), None)
        if ending is None:
            return None, []
        found.insert(0, ending)
        rest = rest.removesuffix(ending)
    return rest, [*endings, *found]
