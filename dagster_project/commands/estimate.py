"""`vesalius estimate`: what a run of a model would take, told before any weight is read.

What is counted and how is in `extract.estimation` and `extract.speed`; here the model is found, the machine is asked
what it has of memory and disk, and all of it is laid out. The check that a run makes is in `extract.job.fitting`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dagster_project.commands.completing import model_slugs
from dagster_project.commands.options import JsonOption, WarehouseOption, names_of
from dagster_project.commands.output import print_json
from extract.job.libraries import quiet_libraries
from warehouse.errors import InputError

if TYPE_CHECKING:
    from extract.estimation import Estimate
    from extract.room import Room

ANALYSES_SECONDS = 2.4
"""Of one processor, for a concept and a layer: profiles with 1,000 resamples, layouts, maps. Rough: 175 seconds for 8
concepts and 9 layers of an embedded model (another time 138 and 114); how it grows with layers and terms is assumed."""

ANALYSES_BYTES = 350_000
"""Of tables and pictures, for a concept and a layer; *measured* on the same."""

_SPREAD = 2.0
HOW = "`vesalius run --even-if-it-may-not-fit` runs it all the same."
_WORDS = {
    "preparation": "trials before anything is measured",
    "activations": "the stream after every layer",
    "lesions": "every layer lost in turn",
    "patches": "clean into corrupted, layer by layer",
    "saliency": "gradients of every layer's weights",
    "answers": "written under every lesion",
    "untrained twin": "activations of random weights",
}


def estimate(
    *,
    model: Annotated[
        str,
        typer.Argument(
            help="A registered slug, or a folder with a config.json; weights need not be there.",
            autocompletion=model_slugs,
        ),
    ],
    gpu: Annotated[str | None, typer.Option(help="For a GPU with so much memory, like 24GB, here or not.")] = None,
    ram: Annotated[str | None, typer.Option(help="Main memory, like 64GB. Default: what is free here.")] = None,
    disk: Annotated[str | None, typer.Option(help="Disk, like 2TB. Default: what is free for the warehouse.")] = None,
    as_json: JsonOption = False,
    concepts: Annotated[
        Path | None,
        typer.Option("--concepts", help="Folder of the concept library. Default: VESALIUS_CONCEPTS, or ours."),
    ] = None,
    only: Annotated[str | None, typer.Option(help="Only these concepts: names with commas between.")] = None,
    warehouse: WarehouseOption = None,
    lesions: Annotated[str, typer.Option(help="As for `vesalius run`.")] = "identity,resample",
    sites: Annotated[str, typer.Option(help="As for `vesalius run`.")] = "resid,delta",
    contributions: Annotated[bool, typer.Option(help="Keep what attention and MLP add, as vectors.")] = False,
    sample: Annotated[int, typer.Option(min=0, help="Prompts, and pairs, of a concept; 0: all that can be.")] = 160,
    held_out: Annotated[
        int, typer.Option("--held-out", min=0, help="Prompts of held-out templates besides, of a concept.")
    ] = 40,
    answers: Annotated[int, typer.Option(min=0, help="Prompts of a concept that are answered under each lesion.")] = 12,
    memory: Annotated[
        str | None, typer.Option(help="What streams may take, like 24GB. Default: half of what is free.")
    ] = None,
    untrained: Annotated[
        bool | None,
        typer.Option("--untrained/--no-untrained", help="The untrained twin too. Default: as for `vesalius run`."),
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32 or bfloat16. Default: what the model's config names.")
    ] = None,
    placement: Annotated[
        str | None, typer.Option(help="Where weights lie: none, auto, offload. Default: what models.toml says.")
    ] = None,
    timed: Annotated[
        bool, typer.Option("--time/--no-time", help="Try how fast this machine is; a second or two.")
    ] = True,
) -> None:
    """Say what a run would take: forwards, operations, memory, disk, time. Code 2 if it can't fit."""
    quiet_libraries()
    from dagster_project.defs.resources import Warehouse
    from dagster_project.terminal import console
    from extract.estimation import estimate as estimated
    from extract.interventions import read_lesions, read_patches, read_size
    from extract.models import check_dtype, check_placement, resolve
    from extract.outline import outline
    from extract.planned import Choices
    from extract.room import refuse
    from extract.untrained import SMALL

    check_dtype(dtype)
    check_placement(placement)
    places = Warehouse.from_environment(root=warehouse, concepts=concepts)
    library = places.library(names_of(only or "")).concepts
    if not library:
        raise InputError(f"{places.concepts} has no concepts: there is nothing to estimate.")
    entry = resolve(model, places.registry())
    entry = replace(entry, placement=placement or entry.placement)
    shape = outline(entry, dtype)
    choices = Choices(
        lesions=read_lesions(names_of(lesions)),
        patches=read_patches(names_of(sites)),
        contributions=contributions,
        sample=sample,
        held_out=held_out,
        answers=answers,
        memory=None if memory is None else read_size(memory),
        untrained=shape.weights < SMALL if untrained is None else untrained,
    )
    room, host = _room(gpu, ram, disk, places.store.root)
    kind = "cpu" if room.shared else "cuda"
    with console(error=True).status(f"{entry.slug}: count"):
        made = estimated(
            entry, library, choices, device=kind, device_memory=room.memory, shared=room.shared, shape=shape
        )
    seconds: dict[str, tuple[float, float]] | None = None
    if timed and _is_here(room):
        from extract.speed import probe, technique_seconds

        with console(error=True).status(f"{entry.slug}: time"):
            seconds = technique_seconds(made, probe(entry, shape, library, kind))
            seconds["analyses"] = _analyses_seconds(made)
    why, instead = verdict(made, room, host)
    if as_json:
        print_json(as_object(made, room, seconds, why, instead))
    else:
        _print(made, room, seconds)
    refuse(why, instead, HOW)


