"""`vesalius reference`: train the models that come with the project anew.

How they are trained, and which gates they have to pass, is in `extract.reference` and `extract.planting`.
"""

from pathlib import Path
from typing import Annotated

import typer

from extract.job.libraries import quiet_libraries

reference = typer.Typer(help="The models that come with the project.", no_args_is_help=True)


@reference.callback()
def _models() -> None:
    """The models that come with the project."""


@reference.command()
def train(
    planted: Annotated[bool, typer.Option("--planted", help="The planted model, not the reference model.")] = False,
    out: Annotated[Path | None, typer.Option(help="Where the model goes. Default: its place in the project.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, lessons and order.")] = 0,
) -> None:
    """Train a model on the concept library, hold it to its gates, and write it with its card."""
    quiet_libraries()
    from dagster_project.terminal import console
    from extract.job.progress import for_console
    from extract.library import CONCEPTS, load_library
    from extract.planting import train_planted
    from extract.reference import train_reference

    name = "planted" if planted else "reference"
    folder = out or CONCEPTS.parent / "embedded" / name
    with for_console(console(error=True)).stage(f"train {name}", 100, "%") as advance:
        done = 0.0

        def told(doing: str, share: float) -> None:
            nonlocal done
            advance(100 * share - done, doing)
            done = 100 * share

        if planted:
            train_planted(folder, load_library(), seed=seed, progress=told)
        else:
            train_reference(folder, load_library(), seed=seed, progress=told)
    typer.echo(f"{folder} holds the model; {folder / 'card.json'} tells how it was made and how it did.")
