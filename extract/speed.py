"""How long a run takes, by how fast a machine does what an estimate counts.

How fast it is, is measured in `probing`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from extract.costs import Work
from extract.estimation import PREPARATION, TWIN, Estimate

_SPREAD = {True: 1.5, False: 3.0}
"""By what a time may be wrong either way, if the engine itself was tried, or not."""


@dataclass(frozen=True)
class Speed:
    """What was measured.

    Attributes:
        call: seconds of a layer's call, whatever goes through.
        flops: operations a second.
        beside: by technique, by what it takes longer than calls and operations say; lesions and patches, by which those
            are measured, take no longer.
        row_bytes: bytes of vectors a second that are turned into rows and written.
        bandwidth: bytes of weights a second; None where the engine was tried, whose calls include reading.
        tried: whether the engine itself was.
    """

    call: float
    flops: float
    row_bytes: float
    bandwidth: float | None
    tried: bool
    beside: Mapping[str, float] = field(default_factory=dict)

    def seconds(self, work: Work, layer_bytes: float = 0.0) -> float:
        """What some work takes, by what the engine takes for the sweep."""
        computing = work.flops / self.flops
        if self.bandwidth is not None:
            computing = max(computing, work.calls * layer_bytes / self.bandwidth)
        return work.calls * self.call + computing


def technique_seconds(made: Estimate, speed: Speed) -> dict[str, tuple[float, float]]:
    """Seconds of each technique, from the least to the most that they may be."""
    layer = made.shape.layer_bytes / len(made.shape.layers)
    spread = _SPREAD[speed.tried]
    vectors = sum(made.tables.get(name, (0, 0))[0] for name in ("activations", "contributions"))
    writing = vectors * made.shape.width * 4 / speed.row_bytes
    found = {}
    for name, work in made.work.items():
        # A twin is read as its model is.
        seconds = speed.seconds(work, layer) * speed.beside.get("activations" if name == TWIN else name, 1.0)
        if name in {"activations", TWIN}:
            seconds += writing * work.forwards / max(1, _read(made))
        elif name == PREPARATION:
            seconds += 1.0
        found[name] = seconds / spread, seconds * spread
    return found


def _read(made: Estimate) -> int:
    return sum(made.work[name].forwards for name in ("activations", TWIN) if name in made.work)
