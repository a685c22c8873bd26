"""How rows land in the warehouse within a Dagster run: what is current is left alone, the rest is written and reported.

Belongs here: the metadata and the contract check made from the tally of a table, and which errors are tried again. The
tally is in `extract.job.tally`, what a fingerprint covers in `warehouse.fingerprints`, what is computed in the assets.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import dagster as dg
import pyarrow as pa

from extract.job.reporting import CONTRACT
from extract.job.tally import Tally
from warehouse.errors import TableError, TransientError
from warehouse.schema import Column, Table
from warehouse.store import Store
from warehouse.tables import table

RETRIES = dg.RetryPolicy(max_retries=3, delay=1, backoff=dg.Backoff.EXPONENTIAL)
"""For transient errors alone: `failing_clearly` forbids it for all others."""

Reports = Iterator[dg.MaterializeResult[object] | dg.AssetCheckResult]


class Landing(Tally):
    """The tally of one table in one run, as Dagster is told of it."""

    def result(self) -> dg.MaterializeResult[object]:
        """What Dagster is told: sizes, time, the fingerprint of all partitions, the columns, the contract check."""
        entry, numbers = table(self.name), self.numbers()
        return dg.MaterializeResult(
            asset_key=self.name,
            metadata={
                **numbers,
                # What the UI shows above everything else.
                "dagster/row_count": numbers["rows"],
                "dagster/size_bytes": numbers["bytes"],
                "folder": dg.MetadataValue.path(str(self.store.root / self.name)),
                **columns(self.name),
            },
            check_results=[self._contract(entry)],
            data_version=dg.DataVersion(self.fingerprint),
        )

    def _contract(self, entry: Table) -> dg.AssetCheckResult:
        """Written files were validated before their commit; those that were current must still be whole."""
        torn = self.torn()
        return dg.AssetCheckResult(
            asset_key=self.name,
            check_name=CONTRACT,
            passed=not torn,
            metadata={
                "columns_checked": len(entry.columns),
                "rows_validated": self.rows_validated,
                "torn_files": torn,
            },
        )


def land(store: Store, name: str, fill: Callable[[Landing], None]) -> Reports:
    """Let a function fill a table, and report what it did.

    Raises:
        TableError: rows broke the contract; nothing of them was committed, and the check says why.
    """
    yield from land_together(store, [name], lambda landings: fill(landings[name]))


def land_together(store: Store, names: Sequence[str], fill: Callable[[dict[str, Landing]], None]) -> Reports:
    """Let a function fill several tables at once, and report what it did to each.

    Raises:
        TableError: rows broke a contract; nothing of them was committed, and the check of their table says why.
    """
    landings = {name: Landing(store, name) for name in names}
    try:
        fill(landings)
    except TableError as error:
        for name in names:
            if str(error).startswith(name):
                yield dg.AssetCheckResult(asset_key=name, check_name=CONTRACT, passed=False, description=str(error))
        raise
    for landing in landings.values():
        yield landing.result()


def refill(
    landings: dict[str, Landing], expected: dict[str, str], make: Callable[[], dict[str, pa.Table]], **keys: str
) -> None:
    """Write one partition of several tables that are made together, unless all of them are current.

    Args:
        landings: by table.
        expected: the fingerprint of each.
        make: gives the rows of each.
        keys: the partition.
    """
    if all([landing.is_current(expected[name], **keys) for name, landing in landings.items()]):  # noqa: C419
        return  # Each is asked, not only until the first that is stale: those that are current are counted by it.
    for landing in landings.values():
        landing.forget(**keys)
    made = make()
    for name, landing in landings.items():
        landing.wrote(landing.store.write(name, made[name], fingerprint=expected[name], **keys))


def contract_check(name: str) -> dg.AssetCheckSpec:
    """The check that a table keeps what the registry promises."""
    return dg.AssetCheckSpec(
        CONTRACT,
        asset=name,
        description="Names, types, nulls, finite numbers, bounds, allowed values, unique keys, rows as planned: "
        "validated before the commit. Rows that fail are not committed.",
    )


def columns(name: str) -> dict[str, dg.TableSchema]:
    """The metadata by which the UI shows a table's columns; of an asset, before it was ever made."""
    return {"dagster/column_schema": column_schema(table(name))}


def column_schema(entry: Table) -> dg.TableSchema:
    """The table's columns as Dagster shows them."""
    return dg.TableSchema(columns=[_table_column(entry, column) for column in entry.all_columns])


@contextmanager
def failing_clearly() -> Iterator[None]:
    """Let only transient errors be retried; of the others the run says in words what was wrong."""
    try:
        yield
    except TransientError:
        raise
    except Exception as error:
        raise dg.Failure(description=str(error) or repr(error), allow_retries=False) from error


def _table_column(entry: Table, column: Column) -> dg.TableColumn:
    if column.name in entry.partitions:
        role = ["partition"]
    elif column in entry.keys:
        role = ["key"]
    else:
        role = []
    type_ = "vector of float" if column.is_vector else str(column.type)
    constraints = dg.TableColumnConstraints(nullable=column.nullable, other=role)
    return dg.TableColumn(column.name, type_, column.description, constraints)
