"""The contract of a table, checked on the rows themselves before they become a file.

Names and types, nulls, finite numbers, bounds, allowed values and unique keys. Where the rows go is the store's affair;
what they ought to be is said in `tables`.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.errors import TableError
from warehouse.schema import Column, Table


def validate(entry: Table, data: pa.Table) -> None:
    """Check rows against their table's contract.

    Args:
        entry: the table that the rows are meant for.
        data: the rows, without the partition columns.

    Raises:
        TableError: names, types, nulls, bounds, allowed values or keys are not as promised; the message names the
            column, how many rows are at fault and, for keys, the first of them.
    """
    vector = entry.vector
    width = None
    if vector is not None and vector.name in data.schema.names:
        type_ = data.schema.field(vector.name).type
        width = type_.list_size if pa.types.is_fixed_size_list(type_) else None
        if width is None:
            raise TableError(f"{entry.name}.{vector.name} has type {type_}; it takes a fixed-size list of float32.")
    expected = entry.schema(width=width)
    if data.schema.names != expected.names:
        raise TableError(f"{entry.name} has columns {data.schema.names}; it takes {expected.names}, in this order.")
    for column, field in zip(entry.columns, expected, strict=True):
        values = data.column(column.name)
        if values.type != field.type:
            raise TableError(f"{entry.name}.{column.name} has type {values.type}; it takes {field.type}.")
        _check_values(entry.name, column, values)
    _check_keys(entry, data)


def validate_group(entry: Table, data: pa.Table, last_layer: int | None) -> int | None:
    """Check the rows of one row group of a file.

    Args:
        entry: the table that the rows are meant for.
        data: the rows; in a table with layers all of one layer.
        last_layer: the layer of the row group before, if there is one.

    Returns:
        The layer of this one; None in a table without layers.

    Raises:
        TableError: the rows break the table's contract, or are not of one layer that is above the last.
    """
    validate(entry, data)
    if "layer" not in entry.key_names:
        return None
    layers = pc.unique(data["layer"]).to_pylist()
    if len(layers) != 1 or (last_layer is not None and layers[0] <= last_layer):
        raise TableError(f"{entry.name}: a row group holds one layer, in ascending order; got {layers}.")
    return int(layers[0])


def _check_values(name: str, column: Column, values: pa.ChunkedArray) -> None:
    where = f"{name}.{column.name}"
    if values.null_count and not column.nullable:
        raise TableError(f"{where} has {values.null_count} nulls of {len(values)} rows; it takes none.")
    if column.is_vector:
        wrong = sum(_not_finite(chunk.flatten()) + chunk.flatten().null_count for chunk in values.chunks if len(chunk))
        if wrong:
            raise TableError(
                f"{where} has {wrong} numbers that are missing, infinite or NaN; every number must be finite."
            )
        return
    if pa.types.is_floating(values.type):
        wrong = sum(_not_finite(chunk) for chunk in values.chunks)
        if wrong:
            raise TableError(f"{where} has {wrong} infinite or NaN of {len(values)} rows; every number must be finite.")
    for bound, compare, word in ((column.minimum, pc.less, "below"), (column.maximum, pc.greater, "above")):
        if bound is not None and (wrong := pc.sum(compare(values, bound)).as_py() or 0):
            raise TableError(f"{where} has {wrong} of {len(values)} values {word} {bound:g}.")
    if column.allowed:
        strangers = set(pc.unique(values).to_pylist()) - {*column.allowed, None}
        if strangers:
            raise TableError(f"{where} has {sorted(strangers)}; it takes one of {list(column.allowed)}.")


def _not_finite(values: pa.Array) -> int:
    if values.null_count:
        values = values.drop_null()
    return int(np.count_nonzero(~np.isfinite(values.to_numpy(zero_copy_only=False))))


def _check_keys(entry: Table, data: pa.Table) -> None:
    names = list(entry.key_names)
    if not names:
        if data.num_rows != 1:
            raise TableError(f"{entry.name} has {data.num_rows} rows; it takes one a partition.")
        return
    counts = data.select(names).group_by(names).aggregate([([], "count_all")])
    if counts.num_rows == data.num_rows:
        return
    double = counts.filter(pc.greater(counts["count_all"], 1)).slice(0, 1).to_pylist()[0]
    times = double.pop("count_all")
    raise TableError(f"{entry.name} has the key {double} {times} times; a key identifies one row.")
