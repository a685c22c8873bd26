"""Asking the warehouse in SQL: a read-only connection, one statement in, an Arrow table out.

A user's SQL reads the warehouse and nothing else: it can't write, reach other files, load extensions or change these
settings. How the catalog comes about is in `catalog`, how the files of named queries are read in `sql_files`; how
results are shown is the command line's affair.
"""

import glob
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from warehouse.catalog import CATALOG_NAME, build_catalog, catalog_path, escaped, quoted, tables_there
from warehouse.errors import QueryError
from warehouse.objects import Objects, one_look, store_error
from warehouse.places import ObjectPlace
from warehouse.sql_files import NamedQuery, Value, named_queries

__all__ = ["NamedQuery", "ask", "connect", "named_queries", "run_query"]

_EXPLAIN = re.compile(r"\s*EXPLAIN(\s+ANALYZE)?\s*(\([^()]*\))?\s", re.IGNORECASE)
_WRITERS = ("COPY", "JSON_EXECUTE_SERIALIZED_SQL")
"""Parts of operators' names: what writes a file though the database is read-only, and what hides a statement."""

_LISTER = "GLOB"
"""The operator that tells names of files without opening them: DuckDB checks its pattern, not what fits it."""


def connect(root: Path | ObjectPlace) -> duckdb.DuckDBPyConnection:
    """A connection to the warehouse's catalog as it is now; close it when done.

    The catalog is attached read-only, files outside the warehouse and extensions are out of reach, the settings are
    locked. DuckDB's settings don't forbid COPY into a folder that may be read: give users' statements to `ask`, which
    does. Of a warehouse in an object store the catalog is built first, if this machine has none or one that is behind.

    Raises:
        QueryError: there is no catalog, it can't be read, or it was built for another place.
        StoreError: the object store refuses or does not answer.
    """
    if isinstance(root, ObjectPlace):
        return _connect_to_objects(root)
    root = root.resolve()
    path = catalog_path(root)
    if escaped(root) != str(root) and Path(escaped(root)).exists():
        raise QueryError(
            f"{escaped(root)} is how DuckDB is told of {root}, and there is such a folder, which SQL could read too. "
            "Rename one of the two."
        )
    if not path.is_file():
        raise QueryError(
            f"There is no {CATALOG_NAME} in {root}. Run a model first (`vesalius run --model reference`), or name "
            "another warehouse with --warehouse."
        )
    return _attached(root)


def _connect_to_objects(root: ObjectPlace) -> duckdb.DuckDBPyConnection:
    """Others write there too: what the catalog of this machine knows is compared with the tables that have files."""
    there = tables_there(root)
    if not there:
        raise QueryError(
            f"There is no table in {root}. Run a model first (`vesalius run --model reference --warehouse {root}`), or "
            "name another warehouse with --warehouse."
        )
    if catalog_path(root).is_file():
        connection = _attached(root)
        if connection.execute("SELECT warehouse_tables()").fetchall()[0][0] == there:
            return connection
        connection.close()
    build_catalog(root)
    return _attached(root)


def _attached(root: Path | ObjectPlace) -> duckdb.DuckDBPyConnection:
    path = catalog_path(root)
    # In memory with the catalog attached: opened directly, DuckDB would share one instance among all who open the same
    # path in this process, and who comes after a rebuild would be handed the old catalog.
    connection = duckdb.connect(":memory:", config={"python_enable_replacements": False})
    try:
        connection.execute(f"ATTACH {quoted(str(path))} AS catalog (READ_ONLY)")
        connection.execute("USE catalog")
        built_for = _built_for(connection)
        connection.execute(f"SET temp_directory = {quoted(f'{path}.tmp')}")
        if isinstance(root, ObjectPlace):
            connection.register_filesystem(Objects(root))
            # It tells versions of a file apart by seconds; `Objects` knows better what it may keep.
            connection.execute("SET enable_external_file_cache = false")
        # The views' globs begin with the escaped root, and DuckDB compares them as they are written.
        readable = ", ".join(quoted(folder) for folder in (str(root), escaped(root)))
        connection.execute(f"SET allowed_directories = [{readable}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except duckdb.Error as error:
        connection.close()
        raise QueryError(
            f"{path} can't be read ({_readable(error)}). Delete it: `vesalius run` makes it anew."
        ) from error
    if built_for != str(root):
        connection.close()
        raise QueryError(
            f"{path} was built for {built_for}: the warehouse was moved since. `vesalius run` builds it for the new "
            "place."
        )
    return connection


def ask(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, Value] | None = None) -> pa.Table:
    """Run one statement that reads: SELECT, FROM, WITH, SHOW, DESCRIBE, SUMMARIZE or EXPLAIN.

    Args:
        connection: from `connect`.
        sql: the statement.
        parameters: values for its `$name`s.

    Returns:
        The rows, in the statement's order.

    Raises:
        QueryError: none or several statements, one that would write, one that DuckDB refuses, or values that don't fit.
        StoreError: the object store refuses or does not answer.
    """
    values: Any = dict(parameters) if parameters else None
    with _duckdb_errors(), one_look():
        statement = _single_statement(connection, sql)
        explained = _EXPLAIN.match(statement)
        inner = _single_statement(connection, statement[explained.end() :]) if explained else statement
        _refuse_by_plan(connection, inner, values)
        return connection.sql(statement, params=values).to_arrow_table()


