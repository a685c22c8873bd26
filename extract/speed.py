"""How long a run takes, by how fast a machine does what an estimate counts.

How fast it is, is measured in `probing` and `trials`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from extract.costs import Work
from extract.estimation import PREPARATION, TWIN, Estimate

EFFECTS = "effects"
"""Lesions and patches, which are tried together; what has no trial of its own is taken to be as fast."""

_TABLES = {PREPARATION: 0, "activations": 2, TWIN: 2}
"""Tables that a technique fills layer by layer, where it is not one."""

_SPREAD = {True: 1.5, False: 3.0}
"""By what a time may be wrong either way, if the engine itself was tried, or not."""

_LEAST_SHARE = 0.02
"""Of the longest trial, what its calls and its operations take at least: neither is allowed to be nothing."""


class Tried(NamedTuple):
    """A trial of a technique: what it is counted as, and the seconds that it took."""

    technique: str
    work: Work
    seconds: float


@dataclass(frozen=True)
class Pace:
    """How fast a technique goes.

    Attributes:
        batch: seconds of a batch besides its layers: it is made, embedded, read at the end.
        call: seconds of a layer's call, whatever goes through.
        flops: operations a second.
    """

    batch: float
    call: float
    flops: float

    def seconds(self, work: Work, computing: float = 0.0) -> float:
        """What some work takes; computing takes the given seconds at least."""
        return work.batches * self.batch + work.calls * self.call + max(computing, work.flops / self.flops)

    def times(self, factor: float, batch: float = 0.0) -> "Pace":
        """The pace of a technique whose layers take longer by a factor, and whose batches take so many seconds."""
        return Pace(batch, self.call * factor, self.flops / factor)


@dataclass(frozen=True)
class Speed:
    """What was measured.

    Attributes:
        paces: by technique; those that are not there go at the pace of `EFFECTS`.
        row_bytes: bytes of vectors a second that are turned into rows and written.
        group: seconds that a layer of a table takes to be written, whatever is in it.
        bandwidth: bytes of weights a second; None where the engine was tried, whose calls include reading.
        tried: whether the engine itself was.
    """

    paces: Mapping[str, Pace]
    row_bytes: float
    group: float
    bandwidth: float | None
    tried: bool

    def seconds(self, technique: str, work: Work, layer_bytes: float = 0.0) -> float:
        """What a technique's work takes, with so many bytes of weights in a layer."""
        reading = 0.0 if self.bandwidth is None else work.calls * layer_bytes / self.bandwidth
        return self.paces.get(technique, self.paces[EFFECTS]).seconds(work, reading)


def paces(trials: Sequence[Tried]) -> dict[str, Pace]:
    """The pace of each technique that was tried.

    Lesions and patches tell what a batch, a call and an operation take, each of them by its own trial. Of the other
    techniques two trials tell what a batch takes, and by what a layer takes longer than it does for lesions and
    patches. Nothing takes less than no time. With one depth alone, a batch is taken to take none.

    Args:
        trials: of `EFFECTS` two or more, unlike in how much goes through a call; of others one or more.
    """
    effects = _effects([each for each in trials if each.technique == EFFECTS])
    found = {EFFECTS: effects}
    for name in dict.fromkeys(each.technique for each in trials if each.technique != EFFECTS):
        same = [each for each in trials if each.technique == name]
        layers = effects.times(1.0)
        counted = np.array([[each.work.batches, layers.seconds(each.work)] for each in same])
        batch, factor = _solved(counted if len(same) > 1 else counted * [0, 1], same)
        # A technique whose layers took no time in the trials would take none in a run of any depth.
        found[name] = effects.times(factor, batch) if factor else effects.times(_mean_factor(counted, same))
    return found


def _mean_factor(counted: np.ndarray, trials: Sequence[Tried]) -> float:
    return float(np.mean([each.seconds for each in trials] / counted[:, 1]))


def _effects(trials: Sequence[Tried]) -> Pace:
    counted = np.array([[each.work.batches, each.work.calls, each.work.flops] for each in trials], dtype=float)
    batch, call, operation = _solved(counted if len(trials) > 2 else counted * [0, 1, 1], trials)
    longest = max(trials, key=lambda each: each.seconds)
    least = longest.seconds * _LEAST_SHARE
    return Pace(batch, max(call, least / longest.work.calls), 1 / max(operation, least / longest.work.flops))


def _solved(counted: np.ndarray, trials: Sequence[Tried]) -> tuple[float, ...]:
    """Seconds of each thing that is counted, none below zero, by which all trials are as little wrong as can be.

    Wrong is meant as a share of what a trial took. [trial, what is counted].
    """
    from scipy.optimize import nnls

    seconds = np.array([each.seconds for each in trials])
    scale = np.maximum(counted.max(axis=0), 1e-300)
    found, _ = nnls(counted / scale / seconds[:, None], np.ones(len(trials)))
    return tuple(float(each) for each in found / scale)


def technique_seconds(made: Estimate, speed: Speed) -> dict[str, tuple[float, float]]:
    """Seconds of each technique, from the least to the most that they may be."""
    layer = made.shape.layer_bytes / len(made.shape.layers)
    spread = _SPREAD[speed.tried]
    vectors = sum(made.tables.get(name, (0, 0))[0] for name in ("activations", "contributions"))
    writing = vectors * made.shape.width * 4 / speed.row_bytes
    layers = made.concepts * len(made.shape.layers)
    found = {}
    for name, work in made.work.items():
        # A twin is read as its model is.
        seconds = speed.seconds("activations" if name == TWIN else name, work, layer)
        seconds += layers * speed.group * _TABLES.get(name, 1)
        if name in {"activations", TWIN}:
            seconds += writing * work.forwards / max(1, _read(made))
        elif name == PREPARATION:
            seconds += 1.0
        found[name] = seconds / spread, seconds * spread
    return found


def _read(made: Estimate) -> int:
    return sum(made.work[name].forwards for name in ("activations", TWIN) if name in made.work)
