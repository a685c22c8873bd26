"""An estimate laid out: in lines for people, as plain values for scripts. It is made in `estimate`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dagster_project.commands.analysed import analyses_bytes, analyses_memory, peak

if TYPE_CHECKING:
    from extract.estimation import Estimate
    from extract.room import Room

_WORDS = {
    "preparation": "trials before anything is measured",
    "activations": "the stream after every layer",
    "lesions": "every layer lost in turn",
    "patches": "clean into corrupted, layer by layer",
    "saliency": "gradients of every layer's weights",
    "answers": "written under every lesion",
    "untrained twin": "activations of random weights",
}


def as_object(
    made: "Estimate",
    room: "Room",
    seconds: Mapping[str, tuple[float, float]] | None,
    why: Sequence[str],
    instead: Sequence[str],
) -> dict[str, Any]:
    """The estimate as plain values, for scripts; sizes in bytes, times in seconds."""
    need, total = made.memory, made.total
    return {
        "model": made.model,
        "architecture": made.shape.architecture,
        "dtype": made.shape.dtype,
        "weights": made.shape.weights,
        "layers": len(made.shape.layers),
        "width": made.shape.width,
        "concepts": made.concepts,
        "prompts": made.prompts,
        "tokens": made.tokens,
        "sweeps": made.sweeps,
        "forwards": total.forwards,
        "flops": total.flops,
        "weight_bytes_read": made.weight_bytes_read,
        "memory": {
            **vars(need),
            "program": room.program,
            "analyses": analyses_memory(made),
            "peak": peak(made, room),
            "least": room.program + need.least,
        },
        "disk": {
            "bytes": made.disk + analyses_bytes(made),
            "tables": {name: {"rows": rows, "bytes": size} for name, (rows, size) in sorted(made.tables.items())},
            "analyses": analyses_bytes(made),
        },
        "techniques": {name: vars(work) for name, work in made.work.items()},
        "seconds": None if seconds is None else {name: list(times) for name, times in seconds.items()},
        "room": vars(room),
        "assumed": list(made.assumed),
        "fits": not why,
        "why_not": list(why),
        "instead": list(instead),
    }


def print_estimate(made: "Estimate", room: "Room", seconds: Mapping[str, tuple[float, float]] | None) -> None:
    """Print the estimate for people; no times where none are known."""
    from dagster_project.terminal import console, plain_table
    from extract.room import size

    out, need, shape = console(), made.memory, made.shape
    out.print(
        f"{made.model}: {shape.architecture}, {shape.weights:,} weights in {shape.dtype}, {len(shape.layers)} layers "
        f"of width {shape.width}. {made.concepts} concepts, {made.prompts:,} prompts, {made.tokens:,} tokens."
    )
    out.print()
    rows = [
        [
            name,
            _WORDS[name],
            f"{work.forwards:,}",
            f"{work.equivalents:,.0f}",
            _operations(work.flops),
            size(work.passes * shape.layer_bytes),
            _times(seconds, name),
        ]
        for name, work in made.work.items()
    ]
    total = made.total
    rows.append(["analyses", "profiles, maps, findings", "", "", "", "", _times(seconds, "analyses")])
    if seconds is None or "umap" in seconds:
        rows.append(["umap", "layouts and their pictures", "", "", "", "", _times(seconds, "umap")])
    rows.append(
        [
            "in all",
            "",
            f"{total.forwards:,}",
            f"{total.equivalents:,.0f}",
            _operations(total.flops),
            size(made.weight_bytes_read),
            _sum(seconds),
        ]
    )
    columns = ("technique", "", "prompts", "as forwards", "operations", "weights read", "time")
    out.print(plain_table(columns, rows))
    out.print()
    program = f"{size(room.program)} of the program itself, " if room.program else ""
    out.print(
        f"Memory: {size(peak(made, room))} at most, {size(room.program + need.least)} at least ({program}"
        f"{size(need.weights)} of weights, {size(need.streams)} of streams in {made.sweeps} sweeps, {size(need.work)} "
        f"at work; afterwards {size(analyses_memory(made))} of main memory for analyses); {room.device} has "
        f"{size(room.memory)}."
    )
    tables = [*sorted(made.tables.items(), key=lambda each: -each[1][1])]
    named = ", ".join(f"{name} {size(each)} ({rows:,} rows)" for name, (rows, each) in tables[:4])
    analysed = analyses_bytes(made)
    out.print(
        f"Disk: {size(made.disk + analysed)}: {named}, about {size(analysed)} of analyses; {size(room.disk)} are free."
    )
    if seconds is None:
        out.print("No time is told: that device is not here to be tried, or it was not asked for.")
    for assumed in made.assumed:
        out.print(f"Assumed: {assumed}")


def _operations(flops: float) -> str:
    for unit, step in (("P", 1e15), ("T", 1e12), ("G", 1e9)):
        if flops >= step:
            return f"{flops / step:,.1f} {unit}FLOP"
    return f"{flops / 1e6:,.1f} MFLOP"


def _times(seconds: Mapping[str, tuple[float, float]] | None, name: str) -> str:
    return "" if seconds is None or name not in seconds else _range(*seconds[name])


def _sum(seconds: Mapping[str, tuple[float, float]] | None) -> str:
    if seconds is None:
        return ""
    low, high = (sum(bounds) for bounds in zip(*seconds.values(), strict=True))
    return _range(low, high)


def _range(low: float, high: float) -> str:
    for unit, step in (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if low >= 2 * step:
            return f"{low / step:.0f} to {high / step:.0f} {unit}"
    return f"{low:.0f} to {high:.0f} s" if high >= 2 else "a second or two"
