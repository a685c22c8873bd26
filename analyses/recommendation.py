"""Which layers to train, for whom wants to teach, unlearn or edit a concept: read from its map, with reasons.

Belongs here: the rules by which layers are chosen for each purpose, and the words that say why, from tables of the
warehouse. How a map comes about is in `mapping`; whether layers chosen so do better than others is tried in the closed
loop and told in `docs/validity.md`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from analyses.mapping import LEAST_SURE, LOCALISED, NOT_KNOWN, NOT_LOCALISED, NOT_MEASURED
from analyses.marking import named
from warehouse.errors import InputError

FINE_TUNING, UNLEARNING, EDITING = PURPOSES = ("fine-tuning", "unlearning", "editing")

_CONSENSUS, _WHOLE, _MAIN = "consensus", "", ""
_LESIONS = ("resample", "mean", "identity")
"""Lesions from the most to the least telling on planted models."""

_OVER_CONTROLS = "accuracy_drop_over_controls"
_PARTS = (
    *(("lesions", f"{lesion}_{{part}}_{_OVER_CONTROLS}") for lesion in _LESIONS),
    ("saliency", "logit_difference_first_order_effect_{part}_over_controls"),
    ("patches", "{part}_out_restored"),
)
"""Where attention and MLP of a layer are told apart, from the most telling on."""

_SHORT = {"attention": "attn", "mlp": "mlp"}
_NEARLY = 0.9
"""Share of the best layer's score from which another layer is as good for an edit."""

_MOST_EDITED = 2
_ROOM = 0.5
"""Share of a model's layers that fine-tuning takes at most, neighbours counted in."""

_HINT = 0.05
"""Probability from which another layer is worth a word."""

_BROKEN, _LOW_AGREEMENT = 0.5, 0.8
"""Accuracy that the control concepts lose from which a layer serves everything; agreement from which a cell holds."""


@dataclass(frozen=True)
class Evidence:
    """What the warehouse holds on one model: rows of its tables, each with the column `concept`.

    Attributes:
        model: the model's slug.
        layers: layers of the model.
        localisations, knowledge_map, marks, profiles: rows of these tables, of all concepts that have a map.
        roles: role of each concept; what is no `control` is medical.
    """

    model: str
    layers: int
    localisations: pl.DataFrame
    knowledge_map: pl.DataFrame
    marks: pl.DataFrame
    profiles: pl.DataFrame
    roles: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Candidate:
    """What is known of one layer.

    Attributes:
        confidence: probability that the layer holds the concept.
        agreement: share of the maps made otherwise that say the same; None where none were made.
        over_controls: share of the right answers that its lesion takes, less what it takes of the controls'; None where
            it was not measured.
        damage: share of the control concepts' prompts that its lesion makes wrong; None where it was not measured.
        shared_with: another concept that the layer most likely holds too, and how likely; None where there is no other.
        part: `mlp` or `attention`, whichever carries more of it; None where that was not measured.
    """

    layer: int
    confidence: float
    agreement: float | None
    over_controls: float | None
    damage: float | None
    shared_with: tuple[str, float] | None
    part: str | None

    @property
    def shared(self) -> float:
        """How likely the layer holds another concept too."""
        return self.shared_with[1] if self.shared_with else 0.0


@dataclass(frozen=True)
class Alternative:
    """Other layers that could be trained, and what speaks for or against them."""

    layers: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class Recommendation:
    """Layers to train for a purpose.

    Attributes:
        verdict: what the map says of the concept: localised, not localised, not known, not measured.
        layers: the layers; all of them where the concept is not localised, none where there is nothing to train.
        part: `mlp` where that part alone will do, else `layer`.
        confidence: mean probability that these layers hold the concept, layers that only give room left out; 0 where it
            is not localised.
        reasons, caveats: sentences in plain words.
        alternatives: other choices.
        candidates: what is known of each layer of the model.
    """

    model: str
    concept: str
    labelling: str
    purpose: str
    verdict: str
    layers: tuple[int, ...]
    part: str
    confidence: float
    reasons: tuple[str, ...]
    caveats: tuple[str, ...]
    alternatives: tuple[Alternative, ...]
    candidates: tuple[Candidate, ...]

    @property
    def is_localised(self) -> bool:
        """Whether the layers were chosen for what they hold."""
        return self.verdict == LOCALISED


