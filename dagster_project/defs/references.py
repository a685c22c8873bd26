"""What runs are set beside: the paper's own figures, how well each technique finds planted knowledge, and what training
the layers of a map did.

They come with the project as small files and are written into every warehouse, so that SQL can join them.
"""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pyarrow as pa

from dagster_project.defs.resources import Warehouse
from dagster_project.landing import RETRIES, Landing, Reports, columns, contract_check, failing_clearly, land
from warehouse import fingerprints
from warehouse.tables import table
from warehouse.versions import file_hash

TABLES = ("published", "validation", "edits")


@dg.multi_asset(
    name="references",
    specs=[
        dg.AssetSpec(
            name,
            description=table(name).doc,
            metadata=columns(name),
            group_name="library",
            kinds={"csv", "parquet"},
        )
        for name in TABLES
    ],
    check_specs=[contract_check(name) for name in TABLES],
    can_subset=True,
    retry_policy=RETRIES,
)
def references(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Reports:
    """Write the tables whose files changed."""
    with failing_clearly():
        for name in TABLES:
            if dg.AssetKey(name) in context.selected_asset_keys:
                yield from land(warehouse.store, name, _fill)


def _source(name: str) -> tuple[Path, Callable[[Path], pa.Table]]:
    """The file of a table, and what reads it."""
    from analyses.edits import EDITS_FILE, read_edits
    from analyses.published import PUBLISHED_FILE, published_table
    from analyses.validity import VALIDATION_FILE, kept_validation

    sources: dict[str, tuple[Path, Callable[[Path], pa.Table]]] = {
        "published": (PUBLISHED_FILE, published_table),
        "validation": (VALIDATION_FILE, kept_validation),
        "edits": (EDITS_FILE, read_edits),
    }
    return sources[name]


def _fill(landing: Landing) -> None:
    path, read = _source(landing.name)
    expected = fingerprints.reference(landing.name, file_hash(path))
    if not landing.is_current(expected):
        rows: pa.Table = read(path)
        landing.wrote(landing.store.write(landing.name, rows, fingerprint=expected))
