"""Several partitions of a table as one: which there are, their fingerprints, and their rows with the keys as columns.

Untrained twins are left out: they are there to be read against, not to be looked at.
"""

from collections.abc import Iterable, Mapping

import pyarrow as pa

from extract.job.tally import upstream
from warehouse.store import Store
from warehouse.tables import table
from warehouse.twins import is_twin

Keys = dict[str, str]


def partitions_of(store: Store, name: str, model: str | None = None) -> list[Keys]:
    """The partitions of a table, of one model or of all; those of a table that knows no models in either case."""
    found = [keys for keys in store.partitions(name) if not is_twin(keys.get("model", ""))]
    return found if model is None else [keys for keys in found if keys.get("model", model) == model]


def fingerprints_of(store: Store, partitions: Mapping[str, Iterable[Keys]]) -> dict[str, str]:
    """The fingerprint of each partition of some tables, by table and keys."""
    return {
        "/".join([name, *keys.values()]): upstream(store, name, **keys)
        for name, found in partitions.items()
        for keys in found
    }


def gather(store: Store, name: str, partitions: Iterable[Keys]) -> pa.Table:
    """The rows of some partitions with `model` and `concept` in front, as far as the table has them; perhaps none."""
    entry = table(name)
    parts = []
    for keys in partitions:
        rows = store.read(name, columns=None, **keys)
        parts.append(_with_keys(rows, [pa.repeat(pa.scalar(keys[key]), len(rows)) for key in entry.partitions], name))
    if parts:
        return pa.concat_tables(parts)
    return _with_keys(entry.schema(width=1).empty_table(), [pa.array([], pa.string()) for _ in entry.partitions], name)


def _with_keys(rows: pa.Table, keys: list[pa.Array], name: str) -> pa.Table:
    return pa.table([*keys, *rows.columns], names=[*table(name).partitions, *rows.schema.names])
