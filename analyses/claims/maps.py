"""Claims about maps: how deep knowledge lies, whether it is localised, whether techniques and remade maps agree.

They read `localisations`, `marks`, `knowledge_map`, `regions` and raw profiles; how a map is drawn is in `mapping`.
"""

from itertools import combinations

import numpy as np
import polars as pl

from analyses.claims.claim import (
    OURS,
    PAPER,
    Claim,
    Evidence,
    Measured,
    Missing,
    at_least,
    counted,
    mean_of_independent,
    named_rows,
)
from analyses.numerals import percent, two
from analyses.relations import overlap
from analyses.resampling import generator, share_interval

_MARKED = 0.5
_REPEATS = 2000
_RAW, _CONTRAST = "identity_log_probability_drop", "resample_log_probability_drop_over_controls"
_NO_MAP = "No consensus map of a medical concept is there: run the model with lesions and patches, and draw the maps."


def first_half(evidence: Evidence) -> Measured | Missing:
    """The mean over medical concepts of the share of their weight in the first half of the layers."""
    rows = evidence.medical("localisations", mode="consensus", labelling="")
    if rows.is_empty():
        return Missing(_NO_MAP)
    told = rows.filter(
        pl.col("first_half_share").is_not_null(), pl.col("verdict").is_in(["localised", "not localised"])
    )
    if told.is_empty():
        return Missing("No medical concept has a causal effect to weigh: run lesions or patches on answers it knows.")
    mean, low, high = mean_of_independent(told, "first_half_share", "first_half_low", "first_half_high")
    each = ", ".join(
        f"{row['concept']} {percent(row['first_half_share'])}" for row in told.sort("concept").iter_rows(named=True)
    )
    return Measured(
        mean,
        low,
        high,
        basis=f"{counted(len(told), 'medical concept')}, each weighing the same; layers weighed by causal contrasts",
        said=f"{percent(mean)} of the weight of medical knowledge ({percent(low)} to {percent(high)}) lies in the "
        f"first half of the layers: {each}.",
    )


def localised(evidence: Evidence) -> Measured | Missing:
    """The share of the labellings of medical concepts that sit in some layers."""
    rows = evidence.medical("localisations", mode="consensus").filter(pl.col("labelling") != "")
    if rows.is_empty():
        return Missing(_NO_MAP)
    rows = rows.sort("concept", "labelling")
    told = rows.filter(pl.col("verdict").is_in(["localised", "not localised"]))
    unknown, unmeasured = (rows.filter(pl.col("verdict") == verdict) for verdict in ("not known", "not measured"))
    rest = [f"Not known to the model: {named_rows(unknown)}."] if len(unknown) else []
    rest += [f"Not measured: {named_rows(unmeasured)}."] if len(unmeasured) else []
    if told.is_empty():
        return Missing(" ".join(["No labelling of a medical concept could be judged.", *rest]))
    found = told.filter(pl.col("verdict") == "localised")
    spread = told.filter(pl.col("verdict") == "not localised")
    places = "; ".join(
        f"{row['concept']} · {row['labelling']} in {row['places']}" for row in found.iter_rows(named=True)
    )
    said = [f"{len(found)} of {counted(len(told), 'labelling')} of medical concepts sit in some layers"]
    said[0] += f": {places}." if places else "."
    said += [f"Not localised: {named_rows(spread)}."] if len(spread) else []
    low, high = share_interval(len(found), len(told))
    basis = f"{counted(len(told), 'labelling')} that the model knows and that were lesioned or patched"
    return Measured(len(found) / len(told), low, high, basis, " ".join(said + rest))


