"""Checks of what was kept: partitions, files that writers left behind, the catalog, the charts, Dagster's record."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from dagster_project.doctor.report import Finding
from warehouse.errors import VesaliusError
from warehouse.places import ObjectPlace
from warehouse.store import Store
from warehouse.tables import TABLES

_MOST = 5
"""Faults of one kind that are told one by one; the rest are counted."""


def reachable(store: Store) -> Iterator[Finding]:
    """Whether the warehouse is there and may be written."""
    root = store.root
    if isinstance(root, ObjectPlace):
        count = sum(len(store.partitions(name)) for name in TABLES)
        yield Finding("warehouse", "ok", f"{root} answers: {count} partitions")
        return
    if not root.exists():
        yield Finding(
            "warehouse", "warn", f"There is no warehouse at {root} yet.", "Run a model: vesalius run --model reference."
        )
        return
    if not root.is_dir() or not os.access(root, os.W_OK | os.X_OK):
        what = "is no folder" if not root.is_dir() else "can't be written"
        remedy = "Name another place with --warehouse or VESALIUS_WAREHOUSE, or change its owner."
        yield Finding("warehouse", "fail", f"{root} {what}.", remedy)
        return
    count = sum(len(store.partitions(name)) for name in TABLES)
    yield Finding("warehouse", "ok", f"{root}: {count} partitions")


def partitions(store: Store) -> Iterator[Finding]:
    """Whether every file can be read, and was written by the schema of today."""
    torn, old, newer, sound = [], [], [], 0
    for name, entry in TABLES.items():
        for keys in store.partitions(name):
            where = "/".join([name, *keys.values()])
            try:
                footer = store.footer(name, **keys)
            except VesaliusError as error:
                torn.append(f"{where} ({error})")
                continue
            if footer is None:
                torn.append(f"{where} (its footer tells nothing)")
            elif footer.schema_version < entry.version:
                old.append(where)
            elif footer.schema_version > entry.version:
                newer.append(where)
            else:
                sound += 1
    if torn:
        remedy = "Delete it: the next run writes it anew. Look at the disk, too: the project never leaves half a file."
        yield Finding("partitions", "fail", f"{_listed(torn)} can't be read.", remedy)
    if newer:
        remedy = "Update the project, or read another warehouse."
        yield Finding("partitions", "fail", f"{_listed(newer)} were written by a newer version of the project.", remedy)
    if old:
        remedy = "Run the models again: vesalius run. What is current costs nothing."
        yield Finding("partitions", "warn", f"{_listed(old)} have an older schema.", remedy)
    if not torn and not old and not newer:
        yield Finding("partitions", "ok", f"All {sound} can be read and have today's schema.")


def leftovers(root: Path) -> Iterator[Finding]:
    """Whether writers that were killed left temporary files behind."""
    found = sorted(str(path.relative_to(root)) for path in root.rglob(".*.tmp*") if path.is_file())
    if found:
        remedy = "Nothing reads them. If no run is going on, delete them; the next writer of the same file does so too."
        yield Finding("leftovers", "warn", f"Temporary files: {_listed(found)}", remedy)
    else:
        yield Finding("leftovers", "ok", "No temporary file was left behind.")


def built(path: Path, check: str, newest: float | None, remedy: str) -> Iterator[Finding]:
    """Whether what is built from the tables is there, and is not older than they are.

    Args:
        path: the file.
        check: what it is called.
        newest: when the youngest table was written, in seconds of the epoch; None without tables.
        remedy: what builds it.
    """
    if newest is None:
        return
    if not path.is_file():
        yield Finding(check, "warn", f"{path} is not there.", remedy)
    elif path.stat().st_mtime < newest:
        yield Finding(check, "warn", f"{path} is older than the newest table.", remedy)
    else:
        yield Finding(check, "ok", str(path))


def newest_table(store: Store) -> float | None:
    """When the youngest partition on a disk was written; None where there is none."""
    assert isinstance(store.root, Path)
    times = [path.stat().st_mtime for name in TABLES for path in (store.root / name).rglob("*.parquet")]
    return max(times, default=None)


def dagster_home(home: Path) -> Iterator[Finding]:
    """Whether Dagster's home can be written and its record of runs is whole."""
    if not home.exists():
        yield Finding("dagster", "ok", f"{home} will be made by the first run.")
        return
    if not os.access(home, os.W_OK | os.X_OK):
        yield Finding("dagster", "fail", f"{home} can't be written.", "Set DAGSTER_HOME to a folder of yours.")
        return
    broken = [str(path.relative_to(home)) for path in sorted(home.rglob("*.db")) if not _is_whole(path)]
    if broken:
        remedy = f"Move {home} away: the record of runs is lost, the warehouse is not."
        yield Finding("dagster", "fail", f"Damaged in {home}: {_listed(broken)}", remedy)
    else:
        yield Finding("dagster", "ok", str(home))


def _is_whole(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            (answer,) = connection.execute("PRAGMA quick_check").fetchone()
    except sqlite3.DatabaseError:
        return False
    return bool(answer == "ok")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more
