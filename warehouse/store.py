"""Partitions as files: one Parquet file each, found by its keys, committed whole or not at all.

A file appears under its name only after its rows passed the table's contract and reached the disk or, whole, the object
store (`atomic`); a reader never sees half of one, and the last good file stays when a write fails. The footer tells
table, version, model revision, code version and the fingerprint of all that the content depends on: the same
fingerprint means that there is nothing to do. What the tables hold is said in `tables`, how SQL sees them in `catalog`.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from warehouse.atomic import disk_errors, remove_leftovers, replacing
from warehouse.errors import InputError, StoreError, TableError
from warehouse.places import ObjectPlace, Place, find, opened, staging
from warehouse.schema import Table
from warehouse.tables import TABLES, table
from warehouse.validation import validate, validate_group
from warehouse.versions import CODE_VERSION

FILE_NAME = "part-0.parquet"
_FOOTER_KEY = b"vesalius"
_SLUG = re.compile(r"[a-z0-9][a-z0-9._-]*")
_LONGEST_SLUG = 120


def check_slug(slug: str) -> str:
    """The slug itself, if it may name a partition.

    Raises:
        InputError: it has other characters than a-z, 0-9, `.`, `_`, `-`, does not start with a letter or digit, holds
            `..`, or is too long.
    """
    if not _SLUG.fullmatch(slug) or ".." in slug or len(slug) > _LONGEST_SLUG:
        raise InputError(
            f"{slug!r} can't be a slug: use a-z, 0-9, '.', '_' and '-', begin with a letter or digit, leave out '..', "
            f"and stay within {_LONGEST_SLUG} characters."
        )
    return slug


@dataclass(frozen=True)
class Footer:
    """What a file says of itself."""

    table: str
    schema_version: int
    fingerprint: str
    revision: str
    code_version: str
    rows: int


@dataclass(frozen=True)
class Commit:
    """A file that has been written."""

    path: Place
    rows: int
    bytes: int
    fingerprint: str


class Writer:
    """Takes one row group after the other for a file that is not there yet. Made by `Store.writer`."""

    def __init__(self, entry: Table, path: Place, file: pq.ParquetWriter) -> None:
        self._entry = entry
        self._path = path
        self._file = file
        self._layer: int | None = None
        self.rows = 0
        self.commit: Commit | None = None
        """What was committed, once the block of `Store.writer` has ended."""

    def add(self, data: pa.Table) -> None:
        """Validate rows and write them as one row group.

        Args:
            data: the rows; in a table with layers all of one layer, and the layers in ascending order.

        Raises:
            TableError: the rows break the table's contract.
            StoreError: the disk or the object store refused.
        """
        self._layer = validate_group(self._entry, data, self._layer)
        with disk_errors(self._path):
            self._file.write_table(data, row_group_size=max(data.num_rows, 1))
        self.rows += data.num_rows

    def _finish(self, fingerprint: str, revision: str) -> None:
        footer = Footer(self._entry.name, self._entry.version, fingerprint, revision, CODE_VERSION, self.rows)
        self._file.add_key_value_metadata({_FOOTER_KEY: json.dumps(asdict(footer))})


@dataclass(frozen=True)
class Store:
    """A warehouse, on a disk or in an object store.

    Attributes:
        root: the folder that holds one folder a table.
    """

    root: Path | ObjectPlace

    def path(self, name: str, **keys: str) -> Path | ObjectPlace:
        """Where the partition's file lies, or would.

        Raises:
            InputError: no such table, keys missing or too many, or a key that can't be a slug.
        """
        entry = table(name)
        if set(keys) != set(entry.partitions):
            raise InputError(f"Table {name} is partitioned by {list(entry.partitions)}; got {sorted(keys)}.")
        folders = [f"{key}={check_slug(keys[key])}" for key in entry.partitions]
        return self.root.joinpath(name, *folders, FILE_NAME)

    def footer(self, name: str, **keys: str) -> Footer | None:
        """What the partition's file says of itself; None if there is no file, or none of ours that can be read."""
        return footer_of(self.path(name, **keys))

    def is_current(self, name: str, fingerprint: str, **keys: str) -> bool:
        """Whether the partition is there, was made by this version of its table, and from the same inputs."""
        return self.current(name, fingerprint, **keys) is not None

    def current(self, name: str, fingerprint: str, **keys: str) -> Footer | None:
        """The partition's footer, if `is_current`."""
        found = self.footer(name, **keys)
        if found is None or (found.fingerprint, found.schema_version) != (fingerprint, table(name).version):
            return None
        return found

    @contextmanager
    def writer(
        self,
        name: str,
        *,
        fingerprint: str,
        rows: int | None = None,
        revision: str = "",
        width: int | None = None,
        **keys: str,
    ) -> Iterator[Writer]:
        """A writer for the partition's next file, which takes the old one's place when the block ends well.

        Args:
            name: the table.
            fingerprint: hash of all that the content depends on.
            rows: how many rows are planned; another number is not committed.
            revision: the model's revision, for the footer.
            width: length of the vectors, if the table has any.
            keys: the partition.

        Raises:
            TableError: the rows break the contract, or are not as many as planned.
            StoreError: the disk or the object store refused.
        """
        entry, path = table(name), self.path(name, **keys)
        with replacing(path) as temporary:
            with disk_errors(path):
                file = pq.ParquetWriter(temporary, entry.schema(width), **encodings(entry))
            writer = Writer(entry, path, file)
            try:
                yield writer
                if rows is not None and writer.rows != rows:
                    raise TableError(f"{name} got {writer.rows} rows where {rows} were planned; nothing was committed.")
                writer._finish(fingerprint, revision)
            finally:
                with disk_errors(path):
                    file.close()
            size = temporary.stat().st_size
        writer.commit = Commit(path, writer.rows, size, fingerprint)

    def write(self, name: str, data: pa.Table, *, fingerprint: str, revision: str = "", **keys: str) -> Commit:
        """Commit a whole table, sorted by its keys, one row group a layer where there are layers.

        Raises:
            TableError: the rows break the table's contract.
            StoreError: the disk or the object store refused.
        """
        entry = table(name)
        validate(entry, data)
        vector = entry.vector
        width = data.schema.field(vector.name).type.list_size if vector else None
        ordered = data
        if entry.keys:
            order = sorted(entry.key_names, key=lambda key: key != "layer")
            ordered = data.sort_by([(key, "ascending") for key in order])
        with self.writer(
            name, fingerprint=fingerprint, rows=data.num_rows, revision=revision, width=width, **keys
        ) as writer:
            if "layer" in entry.key_names:
                for layer in pc.unique(ordered["layer"]).to_pylist():
                    writer.add(ordered.filter(pc.equal(ordered["layer"], layer)))
            elif ordered.num_rows:
                writer.add(ordered)
        assert writer.commit is not None
        return writer.commit

    def read(self, name: str, *, columns: list[str] | None = None, **keys: str) -> pa.Table:
        """The rows of one partition, without the partition columns.

        Raises:
            InputError: the partition is not there.
            StoreError: its file can't be read, or the object store does not answer.
        """
        with self._open(name, **keys) as file:
            return file.read(columns=columns)

    def width(self, name: str, **keys: str) -> int | None:
        """How many numbers each vector of a partition has; None of a table without vectors. No rows are read.

        Raises:
            InputError: the partition is not there.
            StoreError: its file can't be read, or the object store does not answer.
        """
        vector = table(name).vector
        with self._open(name, **keys) as file:
            return None if vector is None else int(file.schema_arrow.field(vector.name).type.list_size)

    def layers(self, name: str, **keys: str) -> Iterator[tuple[int, pa.Table]]:
        """The rows of one partition, a layer at a time, in ascending order: memory holds one layer.

        Raises:
            InputError: the partition is not there.
            StoreError: its file can't be read, or the object store does not answer.
        """
        with self._open(name, **keys) as file:
            for group in range(file.num_row_groups):
                data = file.read_row_group(group)
                yield data["layer"][0].as_py(), data

    def partitions(self, name: str) -> list[dict[str, str]]:
        """The keys of every partition of a table that has a file, sorted."""
        entry = table(name)
        pattern = "/".join([*(f"{key}=*" for key in entry.partitions), FILE_NAME])
        found = find(self.root / name, pattern)
        return [dict(folder.split("=", 1) for folder in path.split("/")[:-1]) for path in found]

    def remove_leftovers(self) -> None:
        """Delete the temporary files of writers that were killed."""
        with disk_errors(self.root):
            if isinstance(self.root, ObjectPlace):
                remove_leftovers(staging() / FILE_NAME)
                return
            for name in TABLES:
                for folder in (self.root / name).rglob("*/"):
                    remove_leftovers(folder / FILE_NAME)

    @contextmanager
    def _open(self, name: str, **keys: str) -> Iterator[pq.ParquetFile]:
        path = self.path(name, **keys)
        where = ", ".join(f"{key}={value}" for key, value in keys.items()) or "the whole table"
        try:
            with opened(path) as source, pq.ParquetFile(source) as file:
                yield file
        except FileNotFoundError:
            raise InputError(f"Table {name} has nothing for {where}: run the model or the concept first.") from None
        except pa.ArrowInvalid as error:
            raise StoreError(f"{path} can't be read ({error}). Delete it and run again.") from error


