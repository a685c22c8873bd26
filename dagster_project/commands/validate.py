"""The command `vesalius validate`: train planted models, measure them, hold every technique to the truth."""

from pathlib import Path
from typing import Annotated

import typer


def validate(
    folder: Annotated[
        Path | None, typer.Option(help="Where models and their warehouse lie; by default a folder in build/.")
    ] = None,
    *,
    only: Annotated[str, typer.Option(help="Only models whose name holds this text.")] = "",
    small: Annotated[
        bool, typer.Option("--small", help="A small planted model and an untrained one: what the tests repeat.")
    ] = False,
    aside: Annotated[
        bool,
        typer.Option(
            "--aside", help="Models of another recipe, which judge the consensus and that nothing is fitted to."
        ),
    ] = False,
    jobs: Annotated[int, typer.Option(help="Processes at once, one thread each.", min=1)] = 2,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep/--no-keep", help="Keep the results in the project: `validation` and contrasts, or those of --aside."
        ),
    ] = False,
) -> None:
    """Train models whose knowledge sits in known layers, map them, and tell how often each technique is right.

    The work goes on where it was stopped: a model that is trained, or measured, is not made again.
    """
    from dagster_project.defs.resources import PROJECT
    from dagster_project.terminal import console
    from dagster_project.validating import Places, run_validation
    from extract.job.progress import for_console
    from extract.zoo_lists import ASIDE, SMALL, ZOO

    if small and aside:
        raise typer.BadParameter("Give --small or --aside, not both.", param_hint="--aside")
    chosen = ASIDE if aside else SMALL if small else ZOO
    models = [model for model in chosen.models() if only in model.slug]
    if not models:
        raise typer.BadParameter(f"No model's name holds {only!r}.", param_hint="--only")
    places = Places((folder or PROJECT / "build" / chosen.name).resolve(), chosen)
    shown = console(error=True)
    progress = for_console(shown)
    lines = run_validation(places, models, jobs=jobs, keep=keep, told=shown.print, progress=progress)
    out = console()
    for line in lines:
        out.print(line, highlight=False, markup=False)
