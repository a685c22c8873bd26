"""The consensus of the techniques: how sure it is that a layer holds a concept, and *not localised* where none does.

Each technique's best contrast (`contrasts`) says by its resamples how surely a layer stands out (`marking`), and these
marks become a probability by how often such marks were right on planted models. The paper's own rule is in `paper_map`;
how maps become tables, in `map_tables`; maps made otherwise, to see what holds, in `stability`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from analyses.contrasts import Contrast
from analyses.marking import first_half_shares, runs, stand_out
from analyses.resampling import HIGH, LOW, Floats

LOCALISED, NOT_LOCALISED, NOT_KNOWN, NOT_MEASURED = "localised", "not localised", "not known", "not measured"

LEAST_SURE = 0.5
"""Probability from which a layer belongs to a region: it is then more likely than not to hold the concept."""

_LOST = "_accuracy_drop_over_controls"
"""Ends the name of a contrast that counts right answers."""

CAUSAL = ("lesions", "patches")
"""Techniques that change the model and look at its answer: without one of them nothing is said of a place."""


@dataclass(frozen=True)
class Marks:
    """What one contrast says of each layer.

    Attributes:
        contrast: which.
        value: its profile, shape (layers,).
        draws: its resamples, shape (layers, resamples).
        marked: the share of resamples in which each layer stands out, shape (layers,).
    """

    contrast: Contrast
    value: Floats
    draws: Floats
    marked: Floats

    @property
    def log_odds(self) -> Floats:
        """What it adds to the log-odds of each layer, in nats, shape (layers,)."""
        return np.array([self.contrast.log_odds(float(marked)) for marked in self.marked])


@dataclass(frozen=True)
class Map:
    """A map of one labelling.

    Attributes:
        verdict: localised, not localised, not known or not measured.
        confidence: probability that each layer holds the knowledge, shape (layers,).
        marks: what was put together.
        first_half: the share of the weight in the first half of the layers, one value a draw; empty if nobody can tell.
    """

    verdict: str
    confidence: Floats
    marks: tuple[Marks, ...]
    first_half: Floats

    @property
    def surest(self) -> int | None:
        """The layer of the largest confidence, the lowest of several; None if it is not localised."""
        return int(self.confidence.argmax()) if self.verdict == LOCALISED else None

    def lost(self) -> tuple[float, float, float] | None:
        """What is lost with the surest layer over what the controls lose, as a share of the right answers.

        Returns:
            The share and its 95% interval; None if it is not localised, or no lesion tells in these terms.
        """
        told = [mark for mark in self.marks if mark.contrast.metric.endswith(_LOST)]
        if self.surest is None or not told:
            return None
        low, high = np.percentile(told[0].draws[self.surest], [LOW, HIGH])
        return float(told[0].value[self.surest]), float(low), float(high)

    @property
    def regions(self) -> list[tuple[int, int]]:
        """First and last layer of each region."""
        return runs(self.confidence >= LEAST_SURE)


def read_marks(
    draws: pl.DataFrame, labelling: str, layers: int, chosen: Sequence[Contrast], *, template_kind: str = "asking"
) -> tuple[Marks, ...]:
    """What some contrasts say of a labelling, for those that were measured.

    A step begins one layer above its profile; layers that a profile leaves out count as 0.

    Args:
        draws: rows of `profile_draws` of one model and concept.
        labelling: which labelling.
        layers: layers of the model.
        chosen: the contrasts.
        template_kind: asking, or held out where activations were measured so.
    """
    found = []
    for contrast in chosen:
        rows = draws.filter(
            pl.col("layer") >= 0,
            technique=contrast.technique,
            metric=contrast.metric,
            position=contrast.position,
            labelling=labelling,
            template_kind=template_kind,
            variant="",
        ).sort("layer")
        if not len(rows):
            continue
        at = rows["layer"].to_numpy()
        value, drawn = np.zeros(layers), np.zeros((layers, len(rows["draws"][0])))
        value[at] = rows["value"].to_numpy()
        drawn[at] = np.stack(rows["draws"].to_list())
        marked = stand_out(drawn, contrast.least).mean(axis=1)
        found.append(Marks(contrast, value, drawn, marked))
    return tuple(found)


def consensus(marks: Sequence[Marks], layers: int, known: bool | None) -> Map:
    """Put marks together, layer by layer.

    The prior is that one layer of them all holds the knowledge. Each contrast then adds the log-odds of its mark, or
    of its silence, as they were counted on planted models (naive Bayes: techniques are taken to err independently,
    which they don't quite; `docs/validity.md` shows how well the probabilities are calibrated).

    Args:
        marks: one a technique.
        layers: layers of the model.
        known: whether the model knows the answers (`effects.known_labellings`); None if nobody asked.
    """
    nothing, silent = np.zeros(layers), np.empty(0)
    if known is False:
        return Map(NOT_KNOWN, nothing, tuple(marks), silent)
    if not any(mark.contrast.technique in CAUSAL for mark in marks):
        return Map(NOT_MEASURED, nothing, tuple(marks), silent)
    odds = np.full(layers, math.log(1 / layers) - math.log(max(1 - 1 / layers, 1 / layers)))
    odds += np.sum([mark.log_odds for mark in marks], axis=0)
    confidence = 1.0 / (1.0 + np.exp(-odds))
    verdict = LOCALISED if (confidence >= LEAST_SURE).any() else NOT_LOCALISED
    return Map(verdict, confidence, tuple(marks), _first_half(marks))


def whole(maps: Mapping[str, Map], layers: int) -> Map:
    """The map of a concept: at each layer the highest confidence of its labellings; not measured where it has none."""
    if not maps:
        return Map(NOT_MEASURED, np.zeros(layers), (), np.empty(0))
    order = (LOCALISED, NOT_LOCALISED, NOT_KNOWN, NOT_MEASURED)
    found = min(maps.values(), key=lambda each: order.index(each.verdict))
    confidence = np.max([each.confidence for each in maps.values()], axis=0)
    told = [each.first_half for each in maps.values() if each.first_half.size]
    shortest = min((len(each) for each in told), default=0)
    halves = np.mean([each[:shortest] for each in told], axis=0) if told else np.empty(0)
    return replace(found, confidence=confidence, first_half=halves)


def _first_half(marks: Sequence[Marks]) -> Floats:
    """The share of the first half of the layers by the causal contrasts, by draw; the mean over them.

    Only a draw in which each of them has any positive value counts.
    """
    shares = [first_half_shares(mark.draws) for mark in marks if mark.contrast.technique in CAUSAL]
    if not shares:
        return np.empty(0)
    shortest = min(len(each) for each in shares)
    means = np.mean([each[:shortest] for each in shares], axis=0)
    return np.asarray(means[np.isfinite(means)])
