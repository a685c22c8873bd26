"""How well each profile, and the maps made of them, find knowledge whose place is known: rows of `validation`.

A case is one relation of one planted, spread or untrained model, with all that was measured of it. Here cases become
rows, and counts for `contrasts`: the consensus that a case is judged by was fitted without any model of its group. How
cases are made is not said here, nor how rows are summed up (`validity_summary`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from analyses.concept_map import Evidence
from analyses.contrasts import Contrast, best_contrasts, contrasts
from analyses.mapping import LEAST_SURE, NOT_KNOWN, consensus, read_marks
from analyses.marking import named, runs, stand_out
from analyses.paper_map import paper_marks
from analyses.resampling import Floats
from warehouse.errors import InputError
from warehouse.tables import table

CROSS_VALIDATED, BY_PAPER = "confidence", "share of techniques"
"""The metrics of the consensus and of the paper's map."""

VALIDATION_FILE = Path(__file__).with_name("validation.csv")
"""The rows that come with the project; beside it, in JSON, how they were made."""

ASIDE_FILE = Path(__file__).with_name("validation_aside.csv")
"""The rows of models held aside, which judge the consensus and that nothing was fitted to."""

_SIGNS = {"loss_first_order_effect": -1.0}
"""Metrics of which less is more: weights that hold the answer up lower its loss."""

_LEAST = (
    ("accuracy_drop_over_controls", 0.25),
    ("accuracy_drop", 0.25),
    ("_over_controls", 0.25),
    ("restored", 0.25),
    ("restored_step", 0.25),
    ("log_probability_drop", 0.5),
    ("kl", 0.5),
    ("silhouette_cosine", 0.1),
    ("silhouette_cosine_step", 0.1),
    ("silhouette_umap", 0.1),
    ("loss_first_order_effect", 0.25),
    ("logit_difference_first_order_effect", 0.5),
)
"""What a layer that a metric marks must have at least, by the end of its name; 0 for all others."""


def kept_validation(path: Path = VALIDATION_FILE) -> pa.Table:
    """The rows of `validation` that come with the project, sorted by key.

    Raises:
        InputError: the file can't be read as such rows.
    """
    entry = table("validation")
    schema = entry.schema()
    try:
        text = pl.read_csv(path, infer_schema=False)
        columns = [_column(text[field.name], field) for field in schema]
    except (OSError, pl.exceptions.PolarsError, pa.ArrowInvalid) as error:
        raise InputError(f"{path} can't be read as results of a validation ({error}): `vesalius validate`.") from error
    return pa.table(columns, schema=schema).sort_by([(column.name, "ascending") for column in entry.keys])


def _column(text: pl.Series, field: pa.Field) -> pa.Array:
    if not field.nullable:
        text = text.fill_null("")
    values = text.to_arrow().cast(pa.string())
    return values if field.type == pa.string() else values.cast(field.type)


@dataclass(frozen=True)
class Case:
    """One relation of one model.

    Attributes:
        model, concept, labelling: which.
        kind: how the knowledge was planted.
        group: models that share their training before the plant; cross-validation leaves them out together.
        seed: of the model.
        planted: the layers that hold it; empty where none does.
        evidence: what the consensus is drawn from.
        profiles: the concept's rows of `profiles`.
    """

    model: str
    concept: str
    labelling: str
    kind: str
    group: str
    seed: int
    planted: tuple[int, ...]
    evidence: Evidence
    profiles: pl.DataFrame

    @property
    def truth(self) -> NDArray[np.bool_]:
        """Whether each layer holds the knowledge, shape (layers,)."""
        held = np.zeros(self.evidence.layers, dtype=bool)
        held[list(self.planted)] = True
        return held


def least_of(metric: str) -> float:
    """What a marked layer of a metric must have at least, in its unit."""
    return next((least for ending, least in _LEAST if metric.endswith(ending)), 0.0)


def fit(cases: Sequence[Case], candidates: Sequence[tuple[str, str, str]]) -> list[Contrast]:
    """Count how often each candidate marks layers that hold the knowledge, and layers that don't.

    Each kind of plant counts alike, however many models it has: counts are scaled so that they sum to the number of
    planted models. The best of a technique has the largest sensitivity less false alarms (Youden's J).

    Args:
        cases: what is known; those of relations that nobody planted count as silent where the model doesn't know them.
        candidates: technique, metric and position of each.
    """
    found = []
    for technique, metric, position in candidates:
        blank = Contrast(technique, metric, position, least_of(metric), False, 0, 0, 0, 0)
        hits: dict[str, list[float]] = {}
        alarms: dict[str, list[float]] = {}
        for case in cases:
            marked = _marked(case, blank)
            truth = case.truth
            if truth.any():
                hits.setdefault(case.kind, []).append(float(marked[truth].mean()))
            alarms.setdefault(case.kind, []).append(float(marked[~truth].mean()))
        planted, others = (sum(map(len, counted.values())) for counted in (hits, alarms))
        found.append(
            replace(blank, planted=planted, found=planted * _mean(hits), others=others, false=others * _mean(alarms))
        )
    ordered = sorted(found, key=lambda each: (each.technique, -(each.sensitivity - each.false_alarm), each.metric))
    return [
        replace(contrast, is_best=place == 0)
        for _, same in groupby(ordered, key=lambda each: each.technique)
        for place, contrast in enumerate(same)
    ]


