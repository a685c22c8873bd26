"""How rows land in the warehouse within a Dagster run: what is current is left alone, the rest is written and reported.

Belongs here: the tally of one table in one run, the metadata and the contract check made from it, and which errors are
tried again. What a fingerprint covers is in `fingerprints`, what is computed is in the assets.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.errors import InputError, TableError, TransientError
from warehouse.schema import Column, Table
from warehouse.store import Commit, Store
from warehouse.tables import table
from warehouse.versions import fingerprint

RETRIES = dg.RetryPolicy(max_retries=3, delay=1, backoff=dg.Backoff.EXPONENTIAL)
"""For transient errors alone: `failing_clearly` forbids it for all others."""

CONTRACT = "contract"
"""The name of the check that every table has."""

Reports = Iterator[dg.MaterializeResult[object] | dg.AssetCheckResult]


class Landing:
    """The tally of one table in one run: which partitions were written, and which were current."""

    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        self.name = name
        self.forwards = 0
        self._started = time.monotonic()
        self._written: list[Commit] = []
        self._current: list[Commit] = []

    def is_current(self, expected: str, **keys: str) -> bool:
        """Whether the partition is there, made from the same inputs; if so it counts as part of this run."""
        footer = self.store.footer(self.name, **keys)
        if footer is None or not self.store.is_current(self.name, expected, **keys):
            return False
        path = self.store.path(self.name, **keys)
        self._current.append(Commit(path, footer.rows, path.stat().st_size, expected))
        return True

    def forget(self, **keys: str) -> None:
        """Don't count a partition as current after all: it is written again with its siblings."""
        path = self.store.path(self.name, **keys)
        self._current = [commit for commit in self._current if commit.path != path]

    def wrote(self, commit: Commit | None, forwards: int = 0) -> None:
        """Count a partition that was committed, and the prompts that went through the model for it."""
        assert commit is not None, "a writer that ended well has committed"
        self._written.append(commit)
        self.forwards += forwards

    def result(self) -> dg.MaterializeResult[object]:
        """What Dagster is told: sizes, time, the fingerprint of all partitions, the columns, the contract check."""
        files = self._current + self._written
        rows, bytes_ = sum(file.rows for file in files), sum(file.bytes for file in files)
        version = fingerprint(files=sorted([str(file.path), file.fingerprint] for file in files))
        entry = table(self.name)
        return dg.MaterializeResult(
            asset_key=self.name,
            metadata={
                "rows": rows,
                "bytes": bytes_,
                # What the UI shows above everything else.
                "dagster/row_count": rows,
                "dagster/size_bytes": bytes_,
                "seconds": round(time.monotonic() - self._started, 3),
                "forwards": self.forwards,
                "files_written": len(self._written),
                "files_current": len(self._current),
                "fingerprint": version,
                "folder": dg.MetadataValue.path(str(self.store.root / self.name)),
                **columns(self.name),
            },
            check_results=[self._contract(entry)],
            data_version=dg.DataVersion(version),
        )

    def _contract(self, entry: Table) -> dg.AssetCheckResult:
        """Written files were validated before their commit; those that were current must still be whole."""
        torn = [str(file.path) for file in self._current if _rows(file.path) != file.rows]
        return dg.AssetCheckResult(
            asset_key=self.name,
            check_name=CONTRACT,
            passed=not torn,
            metadata={
                "columns_checked": len(entry.columns),
                "rows_validated": sum(file.rows for file in self._written),
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


def upstream(store: Store, name: str, **keys: str) -> str:
    """The fingerprint of a partition that is about to be read.

    Raises:
        InputError: it is not there.
    """
    footer = store.footer(name, **keys)
    if footer is None:
        where = ", ".join(f"{key}={value}" for key, value in keys.items())
        raise InputError(f"Table {name} has nothing for {where}: materialize the asset `{name}` first.")
    return footer.fingerprint


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


def _rows(path: Path) -> int:
    return int(pq.read_metadata(path).num_rows)