def run_query(root: Path | ObjectPlace, sql: str, parameters: Mapping[str, Value] | None = None) -> pa.Table:
    """Run one statement on a warehouse; see `ask`.

    Raises:
        QueryError: there is no catalog, or the statement can't be run.
    """
    with connect(root) as connection:
        return ask(connection, sql, parameters)


def _single_statement(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    statements = connection.extract_statements(sql)
    if not statements:
        raise QueryError("There is no statement to run. Try `SHOW TABLES`, or `vesalius sql --list` for named queries.")
    if len(statements) > 1:
        raise QueryError(
            f"There are {len(statements)} statements; give one at a time (PIVOT needs its list: ON x IN (…))."
        )
    kind = statements[0].type.name
    if kind == "MULTI":
        raise QueryError("PIVOT needs to be told its columns here: write ON x IN (…).")
    if kind == "EXPLAIN" and not _EXPLAIN.match(statements[0].query):
        raise QueryError("Begin the statement with EXPLAIN itself, without a comment before it.")
    if kind not in ("SELECT", "EXPLAIN"):
        raise QueryError(
            f"{kind} is not allowed: SQL only reads the warehouse here. SELECT, SHOW, DESCRIBE, SUMMARIZE and EXPLAIN "
            "are; results are saved with --csv, --json or --parquet."
        )
    return str(statements[0].query)


def _refuse_by_plan(connection: duckdb.DuckDBPyConnection, statement: str, values: Any) -> None:
    """A SELECT can hold a COPY (`WITH x AS (COPY …)`), so look at the plan, not at the words.

    A root with `*`, `?` or `[` in its name is a pattern itself, and `glob` would list what is in folders that fit it.
    """
    plan = connection.execute(f"EXPLAIN (FORMAT json) {statement}", values).fetchall()[0][1]
    names = list(_operators(json.loads(plan)))
    if _LISTER in names and glob.has_magic(_built_for(connection)):
        raise QueryError(
            "glob is not allowed in a warehouse whose path has *, ? or [ in it: `vesalius sql inventory` lists its "
            "files."
        )
    for name in names:
        if any(writer in name for writer in _WRITERS):
            raise QueryError(
                f"{name} is not allowed: SQL only reads the warehouse here; results are saved with --csv, --json or "
                "--parquet."
            )


def _built_for(connection: duckdb.DuckDBPyConnection) -> str:
    return str(connection.execute("SELECT warehouse_root()").fetchall()[0][0])


def _operators(nodes: list[dict[str, Any]]) -> Iterator[str]:
    for node in nodes:
        yield node["name"]
        yield from _operators(node["children"])


@contextmanager
def _duckdb_errors() -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise store_error(error) or QueryError(_readable(error)) from error


def _readable(error: duckdb.Error) -> str:
    """DuckDB's message without its drawing of the statement and its stack trace: what, and in which line."""
    what, _, rest = str(error).partition("\n\n")
    if what.startswith("Traceback"):
        # An exception of `Objects`: what it says stands in its last line.
        what = what.splitlines()[-1]
    message = " ".join(line.strip() for line in what.splitlines()[:3])
    where = re.search(r"LINE \d+: .*", rest)
    if isinstance(error, duckdb.PermissionException):
        message += ". SQL may read the warehouse only."
    elif where:
        message += f" ({where[0].strip()})"
    if "No files found that match" in message:
        message += " The table's files are gone since the catalog was built; `vesalius run` builds it anew."
    return message
