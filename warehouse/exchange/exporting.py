"""A warehouse, or a part of it, written out as a folder that can be sent, read by other tools, and imported.

The folder appears whole or not at all: it is written beside its place and renamed. What is said in it is in `words` and
`descriptor`; files of the layout `warehouse` are the warehouse's own, byte for byte.
"""

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.atomic import disk_errors
from warehouse.errors import InputError, StoreError
from warehouse.exchange import words
from warehouse.exchange.descriptor import LAYOUTS, NAME, Packed, described, table_schema
from warehouse.exchange.parts import Choice, Part, parts_of, read_part
from warehouse.places import Place, opened
from warehouse.schema import PARTITION_COLUMNS
from warehouse.store import Store, encodings
from warehouse.versions import file_hash

SUMS = "SHA256SUMS"
_PIECE = 1 << 20

Tell = Callable[[int, int], None]
"""Is told how many bytes of how many are done."""


@dataclass(frozen=True)
class Exported:
    """A folder that was written."""

    folder: Path
    files: int
    rows: int
    bytes: int


def export(
    store: Store,
    folder: Path,
    choice: Choice | None = None,
    layout: str = "warehouse",
    tell: Tell = lambda done, all_: None,
) -> Exported:
    """Write the chosen partitions into a folder that is not there yet, with all that is needed to read and check them.

    Args:
        store: the warehouse.
        folder: where to; its parents are made.
        choice: which partitions; all by default.
        layout: `warehouse`, which can be imported, or `datasets`, for the package of that name.
        tell: is told how far it is.

    Raises:
        InputError: the folder holds something, the layout is none, or nothing fits the choice.
        StoreError: the disk or the object store refused, or a partition is of another version of its table.
    """
    if layout not in LAYOUTS:
        raise InputError(f"There is no layout {layout!r}; the layouts are {' and '.join(LAYOUTS)}.")
    folder = folder.expanduser().resolve()
    _check_free(store, folder)
    parts = parts_of(store, choice or Choice())
    _check_versions(store, parts)
    if layout == "datasets":
        # A table without a row has nothing to tell types by, and a configuration without a file is none.
        filled = {part.table for part in parts if part.footer.rows}
        parts = [part for part in parts if part.table in filled]
    if not parts:
        raise InputError(f"Nothing in {store.root} fits what was asked for.")
    sizes = [part.place(store).stat().st_size for part in parts]
    about = _about(store, parts)
    with _appearing(folder) as unfinished, disk_errors(folder):
        packed, done = [], 0
        for part, size in zip(parts, sizes, strict=True):
            packed.append(_pack(store, part, unfinished, layout))
            done += size
            tell(done, sum(sizes))
        _describe(unfinished, packed, about, layout)
    return Exported(folder, len(packed), sum(one.part.footer.rows for one in packed), sum(one.bytes for one in packed))


def copied(source: Place, target: Path) -> tuple[int, str]:
    """Copy a file, wherever it lies, to this machine.

    Returns:
        Its length and the SHA-256 of what was copied, hexadecimal.

    Raises:
        FileNotFoundError: there is no file.
        StoreError: the object store refuses or does not answer.
    """
    digest, length = hashlib.sha256(), 0
    with opened(source) as found, target.open("wb") as out:
        stream = found.open("rb") if isinstance(found, Path) else found
        with stream:
            while piece := stream.read(_PIECE):
                digest.update(piece)
                out.write(piece)
                length += len(piece)
    return length, digest.hexdigest()


def _check_free(store: Store, folder: Path) -> None:
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder} is there already: name a folder that isn't, or move it away.")
    if isinstance(store.root, Path) and folder.is_relative_to(store.root.resolve()):
        raise InputError(f"{folder} lies in the warehouse itself: name a folder outside of {store.root}.")


def _check_versions(store: Store, parts: Sequence[Part]) -> None:
    other = [part for part in parts if part.footer.schema_version != part.entry.version]
    if other:
        raise StoreError(
            f"{store.root} holds {len(other)} partitions of another version of their table (first {other[0]}: version "
            f"{other[0].footer.schema_version}, now {other[0].entry.version}). Run their models again, or leave them "
            "out with --table."
        )


def _about(store: Store, parts: Sequence[Part]) -> words.About:
    rows: dict[str, list[dict[str, object]]] = {"models": [], "concepts": []}
    for part in parts:
        if part.table in rows:
            rows[part.table] += [part.keys | row for row in read_part(store, part).to_pylist()]
    return words.About(rows["models"], rows["concepts"])


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A folder to write into that gets its name when the block ends well, and is deleted otherwise."""
    unfinished = folder.with_name(f".{folder.name}.{socket.gethostname()}.{os.getpid()}.{uuid4().hex[:8]}.tmp")
    with disk_errors(folder):
        unfinished.mkdir(parents=True)
    try:
        yield unfinished
        with disk_errors(folder):
            unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _pack(store: Store, part: Part, folder: Path, layout: str) -> Packed:
    below = (
        part.path if layout == "warehouse" else "/".join([part.table, *(part.keys.values() or ["all"])]) + ".parquet"
    )
    target = folder / "data" / below
    target.parent.mkdir(parents=True, exist_ok=True)
    if layout == "warehouse":
        size, digest = copied(part.place(store), target)
    else:
        _rewrite(store, part, target)
        size, digest = target.stat().st_size, file_hash(target)
    return Packed(part, f"data/{below}", size, digest)


def _rewrite(store: Store, part: Part, target: Path) -> None:
    """The file with the partition columns in it, and vectors of any width: what a reader of one table's files needs."""
    before = [(PARTITION_COLUMNS[key], value) for key, value in part.keys.items()]
    with opened(part.place(store)) as source, pq.ParquetFile(source) as file:
        fields = [pa.field(column.name, column.type, nullable=False) for column, _ in before]
        for each in file.schema_arrow:
            of_vector = pa.types.is_fixed_size_list(each.type)
            fields.append(pa.field(each.name, pa.list_(pa.float32()), each.nullable) if of_vector else each)
        schema = pa.schema(fields)
        with pq.ParquetWriter(target, schema, **encodings(part.entry)) as out:
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group)
                keys = [pa.array([value] * rows.num_rows, column.type) for column, value in before]
                values = [rows[each.name].cast(each.type) for each in schema if each.name in rows.column_names]
                out.write_table(pa.Table.from_arrays([*keys, *values], schema=schema), max(rows.num_rows, 1))


def _describe(folder: Path, packed: Sequence[Packed], about: words.About, layout: str) -> None:
    lines = words.readme if layout == "warehouse" else words.card
    _write(folder / "README.md", "\n".join(lines(about, packed)))
    _write(folder / "tables.md", "\n".join(words.dictionary(packed)))
    (folder / "schemas").mkdir()
    for part in {one.part.table: one.part for one in packed}.values():
        _write_json(folder / "schemas" / f"{part.table}.json", table_schema(part.entry, layout))
    _write_json(folder / NAME, described(packed, layout, about.title, about.description))
    hashes = {one.path: one.sha256 for one in packed}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            hashes[name] = hashes.get(name) or file_hash(path)
    _write(folder / SUMS, "\n".join(f"{digest}  {name}" for name, digest in sorted(hashes.items())))


def _write_json(path: Path, value: object) -> None:
    _write(path, json.dumps(value, indent=1, ensure_ascii=False))


def _write(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")