def recommend(evidence: Evidence, concept: str, purpose: str, labelling: str | None = None) -> Recommendation:
    """Choose the layers to train for a purpose, from the consensus map.

    - `fine-tuning`, to teach new facts: all layers of the concept's regions, and their neighbours while these are at
      most half of the model's layers, hold no other concept and break no more of the controls' prompts.
    - `unlearning`: the layers of the regions that no other concept needs; of layers that are all shared, the one that
      is needed least.
    - `editing`, to change single facts: the layer that is surest after what it would damage is taken off, and at most
      one more that is nearly as good.

    Args:
        evidence: what was measured on the model.
        concept: the concept.
        purpose: one of `PURPOSES`.
        labelling: what of the concept; the concept as a whole if left out.

    Raises:
        InputError: no such purpose, no map of the concept, or no such labelling on it.
    """
    if purpose not in PURPOSES:
        raise InputError(f"{purpose!r} is no purpose: ask for one of {', '.join(PURPOSES)}.")
    verdict = _verdict(evidence, concept, labelling)
    asked = labelling or _WHOLE
    candidates = _candidates(evidence, concept, asked)
    keys = (evidence.model, concept, asked, purpose, verdict)
    if verdict != LOCALISED:
        return _without_a_place(evidence, keys, candidates)
    region = [one for one in candidates if one.confidence >= LEAST_SURE]
    chosen = sorted(_CHOICES[purpose](region, candidates), key=lambda one: one.layer)
    layers = tuple(one.layer for one in chosen)
    part = "mlp" if purpose == EDITING and all(one.part == "mlp" for one in chosen) else "layer"
    return Recommendation(
        *keys,
        layers,
        part,
        _mean([one.confidence for one in chosen if one in region]),
        (*_reasons(purpose, region, chosen, part), *_technique_sentences(evidence.marks, concept, asked, layers)),
        _caveats(evidence, concept, purpose, chosen),
        _alternatives(chosen, candidates),
        candidates,
    )


def _verdict(evidence: Evidence, concept: str, labelling: str | None) -> str:
    found = evidence.localisations.filter(mode=_CONSENSUS)
    mapped = sorted(found["concept"].unique().to_list())
    if concept not in mapped:
        raise InputError(
            f"There is no map of {concept!r} in {evidence.model}; there are maps of: {', '.join(mapped) or 'nothing'}. "
            f"{_command(evidence.model, concept)}"
        )
    rows = dict(found.filter(concept=concept).select("labelling", "verdict").iter_rows())
    if (labelling or _WHOLE) not in rows:
        known = ", ".join(sorted(name for name in rows if name)) or "none"
        raise InputError(f"The map of {concept} in {evidence.model} has no labelling {labelling!r}; it has: {known}.")
    return str(rows[labelling or _WHOLE])


def _command(model: str, concept: str) -> str:
    return (
        f"If the library has it (`vesalius concepts list`), `vesalius run --model {model} --only {concept}` with the "
        "control concepts named beside it measures it."
    )


def _candidates(evidence: Evidence, concept: str, labelling: str) -> tuple[Candidate, ...]:
    cells = evidence.knowledge_map.filter(mode=_CONSENSUS)
    own = {row["layer"]: row for row in cells.filter(concept=concept, labelling=labelling).iter_rows(named=True)}
    # A control is no knowledge to be spared as such: what its prompts lose is counted as damage.
    rivals = [name for name in cells["concept"].unique().sort() if name != concept]
    others = cells.filter(pl.col("concept").is_in(rivals), labelling=_WHOLE).sort(
        ["confidence", "concept"], descending=[True, False]
    )
    damage, over = _damage(evidence, concept), _over_controls(evidence.profiles, concept, labelling)
    parts = _parts(evidence.profiles, concept, labelling)
    found = []
    for layer in range(evidence.layers):
        cell, rival = own.get(layer, {}), others.filter(layer=layer).head(1)
        found.append(
            Candidate(
                layer,
                float(cell.get("confidence", 0.0)),
                cell.get("agreement"),
                over.get(layer),
                damage.get(layer),
                (rival["concept"][0], float(rival["confidence"][0])) if len(rival) else None,
                parts.get(layer),
            )
        )
    return tuple(found)


def _lesioned(profiles: pl.DataFrame, ending: str) -> pl.DataFrame:
    """Profiles of the most telling lesion that was measured."""
    rows = profiles.filter(technique="lesions", variant=_MAIN)
    for lesion in _LESIONS:
        chosen = rows.filter(pl.col("metric") == f"{lesion}_{ending}")
        if len(chosen):
            return chosen
    return rows.clear()


def _damage(evidence: Evidence, concept: str) -> dict[int, float]:
    controls = [name for name, role in evidence.roles.items() if role == "control" and name != concept]
    rows = _lesioned(evidence.profiles.filter(pl.col("concept").is_in(controls)), "accuracy_drop")
    means = rows.group_by("layer").agg(pl.col("value").mean())
    return {int(layer): float(value) for layer, value in means.iter_rows()}


