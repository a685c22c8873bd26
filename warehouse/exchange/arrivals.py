"""What would come in: the partitions of an exported folder, or of another warehouse, each with what is claimed of it.

Claims are read here and compared with this warehouse's tables; that the files are what is claimed is proved when they
have been fetched (`proved`). What happens to them is decided in `importing`.
"""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.errors import InputError, StoreError, TableError
from warehouse.exchange.descriptor import NAME, read_packed
from warehouse.exchange.parts import Choice, Part, parts_of, read_part
from warehouse.places import ObjectPlace, Place, opened
from warehouse.store import Store, footer_of
from warehouse.validation import validate_group
from warehouse.versions import CODE_VERSION


@dataclass(frozen=True)
class Arrival:
    """A partition that would come in.

    Attributes:
        source: its file.
        bytes, sha256: what an exported folder says of it; None of a warehouse, which says nothing.
    """

    part: Part
    source: Place
    bytes: int | None = None
    sha256: str | None = None


def arrivals_of(source: Path | ObjectPlace) -> list[Arrival]:
    """The partitions of an exported folder, or of a warehouse.

    Raises:
        InputError: it is neither, its description makes no sense, or its tables are of other versions than ours.
        StoreError: a file can't be read, or the object store does not answer.
    """
    if (source / NAME).is_file():
        if not isinstance(source, Path):
            raise InputError(f"{source} is an exported folder in an object store: fetch it to this machine first.")
        found = [Arrival(one.part, source / one.path, one.bytes, one.sha256) for one in read_packed(source)]
    elif isinstance(source, Path) and not source.is_dir():
        raise InputError(f"There is no folder {source}: name an exported folder, or another warehouse.")
    else:
        store = Store(source)
        found = [Arrival(part, part.place(store)) for part in parts_of(store, Choice())]
    _check_versions(source, found)
    return found


def proved(arrival: Arrival, file: Path, size: int, sha256: str) -> None:
    """Check that what was fetched is what was claimed, and that its rows keep their table's contract.

    Args:
        arrival: what was claimed.
        file: what was fetched.
        size, sha256: of what was fetched.

    Raises:
        InputError: length, hash, footer or rows are others than claimed.
    """
    part = arrival.part
    if arrival.sha256 is not None and (size, sha256) != (arrival.bytes, arrival.sha256):
        raise InputError(
            f"{arrival.source} is not what was exported: its SHA-256 is {sha256[:12]}… of {size} bytes, the "
            f"description says {arrival.sha256[:12]}… of {arrival.bytes}. Fetch the folder again; nothing was imported."
        )
    footer = footer_of(file)
    if footer != part.footer:
        found = "none of ours" if footer is None else f"{footer.table}, fingerprint {footer.fingerprint}"
        raise InputError(
            f"{arrival.source} was to be {part} with the fingerprint {part.footer.fingerprint}, and its footer says "
            f"{found}. Export or fetch it again; nothing was imported."
        )
    try:
        rows = _rows(part, file)
    except (TableError, pa.ArrowException) as error:
        raise InputError(f"{arrival.source} breaks the table's contract: {error} Nothing was imported.") from error
    if rows != part.footer.rows:
        raise InputError(f"{arrival.source} has {rows} rows, its footer says {part.footer.rows}. Nothing was imported.")


def _rows(part: Part, path: Path) -> int:
    """The rows of a file, each row group validated; memory holds one."""
    rows, last = 0, None
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            data = file.read_row_group(group)
            last = validate_group(part.entry, data, last)
            rows += data.num_rows
    return rows


def _check_versions(source: Path | ObjectPlace, found: list[Arrival]) -> None:
    other = [one.part for one in found if one.part.footer.schema_version != one.part.entry.version]
    if not other:
        return
    first = other[0]
    is_newer = first.footer.schema_version > first.entry.version
    raise InputError(
        f"{source} holds {len(other)} partitions of {'newer' if is_newer else 'older'} versions of their tables (first "
        f"{first}: version {first.footer.schema_version}, here {first.entry.version}; written by Vesalius "
        f"{first.footer.code_version}). "
        + (
            f"Upgrade this Vesalius ({CODE_VERSION})."
            if is_newer
            else "Run its models again with this version, and export anew."
        )
    )


def same_model(arrival: Arrival, store: Store) -> bool:
    """Whether a row of `models` tells of the same weights as the one here, wherever either was loaded from.

    Raises:
        StoreError: a file can't be read.
    """
    try:
        with opened(arrival.source) as source, pq.ParquetFile(source) as file:
            theirs = file.read().to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{arrival.source} can't be read ({error}). Fetch or export it again.") from error
    ours = read_part(store, arrival.part).to_pylist()
    told = ("fingerprint", "dtype", "quantization", "untrained_of")
    return [[row.get(name) for name in told] for row in theirs] == [[row.get(name) for name in told] for row in ours]
