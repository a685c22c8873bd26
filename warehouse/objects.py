"""An object store as DuckDB sees it: read-only, and with as few requests as we can.

DuckDB speaks to object stores by an extension that has to be fetched, or through any fsspec file system that is
registered on a connection. This is that file system: it lists once a statement, not once a folder; remembers what the
listing said of each file; and fetches a small file whole and once for as long as it stays the same. What SQL may read
is set in `query`.
"""

import errno
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import lru_cache
from glob import has_magic
from typing import Any

import duckdb
from fsspec import AbstractFileSystem
from fsspec.utils import glob_translate, tokenize

from warehouse.errors import StoreError, StoreUnreachableError
from warehouse.places import ObjectPlace
from warehouse.ranges import open_version
from warehouse.refusals import reading

_SMALL = 1 << 20
"""Bytes up to which a file is fetched whole: tables of scalars mostly are smaller, and one request costs as much."""

_KEPT = 256
"""Small files that a connection keeps in memory: 256 MiB at most."""

_WRITTEN = ("LastModified", "last_modified", "mtime", "updated", "created")
"""What the clients call the time of a file's writing, in their listings."""


_LOOK: ContextVar[dict[tuple[str, str], dict[str, Any]] | None] = ContextVar("look", default=None)
"""What was listed so far, by protocol and folder, while somebody wants `one_look`."""

_RAISED = re.compile(r"^(?:[\w.]+\.)?(StoreError|StoreUnreachableError): (.+)", re.MULTILINE | re.DOTALL)


def store_error(error: duckdb.Error) -> StoreError | None:
    """The error of the object store that DuckDB met while it read, if that is what its message tells."""
    found = _RAISED.search(str(error))
    if found is None:
        return None
    kind = StoreUnreachableError if found[1] == StoreUnreachableError.__name__ else StoreError
    return kind(" ".join(found[2].split()))


@contextmanager
def one_look() -> Iterator[None]:
    """Within it each folder is listed once: DuckDB would list it anew to explain, to plan and to run a statement."""
    token = _LOOK.set({})
    try:
        yield
    finally:
        _LOOK.reset(token)


def _check_same(listed: dict[str, Any], opened: dict[str, Any]) -> None:
    """One statement sees one version of a file: what it opens later must be what it planned with."""
    if any(listed[name] != opened[name] for name in ("ETag", "etag", "size") if name in listed and name in opened):
        raise OSError(errno.EBUSY, "the file was replaced while it was read")


class Objects(AbstractFileSystem):  # type: ignore[misc]
    """The file system to register on a DuckDB connection for a warehouse in an object store."""

    cachable = False

    def __init__(self, root: ObjectPlace) -> None:
        super().__init__()
        self.protocol = root.protocol
        self._inner = root.files()
        self._root = f"{self._inner._strip_protocol(root.url)}/"
        self._listed: dict[str, dict[str, Any]] = {}
        self._whole = lru_cache(_KEPT)(self._fetch)

    def glob(self, path: str, **_: Any) -> list[str]:
        """The files that fit a pattern, in order; they are looked up now, and remembered until the next time."""
        wanted = self._name(path)
        fixed: list[str] = []
        for part in wanted.split("/"):
            name = part.replace("[[]", "[").replace("[*]", "*").replace("[?]", "?")
            if has_magic(part.replace("[[]", "").replace("[*]", "").replace("[?]", "")):
                break
            fixed.append(name)
        folder = "/".join(fixed)
        self._check(folder)
        look = _LOOK.get()
        found = None if look is None else look.get((self.protocol, folder))
        if found is None:
            with reading(path):
                found = self._inner.find(folder, detail=True)
                if isinstance(found, list):  # adlfs of a file: its name alone
                    found = {name: self._inner.info(name) for name in found}
            if look is not None:
                look[self.protocol, folder] = found
        fits = re.compile(glob_translate(wanted))
        chosen = {name: info for name, info in found.items() if fits.match(name)}
        self._listed.update(chosen)
        return sorted(chosen)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """What the last listing said of a file, or what the store says now."""
        name = self._name(path)
        self._check(name)
        if name not in self._listed:
            with reading(path):
                self._listed[name] = self._inner.info(name)
        return self._listed[name]

    def unstrip_protocol(self, name: str) -> str:
        """The URL of a file as the views' globs begin; some clients put a slash before the bucket."""
        return f"{self.protocol}://{name.lstrip('/')}"

    def modified(self, path: str) -> datetime:
        """When a file was written, as the last listing said."""
        info = self.info(path)
        for name in _WRITTEN:
            if isinstance(found := info.get(name), datetime):
                return found
        with reading(path):
            asked: datetime = self._inner.modified(info["name"])
        return asked

    def _open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        if mode != "rb":
            raise PermissionError(f"{path}: SQL only reads the warehouse")
        info = self.info(path)
        name = info["name"]
        with reading(path):
            if info["size"] > _SMALL:
                file = open_version(self._inner, name, self.protocol)
                _check_same(info, file.details)
                return file
            content = self._whole(name, tokenize(info)) if info["size"] else b""
        # Replaced since it was listed: DuckDB is to be told the size of what it reads.
        self._listed[name] = {**info, "size": len(content)}
        return io.BytesIO(content)

    def _name(self, path: str) -> str:
        name: str = self._inner._strip_protocol(path)
        return name

    def _check(self, name: str) -> None:
        """DuckDB has looked at the path already; this holds even if it reads paths in another way than the store."""
        if not f"{name}/".startswith(self._root) or ".." in name.split("/"):
            raise PermissionError(f"{name} is not in the warehouse")

    def _fetch(self, name: str, _version: str) -> bytes:
        # From a start, or s3fs asks for the size first, to fetch large files in pieces.
        content: bytes = self._inner.cat_file(name, start=0)
        return content