def _over_controls(profiles: pl.DataFrame, concept: str, labelling: str) -> dict[int, float]:
    rows = _lesioned(_of(profiles, concept, labelling), _OVER_CONTROLS)
    largest = rows.group_by("layer").agg(pl.col("value").max())
    return {int(layer): float(value) for layer, value in largest.iter_rows()}


def _parts(profiles: pl.DataFrame, concept: str, labelling: str) -> dict[int, str]:
    rows = _of(profiles, concept, labelling).filter(variant=_MAIN)
    for technique, metric in _PARTS:
        told = {}
        for part, short in _SHORT.items():
            wanted = metric.format(part=short if technique == "patches" else part)
            chosen = rows.filter(pl.col("metric") == wanted, technique=technique)
            told[part] = dict(chosen.group_by("layer").agg(pl.col("value").max()).iter_rows())
        layers = told["mlp"].keys() & told["attention"].keys()
        if layers:
            return {layer: max(sorted(_SHORT), key=lambda part: told[part][layer]) for layer in layers}
    return {}


def _of(rows: pl.DataFrame, concept: str, labelling: str) -> pl.DataFrame:
    """Rows of a concept, of all labellings where it is asked for as a whole."""
    return rows.filter(pl.col("concept") == concept, (pl.col("labelling") == labelling) | (labelling == _WHOLE))


def _fine_tuned(region: Sequence[Candidate], candidates: Sequence[Candidate]) -> list[Candidate]:
    chosen = {one.layer: one for one in region}
    bearable = max((one.damage or 0.0) for one in region)
    beside = [one for one in candidates if one.layer - 1 in chosen or one.layer + 1 in chosen]
    free = [one for one in beside if one.shared < LEAST_SURE and (one.damage or 0.0) <= max(bearable, 0.1)]
    for one in sorted(free, key=lambda one: (-one.confidence, one.damage or 0.0, one.layer)):
        if one.layer not in chosen and len(chosen) + 1 <= _ROOM * len(candidates):
            chosen[one.layer] = one
    return list(chosen.values())


def _unlearned(region: Sequence[Candidate], _: Sequence[Candidate]) -> list[Candidate]:
    own = [one for one in region if one.shared < LEAST_SURE]
    return own or [min(region, key=lambda one: (one.shared, -one.confidence, one.layer))]


def _edited(region: Sequence[Candidate], _: Sequence[Candidate]) -> list[Candidate]:
    order = sorted(region, key=lambda one: (-_score(one), one.layer))
    return [one for one in order if _score(one) >= _NEARLY * _score(order[0])][:_MOST_EDITED]


_CHOICES = {FINE_TUNING: _fine_tuned, UNLEARNING: _unlearned, EDITING: _edited}


def _score(one: Candidate) -> float:
    """Confidence, less what is lost elsewhere."""
    return one.confidence * (1 - 0.5 * one.shared) * (1 - 0.5 * max(0.0, one.damage or 0.0))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def layer_names(layers: Sequence[int]) -> str:
    """Layers as runs: `2-3, 7`."""
    found: list[tuple[int, int]] = []
    for layer in sorted(layers):
        if found and layer == found[-1][1] + 1:
            found[-1] = (found[-1][0], layer)
        else:
            found.append((layer, layer))
    return named(found)


def _in_words(layers: Sequence[int]) -> str:
    return f"layer{'' if len(layers) == 1 else 's'} {layer_names(layers)}"


def _reasons(purpose: str, region: Sequence[Candidate], chosen: Sequence[Candidate], part: str) -> list[str]:
    held = [one.layer for one in region]
    found = [f"The map puts the concept in {_in_words(held)}."]
    left = [one.layer for one in region if one not in chosen]
    added = [one.layer for one in chosen if one not in region]
    if added:
        found.append(
            f"Beside it, {_in_words(added)} gives room for new facts, and no other concept is known to be there."
        )
    if left and purpose == UNLEARNING:
        found.append(f"Spared, as other concepts are there too: {_in_words(left)}.")
    if left and purpose == EDITING:
        found.append(f"An edit wants few layers: {_in_words(left)} can be left as they are.")
    if part == "mlp":
        found.append("Of these layers the MLP carries more than attention: its matrices may do.")
    for one in chosen:
        if one in region and (one.over_controls or 0.0) > 0:
            found.append(
                f"Without layer {one.layer} the share of right answers falls by {one.over_controls:.0%} more than that "
                "of the controls."
            )
    return found


