"""What a table of the warehouse is made of: columns with types, units and bounds, and the Arrow schema of a file.

The classes are here, the tables themselves in `tables`, the checks against them in `validation`.
"""

from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from warehouse.errors import InputError

VECTOR = pa.list_(pa.float32())
"""Stands for a fixed-size list whose width is the model's; `Table.schema(width=…)` puts the width in."""


@dataclass(frozen=True)
class Column:
    """One column: its Arrow type, what it says, its unit if it has one, and the values that it may take."""

    name: str
    type: pa.DataType
    doc: str
    unit: str | None = None
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[str, ...] = ()
    width: int | None = None
    """Length of the vectors, for a vector column whose width is the same for every model."""

    @property
    def is_vector(self) -> bool:
        """Whether the column holds one activation vector a row."""
        return bool(pa.types.is_list(self.type))

    @property
    def description(self) -> str:
        """The doc with the unit and, where few values are allowed, those values: what DuckDB and the docs show."""
        parts = [self.doc]
        if self.unit:
            parts.append(f"Unit: {self.unit}.")
        if self.allowed:
            parts.append("One of: " + ", ".join(self.allowed) + ".")
        return " ".join(parts)


MODEL = Column("model", pa.string(), "The model's slug in the registry.")
CONCEPT = Column("concept", pa.string(), "The concept: a folder of the concept library.")
PARTITION_COLUMNS = {"model": MODEL, "concept": CONCEPT}


@dataclass(frozen=True)
class Table:
    """One table of the warehouse: its grain, its partition columns, its key columns and its values."""

    name: str
    doc: str
    grain: str
    partitions: tuple[str, ...]
    keys: tuple[Column, ...]
    values: tuple[Column, ...]
    version: int = 1

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The columns that a file holds, keys first."""
        return self.keys + self.values

    @cached_property
    def all_columns(self) -> tuple[Column, ...]:
        """The columns that a query sees: those of the path, then those of the file."""
        return tuple(PARTITION_COLUMNS[name] for name in self.partitions) + self.columns

    @property
    def key_names(self) -> tuple[str, ...]:
        """The names of the key columns in the file."""
        return tuple(column.name for column in self.keys)

    @property
    def vector(self) -> Column | None:
        """The column of vectors, if this table has one."""
        return next((column for column in self.columns if column.is_vector), None)

    def schema(self, width: int | None = None) -> pa.Schema:
        """The Arrow schema of one file.

        Args:
            width: length of the vectors, for a table with a vector column as wide as the model.

        Raises:
            InputError: the table has vectors and `width` was not given.
        """
        fields = []
        for column in self.columns:
            type_ = column.type
            if column.is_vector:
                length = column.width or width
                if length is None:
                    raise InputError(f"Table {self.name} holds vectors: give their width.")
                type_ = pa.list_(pa.float32(), length)
            fields.append(pa.field(column.name, type_, nullable=column.nullable))
        return pa.schema(fields)
