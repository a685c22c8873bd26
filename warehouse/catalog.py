"""catalog.duckdb: views over the Parquet files, the views and macros of `sql/views`, and comments on all of them.

It holds no data and can be deleted at any time. A view reads its files when it is asked: new partitions and new rows of
a table show at once. Build anew after a table's first file, after a change of the registry or of `sql/views`, and after
the warehouse was moved. Of a warehouse in an object store the catalog lies on this machine, in a folder of the user's;
`query` builds it where it is missing or lacks a table that has files. Asking is in `query`; what the tables hold is in
`tables`.
"""

import glob
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from warehouse.atomic import replacing
from warehouse.errors import InputError, QueryError, StoreError
from warehouse.objects import Objects, one_look, store_error
from warehouse.places import ObjectPlace, find, folders, local_folder
from warehouse.schema import PARTITION_COLUMNS, Column, Table
from warehouse.sql_files import VIEWS, NamedQuery, named_queries
from warehouse.store import FILE_NAME
from warehouse.tables import TABLES

CATALOG_NAME = "catalog.duckdb"

_TYPES = {
    pa.string(): "VARCHAR",
    pa.bool_(): "BOOLEAN",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.timestamp("us", tz="UTC"): "TIMESTAMP WITH TIME ZONE",
}

_MACROS = {"macro": "MACRO", "table_macro": "MACRO TABLE"}
"""What COMMENT calls a macro, by what DuckDB calls it where functions are listed."""

_STORAGE = "v1.0.0"
"""The format of the catalog's file: one that older shells, and database browsers with older drivers, can open."""


def catalog_path(root: Path | ObjectPlace) -> Path:
    """Where the catalog of a warehouse lies, or would: in its folder, or on this machine for one in an object store."""
    return local_folder(root) / CATALOG_NAME


def build_catalog(root: Path | ObjectPlace, views: Path = VIEWS) -> Path:
    """Write the catalog anew, aside, and swap it in; who has the old one open keeps reading it.

    Args:
        root: the warehouse.
        views: folder of SQL files, each a CREATE VIEW or CREATE MACRO; they may build on each other in any order.

    Returns:
        Where the catalog lies.

    Raises:
        InputError: a folder on the way to the warehouse looks like a partition.
        QueryError: a file in `views` is wrong; the message names it.
        StoreError: the disk or the object store refused, or a table's files can't be read.
    """
    if isinstance(root, Path):
        root = root.resolve()
    _check_root(root)
    files, there = named_queries(views), tables_there(root)
    path = catalog_path(root)
    with replacing(path) as temporary, _new_database(temporary) as connection, one_look():
        if isinstance(root, ObjectPlace):
            connection.register_filesystem(Objects(root))
        with _transaction(connection):
            for entry in TABLES.values():
                _create_table_view(connection, root, entry, has_files=entry.name in there)
            _create_root_macros(connection, root, there)
        _create_from_files(connection, files.values())
        with _transaction(connection):
            for file in files.values():
                _comment_on_file(connection, file)
    return path


def tables_there(root: Path | ObjectPlace) -> list[str]:
    """The tables that have a file, in order.

    Raises:
        StoreError: the object store refuses or does not answer.
    """
    if isinstance(root, ObjectPlace):
        return sorted(folders(root) & TABLES.keys())
    return sorted(name for name, entry in TABLES.items() if find(root / name, _pattern(entry)))


def sql_type(column: Column) -> str:
    """The DuckDB type that a column is shown as; vectors of every width are FLOAT[]."""
    return "FLOAT[]" if column.is_vector else _TYPES[column.type]


def quoted(text: str) -> str:
    """Text as an SQL literal, for statements that take no bound values (CREATE, COMMENT, SET, ATTACH)."""
    return "'" + text.replace("'", "''") + "'"


def _pattern(entry: Table) -> str:
    return "/".join([*(f"{key}=*" for key in entry.partitions), FILE_NAME])


def _check_root(root: Path | ObjectPlace) -> None:
    """DuckDB takes a partition's value from the first `key=value` folder of the whole path, and splits paths at `?`."""
    if "?" in str(root):
        raise InputError(
            f"The warehouse can't lie in {root}: DuckDB takes no '?' in a path. Choose another with --warehouse."
        )
    for part in str(root).split("/"):
        if part.partition("=")[0] in PARTITION_COLUMNS and "=" in part:
            raise InputError(
                f"The warehouse can't lie in {root}: its folder {part!r} reads like a partition. "
                "Choose another place with --warehouse."
            )