def validation_table(
    cases: Sequence[Case],
    candidates: Sequence[tuple[str, str, str]],
    chosen: Sequence[Contrast] | None = None,
) -> pa.Table:
    """The rows of `validation`: every profile, the paper's map, and the consensus fitted without the case's group.

    A group has the contrasts that come with the project where nothing is planted in any other.

    Args:
        cases: what is known.
        candidates: technique, metric and position of each profile that may become a contrast.
        chosen: the contrasts of every consensus, if they are not to be fitted to the cases.
    """
    rows: list[dict[str, object]] = []
    groups = {case.group for case in cases}
    fitted = {group: chosen or _without(group, cases, candidates) for group in groups}
    for case in cases:
        rows += [keys | _judged(case, *read) for keys, read in _readings(case, fitted[case.group])]
    entry = table("validation")
    found = pa.Table.from_pylist(rows, schema=entry.schema())
    return found.sort_by([(column.name, "ascending") for column in entry.keys])


def _without(group: str, cases: Sequence[Case], candidates: Sequence[tuple[str, str, str]]) -> tuple[Contrast, ...]:
    others = [case for case in cases if case.group != group]
    found = fit(others, candidates) if any(case.truth.any() for case in others) else contrasts()
    return best_contrasts(found)


def consensus_of(case: Case, chosen: Sequence[Contrast]) -> Floats:
    """The confidence of each layer by some contrasts, shape (layers,)."""
    evidence = case.evidence
    marks = read_marks(evidence.draws, case.labelling, evidence.layers, chosen)
    return consensus(marks, evidence.layers, evidence.known.get(case.labelling)).confidence


def _readings(
    case: Case, chosen: Sequence[Contrast]
) -> Iterator[tuple[dict[str, str], tuple[Floats, NDArray[np.bool_]]]]:
    """Technique, metric and position of all that names layers, with its values and its marks, shape (layers,)."""
    layers = case.evidence.layers
    confidence = consensus_of(case, chosen)
    yield _keys("consensus", CROSS_VALIDATED), (confidence, confidence >= LEAST_SURE)
    shares = [marks.marked for marks in paper_marks(case.profiles, case.concept, case.labelling, layers).values()]
    if shares:
        agreed = np.mean(shares, axis=0)
        yield _keys("paper", BY_PAPER), (agreed, agreed >= LEAST_SURE)
    asked = case.profiles.filter(
        pl.col("layer") >= 0, labelling=case.labelling, template_kind="asking", variant=""
    ).sort("layer")
    for names, profile in asked.group_by("technique", "metric", "position", maintain_order=True):
        technique, metric, position = map(str, names)
        values = np.zeros(layers)
        values[profile["layer"].to_numpy()] = _SIGNS.get(metric, 1.0) * profile["value"].to_numpy()
        yield _keys(technique, metric, position), (values, stand_out(values[:, None], least_of(metric))[:, 0])


def _keys(technique: str, metric: str, position: str = "last") -> dict[str, str]:
    return {"technique": technique, "metric": metric, "position": position}


def _judged(case: Case, values: Floats, marked: NDArray[np.bool_]) -> dict[str, object]:
    truth = case.truth
    best = int(values.argmax()) if values.max() > values.min() else None
    planted = truth.any()
    either = (marked | truth).sum()
    return {
        "model": case.model,
        "concept": case.concept,
        "labelling": case.labelling,
        "kind": case.kind,
        "layers": case.evidence.layers,
        "seed": case.seed,
        "planted": named(runs(truth)),
        "best_layer": best,
        "hit": float(best is not None and truth[best]) if planted else None,
        "error": float(np.abs(np.flatnonzero(truth) - best).min()) if planted and best is not None else None,
        "overlap": float((marked & truth).sum() / either) if planted else None,
        "found": float(marked[truth].mean()) if planted else None,
        "false_marks": float(marked[~truth].mean()) if not truth.all() else None,
        "localised": bool(marked.any()),
    }


def _marked(case: Case, contrast: Contrast) -> Floats:
    """How surely a contrast marks each layer; not at all where it was not measured, or the answers are not known."""
    evidence = case.evidence
    marks = read_marks(evidence.draws, case.labelling, evidence.layers, [contrast])
    known = consensus(marks, evidence.layers, evidence.known.get(case.labelling)).verdict != NOT_KNOWN
    return marks[0].marked if marks and known else np.zeros(evidence.layers)


def _mean(counted: dict[str, list[float]]) -> float:
    """The mean over kinds of their means; 0 of nothing."""
    return float(np.mean([np.mean(values) for values in counted.values()])) if counted else 0.0