def _technique_sentences(marks: pl.DataFrame, concept: str, labelling: str, layers: Sequence[int]) -> list[str]:
    """What each technique says of the chosen layers, the strongest first."""
    rows = _of(marks.filter(mode=_CONSENSUS), concept, labelling).filter(pl.col("layer").is_in(layers))
    best = (
        rows.sort("marked", "layer", descending=[True, False])
        .group_by("technique", maintain_order=True)
        .first()
        .iter_rows(named=True)
    )
    told = []
    for row in best:
        what = f"{row['technique']} ({row['metric'].replace('_', ' ')})"
        if row["marked"] < LEAST_SURE:
            told.append(f"Not marked by {what}: in {row['marked']:.0%} of the resamples at most.")
        else:
            told.append(f"Marked by {what}: layer {row['layer']} in {row['marked']:.0%} of the resamples.")
    return told


def _caveats(evidence: Evidence, concept: str, purpose: str, chosen: Sequence[Candidate]) -> tuple[str, ...]:
    found = []
    for one in chosen:
        if one.confidence >= LEAST_SURE and one.over_controls is not None and one.over_controls <= 0:
            found.append(f"Without layer {one.layer} the controls lose as much as the concept does.")
        if one.shared_with is not None and one.shared >= LEAST_SURE:
            name, sure = one.shared_with
            found.append(f"Layer {one.layer} holds {name} too (probability {sure:.2f}): expect to damage it.")
        if one.damage is not None and one.damage >= _BROKEN:
            found.append(
                f"The loss of layer {one.layer} makes {one.damage:.0%} of the controls' prompts wrong: much else runs "
                "through it."
            )
        if one.agreement is not None and one.agreement < _LOW_AGREEMENT and one.confidence >= LEAST_SURE:
            found.append(f"Only {one.agreement:.0%} of the maps made otherwise say the same of layer {one.layer}.")
    if all(one.damage is None for one in chosen):
        found.append("What else these layers serve is unknown: no lesion was measured on a control concept.")
    if all(one.agreement is None for one in chosen):
        found.append("No maps were made otherwise: nobody knows how well this place holds.")
    if purpose == FINE_TUNING:
        found.append(
            "That facts sit in a layer doesn't prove that new ones are best put there: compare with all layers."
        )
    return tuple(found)


def _alternatives(chosen: Sequence[Candidate], candidates: Sequence[Candidate]) -> tuple[Alternative, ...]:
    rest = [one for one in candidates if one not in chosen and one.confidence >= _HINT]
    found = [
        Alternative((one.layer,), f"The likeliest of the others, with probability {one.confidence:.2f}.")
        for one in sorted(rest, key=lambda one: (-one.confidence, one.layer))[:1]
    ]
    everything = tuple(one.layer for one in candidates)
    return (*found, Alternative(everything, "All layers: the most room, and nothing is spared."))


def _without_a_place(
    evidence: Evidence, keys: tuple[str, str, str, str, str], candidates: tuple[Candidate, ...]
) -> Recommendation:
    """What to do where the map names no layer."""
    model, concept, _, purpose, verdict = keys
    everything = tuple(range(evidence.layers))
    largest = max((one.confidence for one in candidates), default=0.0)
    nothing_there = purpose != FINE_TUNING
    layers, reasons = {
        NOT_LOCALISED: (
            everything,
            [
                f"Localisation gives nothing here: no layer stands out, the likeliest has probability {largest:.2f}.",
                "Train all layers, or choose by another reason than where the concept is kept.",
            ],
        ),
        NOT_KNOWN: (
            () if nothing_there else everything,
            [
                "The model does not know this concept: its answers are rarely right, so no layer holds it.",
                f"There is nothing for {purpose} to change." if nothing_there else "Teach it in all layers.",
            ],
        ),
        NOT_MEASURED: (
            (),
            ["No lesion and no patch was measured on prompts that ask for it.", _command(model, concept)],
        ),
    }[verdict]
    return Recommendation(*keys, layers, "layer", 0.0, tuple(reasons), (), (), candidates)


def summary(found: Recommendation) -> str:
    """The recommendation in one sentence."""
    if not found.layers:
        return f"For {found.purpose} of {found.concept} in {found.model}: no layers ({found.verdict})."
    if not found.is_localised:
        return f"For {found.purpose} of {found.concept} in {found.model}: all layers ({found.verdict})."
    part = "the MLP of " if found.part == "mlp" else ""
    return (
        f"For {found.purpose} of {found.concept} in {found.model}: {part}{_in_words(found.layers)}; "
        f"confidence {found.confidence:.2f}."
    )
