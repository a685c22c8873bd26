"""The maps of one model and concept from its tables: what the asset of the knowledge map calls.

Which tables are read, and which labellings are mapped, is said here; how, in `mapping`, `paper_map` and `map_tables`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from analyses.contrasts import Contrast, best_contrasts, contrasts
from analyses.effects import MeasuredConcept, known_labellings
from analyses.map_tables import MapRows, consensus_rows, paper_rows
from analyses.mapping import Map, consensus, read_marks
from analyses.paper_map import paper_marks
from analyses.resampling import Floats
from warehouse.errors import InputError


@dataclass(frozen=True)
class Evidence:
    """What a map is drawn from.

    Attributes:
        concept: the concept.
        layers: layers of the model.
        draws: the rows of `profile_draws`.
        labellings: those that asking templates ask for.
        known: whether the model knows the answers, by labelling, as far as lesions tell.
    """

    concept: str
    layers: int
    draws: pl.DataFrame
    labellings: tuple[str, ...]
    known: Mapping[str, bool]

    def maps(self, chosen: Sequence[Contrast]) -> dict[str, Map]:
        """The consensus of some contrasts, by labelling."""
        return {
            labelling: consensus(
                read_marks(self.draws, labelling, self.layers, chosen), self.layers, self.known.get(labelling)
            )
            for labelling in self.labellings
        }


def evidence(
    concept: str, layers: int, draws: pa.Table, prompts: pa.Table, lesioned: MeasuredConcept | None
) -> Evidence:
    """Gather what a map is drawn from.

    Args:
        concept: the concept.
        layers: layers of the model.
        draws: its rows of `profile_draws`.
        prompts: its rows of `prompts`.
        lesioned: its lesions, if any were made.

    Raises:
        InputError: draws of layers that the model doesn't have.
    """
    frame = pl.DataFrame(draws)
    highest = max(frame["layer"].to_list(), default=-1)
    if highest >= layers:
        raise InputError(
            f"profile_draws of {concept} hold layer {highest}, but the model has {layers} layers: "
            "make the profiles of this model anew."
        )
    asked = pl.DataFrame(prompts.select(["template_kind", "labelling"])).filter(
        pl.col("template_kind") == "asking", pl.col("labelling").is_not_null()
    )
    labellings = tuple(asked["labelling"].unique().sort().to_list())
    return Evidence(concept, layers, frame, labellings, known_labellings(lesioned) if lesioned else {})


def map_concept(
    found: Evidence,
    profiles: pa.Table,
    *,
    chosen: Sequence[Contrast] | None = None,
    agreement: Mapping[str, Floats] | None = None,
) -> dict[str, pa.Table]:
    """The tables of both maps, by name.

    Args:
        found: from `evidence`.
        profiles: the concept's rows of `profiles`, which the paper's map is drawn from.
        chosen: the contrasts of the consensus; those that were validated if left out.
        agreement: for each labelling, and the whole, the share of maps made otherwise that agree, shape (layers,).
    """
    ours = consensus_rows(found.maps(chosen or best_contrasts(contrasts())), found.layers, agreement)
    frame = pl.DataFrame(profiles)
    by_paper = {labelling: paper_marks(frame, found.concept, labelling, found.layers) for labelling in found.labellings}
    theirs = paper_rows(by_paper, found.layers)
    both = MapRows(*(getattr(ours, name) + getattr(theirs, name) for name in MapRows.__dataclass_fields__))
    return both.tables()
