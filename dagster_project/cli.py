"""The `vesalius` command put together: its groups, its common options, its order. What a command does is in `commands`.

Errors of ours become one message on standard error: exit code 2 for what the user can mend, 1 for the machine's
refusals.
"""

from typing import Annotated

import typer

from dagster_project.commands.concepts import concepts
from dagster_project.commands.docs import docs
from dagster_project.commands.doctor import doctor
from dagster_project.commands.estimate import estimate
from dagster_project.commands.findings import findings
from dagster_project.commands.models import add, models
from dagster_project.commands.recommend import recommend
from dagster_project.commands.reference import reference
from dagster_project.commands.rivals import rivals
from dagster_project.commands.run import run
from dagster_project.commands.share import export, import_
from dagster_project.commands.sql import SqlCommand, sql
from dagster_project.commands.ui import ui
from dagster_project.commands.validate import validate
from dagster_project.commands.verify import verify
from extract.job.options import Commands

app = typer.Typer(
    name="vesalius",
    cls=Commands,
    help="Find where in its layers a language model keeps medical knowledge.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(concepts, name="concepts")
app.add_typer(reference, name="reference")


def main() -> None:
    """The console command."""
    app()


def _version(wanted: bool) -> None:
    if wanted:
        from warehouse.versions import CODE_VERSION

        typer.echo(f"vesalius {CODE_VERSION}")
        raise typer.Exit


@app.callback()
def vesalius(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of all commands."""


app.command()(run)
app.command()(ui)
app.command(hidden=True)(docs)
app.command(cls=SqlCommand)(sql)
app.command()(add)
app.command()(models)
app.command()(estimate)
app.command()(verify)
app.command()(findings)
app.command()(recommend)
app.command()(rivals)
app.command()(validate)
app.command()(doctor)
app.command()(export)
app.command("import")(import_)