def techniques_agree(evidence: Evidence) -> Measured | Missing:
    """How often lesions and patches name the same layer, give or take a tenth of the stack, against chance.

    The layer that a technique names is the one that stands out in most resamples; of several, the strongest.
    """
    marks = evidence.medical("marks", mode="consensus").filter(pl.col("technique").is_in(["lesions", "patches"]))
    layers = int(marks["layer"].max() or 0) + 1  # type: ignore[arg-type]
    tolerance = layers // 10
    favourites = (
        marks.filter(pl.col("marked") >= _MARKED)
        .sort("marked", "value", "layer", descending=[True, True, False])
        .unique(["concept", "labelling", "technique"], keep="first", maintain_order=True)
    )
    keys = ["concept", "labelling"]
    both = favourites.filter(technique="lesions").join(favourites.filter(technique="patches"), on=keys).sort(keys)
    if both.is_empty():
        return Missing("No medical labelling is marked by lesions and by patches: run both on answers the model knows.")
    apart = (both["layer"].cast(pl.Int64) - both["layer_right"].cast(pl.Int64)).abs()
    hits = int((apart <= tolerance).sum())
    within = [
        (min(layers - 1, layer + tolerance) - max(0, layer - tolerance) + 1) / layers
        for layer in both["layer"].to_list()
    ]
    low, high = share_interval(hits, len(both))
    disagreeing = both.filter(apart > tolerance)
    but = f" They differ on {named_rows(disagreeing)}." if len(disagreeing) else ""
    near = "the same layer" if tolerance == 0 else f"layers at most {tolerance} apart"
    return Measured(
        hits / len(both),
        low,
        high,
        basis=f"{counted(len(both), 'labelling')} of medical concepts that both techniques mark; {near} counts, of "
        "the layers that stand out in most resamples the strongest",
        said=f"Lesions and patches name {near} for {hits} of {counted(len(both), 'labelling')}; by chance it would be "
        f"{np.mean(within):.0%} of them.{but}",
        null_mean=float(np.mean(within)),
        null_p=at_least(hits, within),
    )


def concepts_share_layers(evidence: Evidence) -> Measured | Missing:
    """How much more the maps of medical concepts overlap with each other than with those of the controls."""
    cells = evidence.of_model("knowledge_map", mode="consensus", labelling="")
    verdicts = evidence.of_model("localisations", mode="consensus", labelling="", verdict="localised")
    pairs = overlap(cells, verdicts)
    names = sorted({*pairs["concept"], *pairs["other_concept"]})
    controls = evidence.controls & set(names)
    medical = len(names) - len(controls)
    if medical < 2 or not controls:
        return Missing(
            f"Only {counted(medical, 'medical concept')} and {counted(len(controls), 'control')} are localised: it "
            "takes two and one to compare."
        )
    cosine = {
        frozenset((one, other)): value
        for one, other, value in pairs.select("concept", "other_concept", "overlap").iter_rows()
    }
    estimate = _kinship(names, controls, cosine)
    others = [_kinship(names, set(chosen), cosine) for chosen in combinations(names, len(controls))]
    within, across = (
        float(np.mean([value for pair, value in cosine.items() if len(pair & controls) == shared])) for shared in (0, 1)
    )
    low, high = _jackknife(names, controls, cosine)
    return Measured(
        estimate,
        low,
        high,
        basis=f"cosine of the maps of {counted(medical, 'medical concept')} and {counted(len(controls), 'control')} "
        "that are localised; interval by leaving out a concept at a time",
        said=f"Maps of medical concepts overlap by {two(within)} with each other and by {two(across)} with those of "
        f"controls ({', '.join(sorted(controls))}).",
        null_mean=float(np.mean(others)),
        null_p=float(np.mean([other >= estimate - 1e-9 for other in others])),
    )


def stable(evidence: Evidence) -> Measured | Missing:
    """How often maps made otherwise mark the cells that the shown map marks: the mean over labellings."""
    cells = evidence.medical("knowledge_map", mode="consensus").filter(
        pl.col("labelling") != "", pl.col("confidence") >= _MARKED
    )
    if cells.is_empty():
        return Missing("No layer is marked for a medical concept: there is nothing that could hold.")
    judged = cells.drop_nulls("agreement").group_by("concept", "labelling").agg(pl.col("agreement").mean())
    if judged.is_empty():
        return Missing("Maps were not made again from other data or settings: measure their stability.")
    judged = judged.sort("concept", "labelling")
    shares = judged["agreement"].to_numpy()
    drawn = generator(0, "stable").integers(len(shares), size=(_REPEATS, len(shares)))
    low, high = (float(end) for end in np.percentile(shares[drawn].mean(axis=1), [2.5, 97.5]))
    worst = judged.row(int(np.argmin(shares)), named=True)
    fewest = (
        f"fewest for {worst['concept']} · {worst['labelling']} ({percent(worst['agreement'])})"
        if percent(shares.min()) != percent(shares.max())
        else f"that is so for {'every' if len(shares) > 1 else 'the one'} labelling"
    )
    return Measured(
        float(shares.mean()),
        low if len(shares) > 1 else None,
        high if len(shares) > 1 else None,
        basis=f"marked cells of {counted(len(shares), 'labelling')} of medical concepts; labellings are resampled",
        said=f"Where this map marks a layer, {percent(shares.mean())} of the maps made from other terms, templates, "
        f"seeds or metrics mark it too; {fewest}.",
    )


