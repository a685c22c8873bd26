"""`vesalius estimate`: what a run of a model would take, told before any weight is read.

What is counted and how is in `extract.estimation` and `extract.speed`; here the model is found, the machine is asked
what it has of memory and disk. It is laid out in `estimated`. The check that a run makes is in `extract.job.fitting`.
"""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dagster_project.commands.analysed import analyses_bytes, analyses_memory, analyses_seconds
from dagster_project.commands.completing import model_slugs
from dagster_project.commands.estimated import as_object, print_estimate
from dagster_project.commands.options import JsonOption, WarehouseOption, names_of
from dagster_project.commands.output import print_json
from extract.job.libraries import quiet_libraries
from warehouse.errors import InputError

if TYPE_CHECKING:
    from extract.estimation import Estimate
    from extract.room import Room

_PROGRAM_ASSUMED = (
    "the memory of the program itself, which could not be measured here in time, is what it was elsewhere."
)

HOW = "`vesalius run --even-if-it-may-not-fit` runs it all the same."


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
    umap: Annotated[
        bool, typer.Option("--umap/--no-umap", help="UMAP layouts and their pictures, which take time of their own.")
    ] = True,
    dtype: Annotated[
        str | None, typer.Option(help="float32 or bfloat16. Default: what the model's config names.")
    ] = None,
    placement: Annotated[
        str | None, typer.Option(help="Where weights lie: none, auto, offload. Default: what models.toml says.")
    ] = None,
    timed: Annotated[
        bool,
        typer.Option(
            "--time/--no-time",
            help="Try how fast this machine is, and what the program takes of memory: some 15 seconds.",
        ),
    ] = True,
) -> None:
    """Say what a run would take: forwards, operations, memory, disk, time. Code 2 if it can't fit."""
    quiet_libraries()
    from dagster_project.defs.resources import Warehouse
    from dagster_project.standing import standing
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
    program = standing(entry.path, Path(places.concepts), library[0].name) if timed and room.shared else nullcontext()
    with console(error=True).status(f"{entry.slug}: count"), program as measured:
        made = estimated(
            entry, library, choices, device=kind, device_memory=room.memory, shared=room.shared, shape=shape
        )
        if measured is not None:
            room = replace(room, program=measured.bytes())
            if measured.is_assumed:
                made = replace(made, assumed=(*made.assumed, _PROGRAM_ASSUMED))
    seconds: dict[str, tuple[float, float]] | None = None
    if timed and _is_here(room):
        from extract.probing import probe
        from extract.speed import technique_seconds

        with console(error=True).status(f"{entry.slug}: time"):
            seconds = technique_seconds(made, probe(entry, shape, library, kind, choices))
            seconds |= analyses_seconds(made, library)
            if not umap:
                del seconds["umap"]
    why, instead = verdict(made, room, host)
    if as_json:
        print_json(as_object(made, room, seconds, why, instead))
    else:
        print_estimate(made, room, seconds)
    refuse(why, instead, HOW)


def verdict(made: "Estimate", room: "Room", host: int) -> tuple[tuple[str, ...], list[str]]:
    """Why a run can't fit, and what would; both empty where it can."""
    from extract.room import refusals, remedies, size

    tables = {name: taken for name, (_, taken) in made.tables.items()} | {"analyses": analyses_bytes(made)}
    why = refusals(made.memory, sum(tables.values()), made.shape, room)
    instead = list(remedies(made.memory, tables, made.shape, room, host=host)) if why else []
    after = room.program + analyses_memory(made)
    main = room.memory if room.shared else host
    if after > main:
        why += (f"The analyses after it take {size(after)} of main memory, which has {size(main)}.",)
        instead.append(
            f"a machine with {size(after, up=True)}; the extraction alone needs less (`python -m extract run`)"
        )
    return why, instead


def _room(gpu: str | None, ram: str | None, disk: str | None, root: object) -> "tuple[Room, int]":
    """What there is of the device and of disk, and bytes of main memory."""
    import psutil
    import torch

    from extract.holding import LIBRARIES
    from extract.interventions import read_size
    from extract.job.fitting import free_disk
    from extract.room import Room

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
