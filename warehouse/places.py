"""Where files lie: in a folder, or in a bucket of an object store, by one small set of names.

A `pathlib.Path` is a `Place` as it is; an `ObjectPlace` answers to the same names over fsspec, for `s3://`, `gs://` and
`abfs://`. Belongs here: addresses, reading, listing, and one upload a file. How a file is committed is in `atomic`, how
DuckDB reads objects in `objects`, which errors of clients mean what in `refusals`.
"""

import hashlib
import mimetypes
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self

import fsspec

from warehouse.errors import InputError
from warehouse.ranges import open_version
from warehouse.refusals import reading, writing

_PACKAGES = {
    "s3": ("s3fs", "s3"),
    "gs": ("gcsfs", "gcs"),
    "gcs": ("gcsfs", "gcs"),
    "abfs": ("adlfs", "azure"),
    "az": ("adlfs", "azure"),
    "memory": ("fsspec", ""),
}
"""By the protocol of an address: the package that speaks it, and the extra of ours that installs it."""

_END = 128 << 10
_READ_FROM_THE_END = {"s3", "gs", "gcs", "memory"}
"""Azure's protocol knows no range that is counted from the end: the size is asked for first."""

_URL = re.compile(r"(?P<protocol>[a-z][a-z0-9+.-]*)://(?P<path>.*)", re.DOTALL)


class Sized(Protocol):
    """What `stat` tells, as far as we ask."""

    @property
    def st_size(self) -> int:
        """The length in bytes."""


class Place(Protocol):
    """A file or a folder, wherever it lies. The names are pathlib's, and so is what they mean."""

    @property
    def name(self) -> str:
        """The last part."""

    @property
    def parent(self) -> "Place":
        """The folder that it lies in."""

    def __truediv__(self, name: str, /) -> Self: ...

    def joinpath(self, *names: str) -> Self:
        """A place below."""

    def with_name(self, name: str) -> Self:
        """A place beside."""

    def is_file(self) -> bool:
        """Whether there is a file."""

    def stat(self) -> Sized:
        """Its size; FileNotFoundError if there is no file."""

    def read_bytes(self) -> bytes:
        """What it holds; FileNotFoundError if there is no file."""

    def read_text(self, encoding: str) -> str:
        """What it holds, as text; FileNotFoundError if there is no file."""

    def unlink(self, missing_ok: bool) -> None:
        """Delete the file."""


@dataclass(frozen=True)
class _Stat:
    st_size: int


@dataclass(frozen=True)
class ObjectPlace:
    """A place in an object store. Folders there are a way of speaking: they come and go with the files below.

    Its methods raise `StoreError` where the store refuses, `StoreUnreachableError` where it does not answer.

    Attributes:
        url: `protocol://bucket/path`, without a slash at its end; made by `place`.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def protocol(self) -> str:
        """`s3`, `gs`, `abfs`, …"""
        return self.url.partition("://")[0]

    @property
    def name(self) -> str:
        """The last part."""
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> "ObjectPlace":
        """The place that it lies in."""
        return ObjectPlace(self.url.rpartition("/")[0])

    @property
    def staged(self) -> Path:
        """Beside what its next content is gathered on this machine, before it is uploaded."""
        return staging() / self.name

    def __truediv__(self, name: str, /) -> "ObjectPlace":
        return ObjectPlace(f"{self.url}/{name}")

    def joinpath(self, *names: str) -> "ObjectPlace":
        """A place below."""
        return ObjectPlace("/".join([self.url, *names]))

    def with_name(self, name: str) -> "ObjectPlace":
        """A place beside."""
        return self.parent / name

    def is_file(self) -> bool:
        """Whether there is an object of this name."""
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def stat(self) -> Sized:
        """Its size; FileNotFoundError if there is no object."""
        with reading(self.url):
            found = self.files().info(self.url)
        if found["type"] != "file":
            raise FileNotFoundError(self.url)
        return _Stat(found["size"])

    def read_bytes(self) -> bytes:
        """What it holds; FileNotFoundError if there is no object."""
        with reading(self.url):
            found: bytes = self.files().cat_file(self.url)
        return found

    def read_end(self) -> bytes:
        """Its last 128 KiB, or all of a smaller one, in a request or two; FileNotFoundError if there is no object."""
        with reading(self.url):
            if self.protocol in _READ_FROM_THE_END:
                found: bytes = self.files().cat_file(self.url, start=-_END)
                return found
            with open_version(self.files(), self.url, self.protocol) as file:
                file.seek(max(0, file.size - _END))
                found = file.read()
        return found

    def read_text(self, encoding: str) -> str:
        """What it holds, as text; FileNotFoundError if there is no object."""
        return self.read_bytes().decode(encoding)

    def unlink(self, missing_ok: bool) -> None:
        """Delete the object; stores don't tell whether there was one."""
        if missing_ok and not self.is_file():
            return
        with writing(self.url):
            self.files().rm_file(self.url)

    def upload(self, file: Path) -> None:
        """Put a whole file here, in the place of what there was.

        Small files go in one PUT, large ones in parts that nobody sees before the last one is there and the upload is
        completed; an upload that fails leaves what there was.
        """
        files, kind = self.files(), mimetypes.guess_type(self.name)[0]
        with writing(self.url):
            files.put_file(str(file), self.url, **(_told_type(self.protocol, kind) if kind else {}))

    def files(self) -> Any:
        """The fsspec file system. It remembers no listings: others write here too.

        Raises:
            InputError: the package that speaks the protocol is not installed, or knows no account.
        """
        try:
            return fsspec.filesystem(self.protocol, use_listings_cache=False)
        except ImportError as error:
            package, extra = _PACKAGES[self.protocol]
            raise InputError(
                f"{self.url} needs the package {package}, which can't be imported ({error}). Install it with "
                f"`pip install 'vesalius[{extra}]'`."
            ) from error
        except ValueError as error:
            raise InputError(
                f"{self.url} can't be reached ({error}). The account and its key come from the environment: see "
                "docs/storage.md."
            ) from error


