"""`vesalius open`: the page of all maps, in a browser of this machine. How the page is built is in `atlas_page`."""

from pathlib import Path
from typing import Annotated

import typer

from dagster_project.commands.options import WarehouseOption


def open_(
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Or only print where the page is.")] = True,
    warehouse: WarehouseOption = None,
) -> None:
    """Open the atlas: all maps, profiles, pictures and findings on one page that needs no network."""
    from dagster_project.atlas_page import PAGE
    from dagster_project.defs.resources import Warehouse
    from warehouse.errors import InputError

    page = Warehouse.from_environment(root=warehouse).charts / PAGE
    if not page.is_file():
        raise InputError(f"There is no page at {page} yet: `vesalius run` draws it at its end, once a model has a map.")
    typer.echo(str(page))
    if not browser:
        return
    if not isinstance(page, Path):
        raise InputError(f"{page} is in an object store, where no browser looks: copy it here, it is one file.")
    import webbrowser

    if not webbrowser.open(page.as_uri()):
        typer.echo("No browser answered: open the file yourself.", err=True)
