"""The `vesalius` command put together: its panels, its common options, its order. What a command does is in `commands`.

Errors of ours become one message on standard error and an exit code, in `extract.job.options`; the codes are those of
`warehouse.exit_codes`. The words of the help that belong to no command alone are in `commands.manual`.
"""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from dagster_project.commands import manual
from dagster_project.commands.chart import chart
from dagster_project.commands.concepts import concepts
from dagster_project.commands.docs import docs
from dagster_project.commands.doctor import doctor
from dagster_project.commands.estimate import estimate
from dagster_project.commands.findings import findings
from dagster_project.commands.models import add, models
from dagster_project.commands.opening import open_
from dagster_project.commands.recipes import recipes
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
    help=manual.help_text(),
    epilog=manual.epilog(),
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)


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


def _add(panel: str, command: Callable[..., Any], example: str, codes: str = "", **more: Any) -> None:
    app.command(rich_help_panel=panel, epilog=manual.command_epilog(example, codes), **more)(command)


_add(
    manual.MEASURE,
    run,
    "vesalius run --model reference --only drugs,age",
    "2 if it would not fit; 130 after Ctrl-C, and the same command goes on from there",
)
_add(manual.MEASURE, estimate, "vesalius estimate reference --gpu 24GB", "2 if a run can't fit")

_add(manual.READ, open_, "vesalius open --no-browser", "2 if there is no page yet", name="open")
_add(manual.READ, findings, "vesalius findings planted --json")
_add(manual.READ, recommend, "vesalius recommend planted --concept drugs --for unlearning")
_add(manual.READ, sql, "vesalius sql best-layers --csv best.csv", cls=SqlCommand)
_add(manual.READ, chart, "vesalius chart knowledge-map planted --out map.pdf --width 180mm --font-size 7")
_add(manual.READ, rivals, "vesalius rivals planted --template-kind asking")
_add(manual.READ, ui, "vesalius ui --port 3000")

_add(manual.MODELS, models, "vesalius models --json")
_add(manual.MODELS, add, "vesalius add Qwen/Qwen3-0.6B --download", "1 if the hub can't be reached")
app.add_typer(
    concepts,
    name="concepts",
    rich_help_panel=manual.MODELS,
    epilog=manual.command_epilog("vesalius concepts check my-concepts", "2 if the library is unsound"),
)
app.add_typer(
    reference,
    name="reference",
    rich_help_panel=manual.MODELS,
    epilog=manual.command_epilog("vesalius reference train --planted --out build/planted"),
)

_add(manual.JUDGE, verify, "vesalius verify reference", "1 if a check of the model fails")
_add(manual.JUDGE, validate, "vesalius validate --small")

_add(manual.MAINTAIN, doctor, "vesalius doctor", "1 if something is found that would make a run fail")
_add(manual.MAINTAIN, export, "vesalius export shared --model planted", "2 if the folder is not empty")
_add(
    manual.MAINTAIN,
    import_,
    "vesalius import shared --keep",
    "2 if what comes is damaged or contradicts what is here; then nothing is changed",
    name="import",
)
_add(manual.MAINTAIN, docs, "vesalius docs", hidden=True)
_add(manual.MAINTAIN, recipes, "vesalius recipes", hidden=True)
