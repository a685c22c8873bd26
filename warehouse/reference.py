"""The reference page of tables, `docs/tables.md`, made from the registry.

How the page is laid out is said here; what it says of a table or column is said in `tables`.
"""

from collections.abc import Container, Iterator

from warehouse.schema import Column, Table
from warehouse.tables import STAGES, TABLES


def markdown() -> Iterator[str]:
    """The lines of `docs/tables.md`."""
    yield "# Tables"
    yield ""
    yield "Generated from `warehouse/tables.py` by `vesalius docs`; do not edit. Partition columns (*path*) stand in"
    yield "the file's path; with them, keys identify a row. A column is never null unless it says so, and never NaN."
    yield from sections(TABLES)


def sections(names: Container[str]) -> Iterator[str]:
    """The part of the page that tells of some tables, under the stages that write them."""
    for stage, tables in STAGES.items():
        chosen = [entry for entry in tables if entry.name in names]
        if chosen:
            yield ""
            yield f"## {stage.capitalize()}"
        for entry in chosen:
            yield from (
                "",
                f"### `{entry.name}`",
                "",
                entry.doc,
                "",
                f"Grain: {entry.grain}. Version {entry.version}.",
                "",
            )
            yield from ("| column | type | role | meaning |", "|---|---|---|---|")
            for column in entry.all_columns:
                yield f"| `{column.name}` | {_type_name(column)} | {_role(entry, column)} | {column.description} |"


def _type_name(column: Column) -> str:
    name = "vector of float" if column.is_vector else str(column.type)
    return f"{name}, nullable" if column.nullable else name


def _role(entry: Table, column: Column) -> str:
    if column.name in entry.partitions:
        return "path"
    return "key" if column in entry.keys else "value"