def place(address: str | os.PathLike[str]) -> Path | ObjectPlace:
    """The place that an address means: a URL of an object store, or a path.

    Raises:
        InputError: a URL of another kind, or one that names no bucket.
    """
    text = os.fspath(address)
    if isinstance(address, Path):
        # A URL that went through pathlib has lost a slash.
        text = re.sub(rf"^({'|'.join(_PACKAGES)}):/(?!/)", r"\1://", text)
    found = _URL.fullmatch(text)
    if found is None:
        return Path(text)
    protocol, path = found["protocol"], found["path"].rstrip("/")
    if protocol not in _PACKAGES:
        raise InputError(
            f"{text}: {protocol}:// is no place for a warehouse. Name a folder, or a URL like s3://bucket/prefix, "
            "gs://bucket/prefix or abfs://container/prefix."
        )
    bucket, *folders = path.lstrip("/").split("/") if protocol == "memory" else path.split("/")
    if not bucket or "@" in bucket or {"", ".", ".."} & set(folders):
        raise InputError(
            f"{text} can't be a warehouse: write {protocol}://bucket/prefix, the bucket alone before the first '/', "
            "and no empty part, '.' or '..' behind it. Keys and accounts come from the environment."
        )
    return ObjectPlace(f"{protocol}://{'/'.join([bucket, *folders])}")


@contextmanager
def opened(where: Place) -> Iterator[Path | BinaryIO]:
    """A file for a reader of Parquet: the path itself on a disk, else a file that fetches the ranges it is asked for.

    Raises:
        FileNotFoundError: there is no file.
        StoreError: the object store refuses, does not answer, or the file was replaced while it was read.
    """
    if not isinstance(where, ObjectPlace):
        assert isinstance(where, Path)
        yield where
        return
    with reading(where.url), open_version(where.files(), where.url, where.protocol) as file:
        yield file


def find(folder: Place, pattern: str) -> list[str]:
    """The files below a folder whose path from there fits a glob pattern, in order; `*` stays within a part.

    Raises:
        StoreError: the object store refuses or does not answer.
    """
    if isinstance(folder, Path):
        return [found.relative_to(folder).as_posix() for found in sorted(folder.glob(pattern))]
    assert isinstance(folder, ObjectPlace)
    wanted = pattern.split("/")
    with reading(folder.url):
        # One flat listing, not one for each folder on the way.
        names = folder.files().find(folder.url)
    start = len(folder.files()._strip_protocol(folder.url)) + 1
    parts = (name[start:].split("/") for name in names)
    return ["/".join(found) for found in sorted(parts) if _fits(found, wanted)]


def listing(root: Place) -> dict[str, str]:
    """Every file below a place, by its path from there, with what tells one writing of it from another.

    That is its size and its time, or the tag that the object store gave it.

    Raises:
        StoreError: the object store refuses or does not answer.
    """
    if isinstance(root, Path):
        written = {}
        for path in sorted(root.rglob("*")):
            with suppress(FileNotFoundError):  # Temporary files come and go.
                if path.is_file():
                    at = path.stat()
                    written[path.relative_to(root).as_posix()] = f"{at.st_size}:{at.st_mtime_ns}"
        return written
    assert isinstance(root, ObjectPlace)
    with reading(root.url):
        found: dict[str, dict[str, Any]] = root.files().find(root.url, detail=True)
    start = len(root.files()._strip_protocol(root.url)) + 1
    return {name[start:]: f"{one['size']}:{_writing(one)}" for name, one in sorted(found.items())}


def _writing(found: dict[str, Any]) -> str:
    """What a store says of when an object was written: each names it in its own way."""
    return str(
        next((found[name] for name in ("ETag", "etag", "LastModified", "updated", "created") if name in found), "")
    )


def folders(root: ObjectPlace) -> set[str]:
    """The names of the folders right below a place in an object store, in one listing.

    Raises:
        StoreError: the object store refuses or does not answer.
    """
    try:
        with reading(root.url):
            found = root.files().ls(root.url, detail=True)
    except FileNotFoundError:
        return set()
    return {each["name"].rstrip("/").rpartition("/")[2] for each in found if each["type"] == "directory"}


def local_folder(root: Path | ObjectPlace) -> Path:
    """Where on this machine the files of a warehouse lie that can't lie in an object store: its catalog, its SQLite.

    That is the root itself if it is a folder, else one of the user's data folder (`~/.local/share/vesalius` on Linux).
    """
    if isinstance(root, Path):
        return root
    from platformdirs import user_data_path

    readable = re.sub(r"[^a-z0-9._-]+", "-", root.url.partition("://")[2].lower())[:60]
    return user_data_path("vesalius") / "warehouses" / f"{readable}-{hashlib.sha256(root.url.encode()).hexdigest()[:8]}"


def staging() -> Path:
    """The folder on this machine for files that are about to be uploaded."""
    return Path(tempfile.gettempdir()) / f"vesalius-{os.getuid()}"


def _fits(parts: list[str], wanted: list[str]) -> bool:
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _told_type(protocol: str, kind: str) -> dict[str, Any]:
    """How an upload is told what it holds, so that a browser shows charts."""
    if protocol in ("abfs", "az"):
        from azure.storage.blob import ContentSettings

        return {"content_settings": ContentSettings(content_type=kind)}
    return {"s3": {"ContentType": kind}, "gs": {"content_type": kind}, "gcs": {"content_type": kind}}.get(protocol, {})
