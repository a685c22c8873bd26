"""Checks in SQL on what has landed: each file of `sql/checks` selects the rows that are at fault, across partitions.

The check that reports the validation of a single commit comes with each table (`dagster_project.landing`).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import pyarrow as pa

from dagster_project.defs.resources import Warehouse
from dagster_project.landing import failing_clearly
from warehouse.places import ObjectPlace
from warehouse.query import NamedQuery, ask, connect
from warehouse.sql_files import CHECKS, named_queries

_SHOWN = 10
"""Offending rows that a check shows."""


def sql_checks(folder: Path = CHECKS) -> list[dg.AssetChecksDefinition]:
    """One step that runs the SQL checks of a folder on the catalog; none for an empty folder."""
    queries = named_queries(folder)
    if not queries:
        return []

    @dg.multi_asset_check(name="sql_checks", specs=[_spec(query) for query in queries.values()], can_subset=True)
    def run_checks(context: dg.AssetCheckExecutionContext, warehouse: Warehouse) -> Iterator[dg.AssetCheckResult]:
        """Run the chosen checks on the catalog."""
        selected = {key.name for key in context.selected_asset_check_keys}
        with failing_clearly():
            yield from run(warehouse.place, {name: query for name, query in queries.items() if name in selected})

    return [run_checks]


def run(root: Path | ObjectPlace, queries: Mapping[str, NamedQuery]) -> Iterator[dg.AssetCheckResult]:
    """The result of each check: passed if it selects no row.

    Raises:
        QueryError: there is no catalog, or a check is no SQL.
    """
    with connect(root) as connection:
        for name, query in queries.items():
            rows = ask(connection, query.sql, query.bind())
            yield dg.AssetCheckResult(
                asset_key="catalog",
                check_name=name,
                passed=rows.num_rows == 0,
                description=f"{rows.num_rows} rows of {query.table or 'the warehouse'} are at fault. {query.purpose}",
                metadata={"rows_at_fault": rows.num_rows, "first_rows": dg.MetadataValue.md(_markdown(rows))},
            )


def _spec(query: NamedQuery) -> dg.AssetCheckSpec:
    # On the catalog, not on the table at fault: there it would run whenever that table is made, with a catalog that may
    # not know of it yet.
    return dg.AssetCheckSpec(query.name, asset="catalog", description=f"{query.table}: {query.purpose}")


def _markdown(rows: pa.Table) -> str:
    if not rows.num_rows:
        return "None."
    lines = [rows.column_names, ["---"] * rows.num_columns]
    lines += [[str(value) for value in row.values()] for row in rows.slice(0, _SHOWN).to_pylist()]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
