"""The map made again from other data or other choices, and how much of it stays: rows of `stability`, and agreement.

A map is made from half of the terms, from one template at a time, from held-out templates, from other draws, and by
other metrics. One made from fewer data has no resamples of its own: a layer stands out in its profiles or doesn't. How
a map is made is in `mapping`.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analyses.concept_map import Evidence
from analyses.contrasts import Contrast, best_contrasts
from analyses.effects import MeasuredConcept
from analyses.lesion_profiles import lesion_profiles
from analyses.mapping import LEAST_SURE, NOT_MEASURED, Map
from analyses.part_silhouettes import Part, silhouette_steps
from analyses.patch_profiles import patch_profiles
from analyses.projection import Layers
from analyses.resampling import Floats, generator
from analyses.saliency_profiles import saliency_profiles
from analyses.series import Profile, Series, draws_table
from warehouse.tables import table

HALVES = 8
"""Maps made from half of the terms: four splits, both halves of each."""

HELD_OUT = "held-out templates"


@dataclass(frozen=True)
class Material:
    """What is measured of a concept, to make maps of parts of it.

    Attributes:
        prompts, terms, labels: the concept's tables.
        lesions, saliency: the concept's, then those of its controls; empty where nothing was measured.
        patches: the concept's, if it was patched.
    """

    prompts: pa.Table
    terms: pa.Table
    labels: pa.Table
    lesions: Sequence[MeasuredConcept]
    saliency: Sequence[MeasuredConcept]
    patches: MeasuredConcept | None


def other_maps(
    found: Evidence,
    material: Material,
    layers: Layers,
    validated: Sequence[Contrast],
    *,
    seed: int = 0,
) -> list[tuple[Part, Map]]:
    """All maps made otherwise, labelling by labelling.

    Args:
        found: what the map that is shown was drawn from.
        material: the measurements behind it.
        layers: for each layer, ascending, its activations; none if silhouettes are no part of the consensus.
        validated: the contrasts, the best of each technique and the others.
        seed: of the halves.
    """
    parts = [part for labelling in found.labellings for part in _parts(found, material, labelling, seed)]
    best = best_contrasts(validated)
    metrics = {contrast.metric for contrast in best}
    drawn = _effect_profiles(parts, material)
    steps = silhouette_steps(parts, material.prompts, material.terms, material.labels, layers)
    for part, profiles in steps.items():
        drawn[part].extend(profiles)
    made = []
    for part in parts:
        frame = pl.DataFrame(draws_table(drawn[part], metrics, 1))
        made.append((part, _map(replace(found, draws=frame), part.labelling, best)))
    for labelling in found.labellings:
        made += [
            (part, _map(other, labelling, chosen)) for part, other, chosen in _choices(found, labelling, validated)
        ]
    return made


def stability_table(maps: Sequence[tuple[Part, Map]]) -> pa.Table:
    """The rows of `stability`, sorted by key."""
    rows = [
        {
            "labelling": part.labelling,
            "change": part.change,
            "repeat": part.repeat,
            "layer": layer,
            "confidence": float(confidence),
            "detail": part.detail,
        }
        for part, found in maps
        for layer, confidence in enumerate(found.confidence)
    ]
    entry = table("stability")
    ordered = pa.Table.from_pylist(rows, schema=entry.schema())
    return ordered.sort_by([(column.name, "ascending") for column in entry.keys])


def agreement(shown: Mapping[str, Map], maps: Sequence[tuple[Part, Map]]) -> dict[str, Floats]:
    """The share of maps made otherwise that say the same of each layer: in a region, or not.

    Each kind of change counts alike, however often it was made; maps for which nothing was measured don't. For the
    concept as a whole, the labelling that is the surest of a layer tells.

    Args:
        shown: the map that is shown, by labelling.
        maps: from `other_maps`.

    Returns:
        For each labelling, and "" for the whole, shape (layers,).
    """
    same: dict[str, dict[str, list[NDArray[np.bool_]]]] = defaultdict(lambda: defaultdict(list))
    for part, found in maps:
        if found.verdict == NOT_MEASURED:
            continue
        ours = shown[part.labelling].confidence >= LEAST_SURE
        same[part.labelling][part.change].append((found.confidence >= LEAST_SURE) == ours)
    agreed = {
        labelling: np.mean([np.mean(repeats, axis=0) for repeats in changes.values()], axis=0)
        for labelling, changes in same.items()
    }
    if agreed:
        names = list(agreed)
        surest = np.argmax([shown[name].confidence for name in names], axis=0)
        agreed[""] = np.stack([agreed[name] for name in names])[surest, np.arange(len(surest))]
    return agreed


def _map(found: Evidence, labelling: str, chosen: Sequence[Contrast]) -> Map:
    return replace(found, labellings=(labelling,)).maps(chosen)[labelling]


def _choices(
    found: Evidence, labelling: str, validated: Sequence[Contrast]
) -> Iterator[tuple[Part, Evidence, Sequence[Contrast]]]:
    """Maps of the same measurements: each technique's other contrasts in turn, and either half of the draws."""
    best = best_contrasts(validated)
    nothing: frozenset[str] = frozenset()
    for repeat, other in enumerate(contrast for contrast in validated if not contrast.is_best):
        chosen = [other if each.technique == other.technique else each for each in best]
        yield Part("metric", repeat, f"{other.metric} at {other.position}", labelling, nothing, nothing), found, chosen
    width = found.draws.schema["draws"].size  # type: ignore[attr-defined]
    for repeat, (first, last) in enumerate(((0, width // 2), (width // 2, width))):
        if last > first:
            half = found.draws.with_columns(pl.col("draws").arr.to_list().list.slice(first, last - first))
            detail = f"draws {first} to {last - 1}"
            yield Part("seed", repeat, detail, labelling, nothing, nothing), replace(found, draws=half), best


def _parts(found: Evidence, material: Material, labelling: str, seed: int) -> Iterator[Part]:
    prompts = pl.DataFrame(material.prompts).filter(labelling=labelling, template_kind="asking")
    main = set(pl.DataFrame(material.terms).filter(variant="")["term"])
    terms = sorted(main & set(prompts["term"]))
    read = frozenset(prompts.filter(~pl.col("held_out"))["template"])
    label_of = dict(pl.DataFrame(material.labels).filter(labelling=labelling).select("term", "label").iter_rows())
    for split in range(HALVES // 2):
        rng = generator(seed, "halves", found.concept, labelling, str(split))
        first = _half(terms, label_of, rng)
        for side, half in enumerate((first, frozenset(terms) - first)):
            detail = f"split {split + 1}, half {side + 1}"
            yield Part("half of the terms", 2 * split + side, detail, labelling, half, read)
    for repeat, template in enumerate(sorted(read)):
        yield Part("one template", repeat, template, labelling, frozenset(terms), frozenset({template}))
    held_out = frozenset(prompts.filter(pl.col("held_out"))["template"])
    if held_out:
        yield Part(HELD_OUT, 0, ", ".join(sorted(held_out)), labelling, frozenset(terms), held_out)


def _half(terms: Sequence[str], label_of: Mapping[str, str | None], rng: np.random.Generator) -> frozenset[str]:
    """Half of the terms of each label, at random; of an odd number the middle one goes either way."""
    by_label: dict[str | None, list[str]] = defaultdict(list)
    for term in terms:
        by_label[label_of.get(term)].append(term)
    chosen: list[str] = []
    for _, members in sorted(by_label.items(), key=lambda item: str(item[0])):
        order = rng.permutation(len(members))
        size = (len(members) + int(rng.integers(2))) // 2
        chosen += [members[place] for place in order[:size]]
    return frozenset(chosen)


def _effect_profiles(parts: Sequence[Part], material: Material) -> dict[Part, list[Profile]]:
    """The profiles of lesions, patches and saliency of each part, with their estimates as their only draw."""
    once = {"resamples": 1, "permutations": 0}
    made: dict[Part, list[Profile]] = {}
    for part in parts:
        profiles: list[Profile] = []
        for measured, profiled in ((material.lesions, lesion_profiles), (material.saliency, saliency_profiles)):
            if measured and (own := _only(measured[0], part)) is not None:
                profiles += profiled(own, measured[1:], **once)
        if material.patches is not None and (patched := _only(material.patches, part)) is not None:
            profiles += patch_profiles(patched, resamples=1)
        made[part] = [replace(each, series=_estimate_alone(each.series)) for each in profiles]
    return made


def _estimate_alone(series: Series) -> Series:
    return replace(series, resampled=series.value[:, None], permuted=None)


def _only(measured: MeasuredConcept, part: Part) -> MeasuredConcept | None:
    """The measurements of a part's terms and templates; held-out templates are read as if they were not."""
    rows, prompts = (_chosen(table_, part) for table_ in (measured.measured, measured.prompts))
    if not rows.num_rows:
        return None
    place = prompts.schema.get_field_index("held_out")
    prompts = prompts.set_column(place, prompts.schema.field(place), pa.repeat(False, prompts.num_rows))
    return replace(measured, measured=rows, prompts=prompts)


def _chosen(rows: pa.Table, part: Part) -> pa.Table:
    of_terms, of_templates = (
        pc.is_in(rows[name], pa.array(sorted(names), pa.string()))
        for name, names in (("term", part.terms), ("template", part.templates))
    )
    return rows.filter(pc.and_(of_terms, of_templates))