def footer_of(path: Place) -> Footer | None:
    """What a file says of itself; None if there is no file, or none of ours that can be read.

    Raises:
        StoreError: the object store refuses or does not answer.
    """
    try:
        metadata = _metadata(path).metadata or {}
        return Footer(**json.loads(metadata[_FOOTER_KEY]))
    except (FileNotFoundError, pa.ArrowInvalid, KeyError, TypeError, ValueError):
        return None


def rows_in(path: Place) -> int:
    """The rows that a file says it has.

    Raises:
        FileNotFoundError: there is no file.
        StoreError: the object store refuses or does not answer.
    """
    return int(_metadata(path).num_rows)


def _metadata(path: Place) -> pq.FileMetaData:
    if isinstance(path, ObjectPlace):
        with suppress(pa.ArrowInvalid):  # It may be longer than the end that was fetched.
            return pq.read_metadata(pa.BufferReader(path.read_end()))
    with opened(path) as file:
        return pq.read_metadata(file)


def encodings(entry: Table) -> dict[str, Any]:
    """Vectors split by byte (bf16 in float32 then costs 1.4 bytes a value), keys as dictionaries, the rest plain."""
    vector = entry.vector
    repeated = [column.name for column in entry.columns if pa.types.is_string(column.type)]
    of_columns = {f"{vector.name}.list.element": "BYTE_STREAM_SPLIT"} if vector else None
    return {"compression": "zstd", "compression_level": 1, "use_dictionary": repeated, "column_encoding": of_columns}