def raw_lesion_names_the_first_layer(evidence: Evidence) -> Measured | Missing:
    """How often the raw identity lesion is worst in layer 0, whatever is asked."""
    raw, contrast = (_worst_layers(evidence.profiles(metric)) for metric in (_RAW, _CONTRAST))
    layers = evidence.layers
    if raw.is_empty() or layers is None:
        return Missing("No identity lesion was run on prompts that ask: run the model with lesions.")
    hits = int((raw["layer"] == 0).sum())
    low, high = share_interval(hits, len(raw))
    beside = (
        f" Against the controls the resample lesion does so for {int((contrast['layer'] == 0).sum())} of "
        f"{len(contrast)}."
        if len(contrast)
        else ""
    )
    return Measured(
        hits / len(raw),
        low,
        high,
        basis=f"{counted(len(raw), 'labelling')} of medical concepts and controls",
        said=f"The raw identity lesion names layer 0 for {hits} of {counted(len(raw), 'labelling')}, medical or not; "
        f"by chance it would be {1 / layers:.0%}.{beside}",
        null_mean=1 / layers,
        null_p=at_least(hits, [1 / layers] * len(raw)),
    )


def _worst_layers(rows: pl.DataFrame) -> pl.DataFrame:
    ordered = rows.sort("value", "layer", descending=[True, False])
    return ordered.unique(["concept", "labelling"], keep="first", maintain_order=True)


def _kinship(names: list[str], controls: set[str], cosine: dict[frozenset[str], float]) -> float:
    """Mean overlap of two that are no controls, less that of one with a control; 0 where there is no such pair."""
    medical = [name for name in names if name not in controls]
    within = [cosine[frozenset(pair)] for pair in combinations(medical, 2)]
    across = [cosine[frozenset((one, other))] for one in medical for other in controls]
    return float(np.mean(within) - np.mean(across)) if within and across else 0.0


def _jackknife(
    names: list[str], controls: set[str], cosine: dict[frozenset[str], float]
) -> tuple[float | None, float | None]:
    """The interval of the kinship from leaving out each concept in turn; none where too few are left."""
    if len(names) - len(controls) < 3:
        return None, None
    left = [name for name in names if name not in controls or len(controls) > 1]
    values = np.array([_kinship([one for one in names if one != out], controls - {out}, cosine) for out in left])
    spread = np.sqrt((len(values) - 1) / len(values) * ((values - np.mean(values)) ** 2).sum())
    estimate = _kinship(names, controls, cosine)
    return float(estimate - 1.96 * spread), float(estimate + 1.96 * spread)


CLAIMS = (
    Claim(
        "first-half",
        PAPER,
        "Most medical knowledge is in the first half of the layers",
        "Which share of the weight of medical concepts lies in the first half of the layers?",
        0.5,
        first_half,
    ),
    Claim(
        "localised",
        OURS,
        "Medical knowledge sits in some layers",
        "Which share of the labellings of medical concepts that the model knows is localised?",
        0.5,
        localised,
    ),
    Claim(
        "techniques-agree",
        OURS,
        "Lesions and patches name the same layers",
        "For which share of the labellings that both mark do lesions and patches name the same layer?",
        0.5,
        techniques_agree,
        has_null=True,
    ),
    Claim(
        "concepts-share-layers",
        OURS,
        "Medical concepts share layers with each other more than with controls",
        "How much more do the maps of two medical concepts overlap than those of a medical concept and a control?",
        0.0,
        concepts_share_layers,
        has_null=True,
    ),
    Claim(
        "map-stable",
        OURS,
        "The map stays when terms, templates, seeds and metrics change",
        "Which share of maps made otherwise marks the cells that the map marks?",
        0.8,
        stable,
    ),
    Claim(
        "raw-lesion-names-layer-0",
        OURS,
        "The raw identity lesion names layer 0 for everything",
        "For which share of the labellings is the raw identity lesion worst in layer 0?",
        0.5,
        raw_lesion_names_the_first_layer,
        has_null=True,
    ),
)