def verdict(made: "Estimate", room: "Room", host: int) -> tuple[tuple[str, ...], list[str]]:
    """Why a run can't fit, and what would; both empty where it can."""
    from extract.room import refusals, remedies

    tables = {name: size for name, (_, size) in made.tables.items()} | {"analyses": _analyses_bytes(made)}
    why = refusals(made.memory, sum(tables.values()), made.shape, room)
    return why, list(remedies(made.memory, tables, made.shape, room, host=host)) if why else []


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
        "memory": {**vars(need), "peak": need.peak, "least": need.least},
        "disk": {
            "bytes": made.disk + _analyses_bytes(made),
            "tables": {name: {"rows": rows, "bytes": size} for name, (rows, size) in sorted(made.tables.items())},
            "analyses": _analyses_bytes(made),
        },
        "techniques": {name: vars(work) for name, work in made.work.items()},
        "seconds": None if seconds is None else {name: list(times) for name, times in seconds.items()},
        "room": vars(room),
        "assumed": list(made.assumed),
        "fits": not why,
        "why_not": list(why),
        "instead": list(instead),
    }


def _room(gpu: str | None, ram: str | None, disk: str | None, root: object) -> "tuple[Room, int]":
    """What there is of the device and of disk, and bytes of main memory."""
    import psutil
    import torch

    from extract.interventions import read_size
    from extract.job.fitting import free_disk
    from extract.room import LIBRARIES, Room

    free = read_size(disk) if disk else free_disk(root)
    host = read_size(ram) if ram else int(psutil.virtual_memory().available)
    if gpu:
        return Room(f"a GPU of {gpu}", read_size(gpu), free, shared=False), host
    if torch.cuda.is_available():
        return Room(torch.cuda.get_device_name(), int(torch.cuda.mem_get_info()[0]), free, shared=False), host
    return Room("main memory", host, free, shared=True, program=LIBRARIES), host


def _is_here(room: "Room") -> bool:
    import torch

    return room.shared or torch.cuda.is_available()


def _analyses_seconds(made: "Estimate") -> tuple[float, float]:
    seconds = ANALYSES_SECONDS * made.concepts * (len(made.shape.layers) + 1)
    return seconds / _SPREAD, seconds * _SPREAD


def _analyses_bytes(made: "Estimate") -> int:
    return ANALYSES_BYTES * made.concepts * (len(made.shape.layers) + 1)


def _print(made: "Estimate", room: "Room", seconds: Mapping[str, tuple[float, float]] | None) -> None:
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
    rows.append(["analyses", "profiles, maps, pictures", "", "", "", "", _times(seconds, "analyses")])
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
    out.print(
        f"Memory: {size(need.peak)} at most, {size(need.least)} at least ({size(need.weights)} of weights, "
        f"{size(need.streams)} of streams in {made.sweeps} sweeps, {size(need.work)} at work); {room.device} has "
        f"{size(room.memory)}."
    )
    tables = [*sorted(made.tables.items(), key=lambda each: -each[1][1])]
    named = ", ".join(f"{name} {size(each)} ({rows:,} rows)" for name, (rows, each) in tables[:4])
    analysed = _analyses_bytes(made)
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
