"""What every command of the project shares: options in the same words, and errors that become messages and exit codes.

It imports nothing heavy: help and completions wait for it. A warehouse may be a URL, so it is text and never a `Path`.
"""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from warehouse.errors import InputError, VesaliusError
from warehouse.exit_codes import ExitCode

WarehouseOption = Annotated[
    str | None,
    typer.Option(
        "--warehouse",
        help="Folder of the warehouse, or its URL: s3://bucket/prefix. Default: VESALIUS_WAREHOUSE, or warehouse/data.",
    ),
]
ConceptsOption = Annotated[
    Path | None, typer.Option("--concepts", help="Folder of the concept library. Default: VESALIUS_CONCEPTS, or ours.")
]


class Commands(TyperGroup):
    """The commands, with one place where errors of ours become messages and exit codes."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command.

        Raises:
            typer.Exit: with the error's code, after its message.
        """
        try:
            return super().invoke(ctx)
        except VesaliusError as error:
            if ctx.params.get("debug"):
                import traceback

                traceback.print_exception(error)
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(ExitCode.INPUT if isinstance(error, InputError) else ExitCode.FAILED) from error