@contextmanager
def _new_database(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    try:
        with duckdb.connect(str(path), config={"storage_compatibility_version": _STORAGE}) as connection:
            yield connection
    except duckdb.Error as error:
        if (refused := store_error(error)) is not None:
            raise refused from error
        raise StoreError(
            f"Can't write the catalog in {path.parent}: {str(error).splitlines()[0]} Free space or choose another "
            "place with --warehouse; the last catalog is untouched."
        ) from error


@contextmanager
def _transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Statements that reach the disk together: a commit for each would take many times as long."""
    connection.begin()
    yield
    connection.commit()


def _create_table_view(
    connection: duckdb.DuckDBPyConnection, root: Path | ObjectPlace, entry: Table, *, has_files: bool
) -> None:
    if not has_files:
        columns = [f"CAST(NULL AS {sql_type(column)}) AS {column.name}" for column in entry.all_columns]
        source = "WHERE false"
    else:
        types = ", ".join(f"{quoted(key)}: 'VARCHAR'" for key in entry.partitions)
        hive = f"hive_partitioning = true, hive_types = {{{types}}}" if types else "hive_partitioning = false"
        pattern = f"{escaped(root)}/{entry.name}/{_pattern(entry)}"
        files = f"read_parquet({quoted(pattern)}, {hive}, union_by_name = true)"
        try:
            present = set(connection.sql(f"FROM {files}").columns)
        except duckdb.Error as error:
            if (refused := store_error(error)) is not None:
                raise refused from error
            raise StoreError(
                f"Table {entry.name} can't be read ({str(error).splitlines()[0]}). Delete the file and run again."
            ) from error
        # Columns are named with their file: a macro's parameters of the same names would get in the way otherwise.
        columns = [
            f"CAST({f'file.{column.name}' if column.name in present else 'NULL'} AS {sql_type(column)}) "
            f"AS {column.name}"
            for column in entry.all_columns
        ]
        source = f"FROM {files} AS file"
    connection.execute(f"CREATE VIEW {entry.name} AS SELECT {', '.join(columns)} {source}")
    _comment(connection, entry.name, f"{entry.doc} Grain: {entry.grain}.")
    for column in entry.all_columns:
        _comment(connection, f"{entry.name}.{column.name}", column.description, "COLUMN")


def escaped(root: Path | ObjectPlace) -> str:
    """The root as glob patterns begin that mean it and nothing else."""
    if isinstance(root, ObjectPlace):
        protocol, _, path = root.url.partition("://")
        return f"{protocol}://{glob.escape(path)}"
    return glob.escape(str(root))


def _create_root_macros(connection: duckdb.DuckDBPyConnection, root: Path | ObjectPlace, there: Iterable[str]) -> None:
    """Tell the catalog where its files lie: `query` notices a moved warehouse, SQL can look at the files themselves."""
    pattern = f"{escaped(root)}/*/**/{FILE_NAME}"
    connection.execute(f"CREATE MACRO warehouse_tables() AS [{', '.join(map(quoted, there))}]::VARCHAR[]")
    connection.execute(f"CREATE MACRO warehouse_root() AS {quoted(str(root))}")
    connection.execute(f"CREATE MACRO warehouse_files() AS {quoted(pattern)}")
    _comment(connection, "warehouse_root", "The folder that this catalog was built for.", "MACRO")
    _comment(connection, "warehouse_tables", "The tables that had files when this catalog was built.", "MACRO")
    _comment(connection, "warehouse_files", "A glob of every Parquet file of the warehouse.", "MACRO")


def _create_from_files(connection: duckdb.DuckDBPyConnection, files: Iterable[NamedQuery]) -> None:
    """Run the files in name order; one that needs a later one is tried again behind it."""
    waiting = list(files)
    while waiting:
        failed: list[tuple[NamedQuery, duckdb.Error]] = []
        for file in waiting:
            try:
                connection.execute(file.sql)
            except duckdb.Error as error:
                failed.append((file, error))
        if len(failed) == len(waiting):
            broken, cause = failed[0]
            raise QueryError(f"sql/views: {broken.name}.sql fails: {str(cause).splitlines()[0]}") from cause
        waiting = [file for file, _ in failed]


def _comment_on_file(connection: duckdb.DuckDBPyConnection, file: NamedQuery) -> None:
    known = "SELECT function_type FROM duckdb_functions() WHERE function_name = ? AND NOT internal"
    kinds = [_MACROS[kind] for (kind,) in connection.execute(known, [file.name]).fetchall()]
    try:
        _comment(connection, file.name, file.description(of_macro=bool(kinds)), kinds[0] if kinds else "VIEW")
        for name, doc in () if kinds else file.columns:
            _comment(connection, f"{file.name}.{name}", doc, "COLUMN")
    except duckdb.Error as error:
        raise QueryError(
            f"sql/views: {file.name}.sql must create a view or macro {file.name!r} with the columns that its comment "
            f"names: {str(error).splitlines()[0]}"
        ) from error


def _comment(connection: duckdb.DuckDBPyConnection, name: str, text: str, kind: str = "VIEW") -> None:
    connection.execute(f"COMMENT ON {kind} {name} IS {quoted(text)}")
