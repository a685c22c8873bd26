"""`vesalius concepts`: the concept library, proved sound or listed. `extract.checking` finds what is wrong in it."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dagster_project.commands.options import JsonOption
from dagster_project.commands.output import print_json
from warehouse.exit_codes import ExitCode

concepts = typer.Typer(help="The concept library: prove one sound, or list what it holds.", no_args_is_help=True)


@concepts.command("check")
def check(
    folder: Annotated[Path | None, typer.Argument(help="The library's folder. Default: ours.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Prove a concept library sound, or name file, line, fault and remedy of all that is wrong."""
    from dagster_project.defs.resources import Warehouse
    from extract.checking import check_folder
    from extract.library import load_library

    place = Path(Warehouse.from_environment(concepts=folder).concepts)
    faults = check_folder(place)
    if as_json:
        print_json({"folder": place, "is_sound": not faults, "faults": [str(fault) for fault in faults]})
        if faults:
            raise typer.Exit(ExitCode.INPUT)
        return
    for fault in faults:
        typer.echo(str(fault), err=True)
    if faults:
        typer.echo(f"error: {place} has {len(faults)} faults.", err=True)
        raise typer.Exit(ExitCode.INPUT)
    typer.echo(f"{place} is sound: {len(load_library(place).concepts)} concepts.")


@concepts.command("list")
def list_(
    folder: Annotated[Path | None, typer.Argument(help="The library's folder. Default: ours.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Count terms, labels, templates, prompts and pairs of each concept."""
    from dagster_project.defs.resources import Warehouse
    from dagster_project.terminal import concepts_table, console
    from extract.prompts import library_counts

    counts = library_counts(Warehouse.from_environment(concepts=folder).library([]))
    if as_json:
        print_json([asdict(count) for count in counts])
        return
    console().print(concepts_table(counts))
