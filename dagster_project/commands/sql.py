"""`vesalius sql`: ask the warehouse, by a statement, by the name of a query, from standard input or at a prompt.

What may be asked and how is in `warehouse.query`; how rows are printed and saved, in `terminal`.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from dagster_project.commands.completing import query_names
from dagster_project.commands.options import WarehouseOption
from warehouse.errors import InputError, QueryError

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

_PROMPT, _CONTINUED = "vesalius> ", "     ...> "
_HELP = "End a statement with ';'. .list shows the named queries (ask one by its name), .tables the tables, .quit ends."


class SqlCommand(TyperCommand):
    """The command whose `--csv` and `--json` write to standard output where no file follows them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give the options that stand alone their file."""
        complete = []
        for place, word in enumerate(args):
            complete.append(word)
            alone = place + 1 == len(args) or args[place + 1].startswith("--")
            if word in ("--csv", "--json") and alone:
                complete.append("-")
        return super().parse_args(ctx, complete)


def sql(
    *,
    query: Annotated[
        str | None,
        typer.Argument(
            help="A statement, or the name of a query. Alone: a prompt, or standard input.", autocompletion=query_names
        ),
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", help="A value for a query's parameter: name=value.")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the named queries.")] = False,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Write the rows as CSV, to this file or to standard output.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the rows as JSON, to this file or to standard output.")
    ] = None,
    parquet: Annotated[Path | None, typer.Option("--parquet", help="Write the rows to this Parquet file.")] = None,
    warehouse: WarehouseOption = None,
) -> None:
    """Ask the warehouse in SQL. It only reads."""
    from dagster_project import terminal
    from dagster_project.defs.resources import Warehouse
    from warehouse.query import connect, named_queries

    out = terminal.console()
    if listed:
        out.print(terminal.queries_table(list(named_queries().values())))
        return
    values = _values(param or [])
    with connect(Warehouse.from_environment(root=warehouse).place) as connection:
        if query is None and is_conversation():
            _converse(connection)
            return
        rows = answer(connection, sys.stdin.read() if query is None else query, values)
        if not rows.num_rows:
            typer.echo(f"No rows.{_unknown_names(connection, values)}", err=True)
    for path, write in ((csv, terminal.write_csv), (json, terminal.write_json), (parquet, terminal.write_parquet)):
        if path is not None:
            write(rows, path)
    if csv is None and json is None and parquet is None:
        show(rows)


def _unknown_names(connection: "DuckDBPyConnection", values: dict[str, str]) -> str:
    """Which of the models and concepts that were asked for are not there, and what is."""
    from warehouse.query import ask

    told = ""
    for name in values.keys() & {"model", "concept"}:
        known = ask(connection, f"SELECT DISTINCT {name} FROM {name}s ORDER BY {name}", {})[name].to_pylist()
        if values[name] not in known:
            told += f" There is no {name} {values[name]!r}; there are: {', '.join(known) or 'none'}."
    return told


def is_conversation() -> bool:
    """Whether somebody sits at standard input."""
    return sys.stdin.isatty()


def answer(connection: "DuckDBPyConnection", text: str, values: dict[str, str]) -> "pa.Table":
    """The rows of a statement, or of the named query that the text names.

    Raises:
        QueryError: the statement is wrong, the name unknown, or the values don't fit.
    """
    from warehouse.query import ask, named_queries

    name, queries = text.strip().rstrip(";").strip(), named_queries()
    if name in queries:
        return ask(connection, queries[name].sql, queries[name].bind(values))
    if name and all(letter.isalnum() or letter in "-_" for letter in name) and not name.lower() == "show":
        raise QueryError(f"There is no query {name!r}. The queries are: {', '.join(queries)}.")
    return ask(connection, text, dict(values))


def show(rows: "pa.Table") -> None:
    """Print rows as a table, and say how many are left out."""
    from dagster_project import terminal

    out = terminal.console()
    out.print(terminal.rows_table(rows))
    if rows.num_rows > terminal.MOST_ROWS:
        more = rows.num_rows - terminal.MOST_ROWS
        terminal.console(error=True).print(f"… and {more:,} rows more: add a LIMIT, or save all with --csv FILE.")


def _converse(connection: "DuckDBPyConnection") -> None:
    """Read statements until the end; a wrong one is no reason to leave."""
    import contextlib

    from dagster_project import terminal
    from warehouse.query import named_queries

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  its import gives `input` a history and keys
    typer.echo(_HELP)
    typed: list[str] = []
    while True:
        try:
            line = input(_CONTINUED if typed else _PROMPT).rstrip()
        except EOFError:
            typer.echo()
            return
        except KeyboardInterrupt:
            typer.echo()
            typed = []
            continue
        if not typed and line in (".quit", ".exit", "quit", "exit"):
            return
        if not typed and line == ".list":
            terminal.console().print(terminal.queries_table(list(named_queries().values())))
        elif line or typed:
            typed.append("SHOW TABLES;" if line == ".tables" else line)
            if typed[-1].endswith(";") or (len(typed) == 1 and typed[0].rstrip(";") in named_queries()):
                _answer_aloud(connection, "\n".join(typed))
                typed = []


def _answer_aloud(connection: "DuckDBPyConnection", text: str) -> None:
    try:
        show(answer(connection, text, {}))
    except InputError as error:
        typer.echo(f"error: {error}", err=True)


def _values(given: list[str]) -> dict[str, str]:
    values = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise InputError(f"--param takes name=value; got {text!r}.")
        values[name.strip()] = value
    return values
