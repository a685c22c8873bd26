"""Maps as rows of `marks`, `regions`, `knowledge_map` and `localisations`: those of the consensus, and the paper's.

How a layer comes by its confidence is in `mapping` and `paper_map`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from analyses.mapping import CAUSAL, LEAST_SURE, LOCALISED, NOT_KNOWN, NOT_LOCALISED, NOT_MEASURED, Map, whole
from analyses.marking import named, runs
from analyses.numerals import percent
from analyses.paper_map import PAPER_PROFILES, PaperMarks
from analyses.resampling import HIGH, LOW, Floats
from warehouse.tables import table

CONSENSUS, PAPER = "consensus", "paper"

WHOLE = ""
"""The labelling of a map of the concept as a whole."""

TOGETHER = "all"
"""The technique of what all say together."""

MAP_TABLES = ("marks", "regions", "knowledge_map", "localisations")

_LOST = ("lost_answers", "lost_low", "lost_high")

Row = dict[str, object]


@dataclass
class MapRows:
    """Rows of the four tables of a map, as they are gathered."""

    marks: list[Row] = field(default_factory=list)
    regions: list[Row] = field(default_factory=list)
    knowledge_map: list[Row] = field(default_factory=list)
    localisations: list[Row] = field(default_factory=list)

    def tables(self) -> dict[str, pa.Table]:
        """The tables by name, each sorted by key."""
        made = {}
        for name in MAP_TABLES:
            entry = table(name)
            found = pa.Table.from_pylist(getattr(self, name), schema=entry.schema())
            made[name] = found.sort_by([(column.name, "ascending") for column in entry.keys])
        return made

    def add_regions(self, keys: Row, found: Iterable[tuple[int, int]], sure: Floats) -> None:
        """Rows of `regions`; a region is as sure as its layers are on average."""
        for number, (first, last) in enumerate(found):
            confidence = float(sure[first : last + 1].mean())
            self.regions.append(keys | {"region": number, "first": first, "last": last, "confidence": confidence})

    def add_cells(self, mode: str, labelling: str, sure: Floats, agreement: Floats | None = None) -> None:
        """Rows of `knowledge_map`."""
        for layer, confidence in enumerate(sure):
            cell = {"mode": mode, "labelling": labelling, "layer": layer, "confidence": float(confidence)}
            agreed = None if agreement is None else float(agreement[layer])
            self.knowledge_map.append(cell | {"agreement": agreed})


def consensus_rows(maps: Mapping[str, Map], layers: int, agreement: Mapping[str, Floats] | None = None) -> MapRows:
    """The rows of the consensus.

    Args:
        maps: the map of each asked labelling; that of the concept as a whole is made of them.
        layers: layers of the model.
        agreement: for each labelling, and for the whole, the share of maps made otherwise that agree, shape (layers,).
    """
    rows = MapRows()
    for labelling, found in maps.items():
        for mark in found.marks:
            contrast = mark.contrast
            keys: Row = {"mode": CONSENSUS, "technique": contrast.technique, "labelling": labelling}
            placed = {"metric": contrast.metric, "position": contrast.position}
            for layer, (value, marked, odds) in enumerate(zip(mark.value, mark.marked, mark.log_odds, strict=True)):
                measured = {"layer": layer, "value": float(value), "marked": float(marked), "weight": float(odds)}
                rows.marks.append(keys | placed | measured)
            rows.add_regions(keys, runs(mark.marked >= LEAST_SURE), mark.marked)
    together = whole(maps, layers)
    surest = max(maps.values(), key=lambda each: float(each.confidence.max()), default=together)
    for labelling, found in {WHOLE: together, **maps}.items():
        keys = {"mode": CONSENSUS, "technique": TOGETHER, "labelling": labelling}
        rows.add_regions(keys, found.regions, found.confidence)
        rows.add_cells(CONSENSUS, labelling, found.confidence, (agreement or {}).get(labelling))
        rows.localisations.append(_localisation(labelling, found, surest if labelling == WHOLE else found))
    return rows


def paper_rows(maps: Mapping[str, Mapping[str, PaperMarks]], layers: int) -> MapRows:
    """The rows by the paper's rules: confidence is the share of the techniques that mark a layer.

    Args:
        maps: for each asked labelling, what each technique marks. The concept as a whole is what any labelling marks.
        layers: layers of the model.
    """
    rows = MapRows()
    sure = {}
    for labelling, techniques in maps.items():
        for technique, found in techniques.items():
            metric, position = PAPER_PROFILES[technique]
            keys: Row = {"mode": PAPER, "technique": technique, "labelling": labelling}
            for layer, (value, marked) in enumerate(zip(found.smoothed, found.marked, strict=True)):
                measured = {"layer": layer, "value": float(value), "marked": float(marked), "weight": 0.0}
                rows.marks.append(keys | {"metric": metric, "position": position} | measured)
            rows.add_regions(keys, found.regions, found.marked)
        shares = [found.marked for found in techniques.values()]
        sure[labelling] = np.mean(shares, axis=0) if shares else np.zeros(layers)
    together = np.max(list(sure.values()), axis=0) if sure else np.zeros(layers)
    for labelling, confidence in {WHOLE: together, **sure}.items():
        measured_any = any(maps.values()) if labelling == WHOLE else bool(maps[labelling])
        agreed = runs(confidence >= LEAST_SURE)
        rows.add_regions({"mode": PAPER, "technique": TOGETHER, "labelling": labelling}, agreed, confidence)
        rows.add_cells(PAPER, labelling, confidence)
        verdict = (LOCALISED if agreed else NOT_LOCALISED) if measured_any else NOT_MEASURED
        rows.localisations.append(
            {
                "mode": PAPER,
                "labelling": labelling,
                "verdict": verdict,
                "confidence": float(confidence.max()),
                "places": named(agreed),
                "sentence": _PAPER_SENTENCES[verdict].format(layers=named(agreed)),
            }
        )
    return rows


_PAPER_SENTENCES = {
    LOCALISED: "By the paper's rules at least half of the techniques mark layers {layers}.",
    NOT_LOCALISED: "By the paper's rules no layer is marked by half of the techniques.",
    NOT_MEASURED: "None of the paper's profiles was measured.",
}


def _localisation(labelling: str, found: Map, surest: Map) -> Row:
    """A row of `localisations`; of a concept as a whole the surest layer is that of its surest labelling."""
    low = high = share = None
    if found.first_half.size:
        share = float(np.mean(found.first_half))
        low, high = (float(bound) for bound in np.percentile(found.first_half, [LOW, HIGH]))
    largest = float(found.confidence.max())
    lost = surest.lost()
    return {
        "mode": CONSENSUS,
        "labelling": labelling,
        "verdict": found.verdict,
        "confidence": largest,
        "places": named(found.regions),
        "surest_layer": surest.surest,
        **dict(zip(_LOST, lost or (None, None, None), strict=True)),
        "first_half_share": share,
        "first_half_low": low,
        "first_half_high": high,
        "sentence": _sentence(found, largest) + _lost_in_words(surest),
    }


def _sentence(found: Map, largest: float) -> str:
    if found.verdict == LOCALISED:
        return f"Localised in {_layers_in_words(found.regions)}; the surest layer has probability {largest:.2f}."
    if found.verdict == NOT_KNOWN:
        return "Not known: the model is right no more often than by always giving the most frequent answer."
    if found.verdict == NOT_MEASURED:
        return f"Not measured: neither {' nor '.join(CAUSAL)} were run on prompts that ask for it."
    return f"Not localised: no layer stands out; the likeliest has probability {largest:.2f}."


def _lost_in_words(surest: Map) -> str:
    """How much hangs on the layer, beside how sure it is that something does."""
    lost = surest.lost()
    if lost is None:
        return ""
    share, low, high = (percent(each) for each in lost)
    told = f"{share} of the right answers are lost ({low} to {high}), over what controls lose."
    return f" Without layer {surest.surest}, {told}"


def _layers_in_words(regions: list[tuple[int, int]]) -> str:
    single = len(regions) == 1 and regions[0][0] == regions[0][1]
    return f"layer{'' if single else 's'} {named(regions)}"
