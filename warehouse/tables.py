"""The one registry of tables: names, grain, columns, types, units, keys and the words that describe them.

Everything that knows about a column learns it here: the Arrow schema, the validation before a commit, Dagster's column
schema, the comments in the DuckDB catalog and `docs/tables.md`. Paths and files belong to `store`.

A table is partitioned by `model`, by `concept`, by both or by neither. Partition columns live in the path, not in the
file. Keys come first, then values; the keys (with the partition) identify a row.
"""

from warehouse.analysis_tables import ANALYSES
from warehouse.columns import LABEL_KINDS, POSITIONS, TEMPLATE_KINDS
from warehouse.errors import InputError
from warehouse.extraction_tables import EXTRACTION
from warehouse.library_tables import LIBRARY
from warehouse.schema import Table

__all__ = ["LABEL_KINDS", "POSITIONS", "STAGES", "TABLES", "TEMPLATE_KINDS", "table"]

STAGES: dict[str, tuple[Table, ...]] = {"library": LIBRARY, "extraction": EXTRACTION, "analyses": ANALYSES}
"""Tables by the stage that writes them, in the order in which they are made."""

TABLES: dict[str, Table] = {table.name: table for stage in STAGES.values() for table in stage}


def table(name: str) -> Table:
    """The table of that name.

    Raises:
        InputError: there is none.
    """
    try:
        return TABLES[name]
    except KeyError:
        raise InputError(f"There is no table {name!r}. The tables are: {', '.join(TABLES)}.") from None
