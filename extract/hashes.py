"""Hashes of files, remembered: a weight file of some gigabytes is read once, not each time that its model is asked for.

A hash counts as long as the file's size and time of change are as they were. Those of large files are kept on disk for
the next process, in the user's cache; that file may be deleted at any time.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path

from warehouse.versions import file_hash

LARGE = 64 * 2**20
"""Bytes from which a hash is worth keeping on disk."""

_TABLE = "CREATE TABLE IF NOT EXISTS hashes (path TEXT PRIMARY KEY, bytes INTEGER, modified_ns INTEGER, hash TEXT)"


def hash_of(file: Path) -> str:
    """SHA-256 of a file's content, hexadecimal; taken again only where its size or time has changed.

    Raises:
        OSError: it can't be read.
    """
    found = file.stat()
    return _hash(file.resolve(), found.st_size, found.st_mtime_ns)


@cache
def _hash(file: Path, size: int, modified: int) -> str:
    if size < LARGE:
        return file_hash(file)
    with _kept() as kept:
        known = _known(kept, file, size, modified)
        if known is None:
            known = file_hash(file)
            _keep(kept, file, size, modified, known)
    return known


@contextmanager
def _kept() -> Iterator[sqlite3.Connection | None]:
    """The hashes on disk; None where the cache can't be written, for it is a convenience."""
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vesalius"
    try:
        place.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(place / "hashes.sqlite", timeout=30)
    except (OSError, sqlite3.Error):
        yield None
        return
    with closing(connection):
        yield connection


def _known(kept: sqlite3.Connection | None, file: Path, size: int, modified: int) -> str | None:
    if kept is None:
        return None
    query = "SELECT hash FROM hashes WHERE path = ? AND bytes = ? AND modified_ns = ?"
    try:
        kept.execute(_TABLE)
        row = kept.execute(query, (str(file), size, modified)).fetchone()
    except sqlite3.Error:
        return None
    return None if row is None else str(row[0])


def _keep(kept: sqlite3.Connection | None, file: Path, size: int, modified: int, found: str) -> None:
    if kept is None:
        return
    try:
        with kept:
            kept.execute("REPLACE INTO hashes VALUES (?, ?, ?, ?)", (str(file), size, modified, found))
    except sqlite3.Error:
        return
