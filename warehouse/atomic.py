"""Files that appear whole or not at all: written under another name beside their place, then swapped in.

What belongs into an object store is written on this machine and uploaded when it is whole: nothing is renamed there, an
object appears or is replaced when its upload is complete, and of two writers the last one wins. What a killed process
left behind is recognised by its name and removed by the next writer. What is in a file, and where it belongs, is the
affair of who writes it (`store`, `catalog`).
"""

import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from warehouse.errors import StoreError
from warehouse.places import ObjectPlace, Place

_ABANDONED_AFTER = 86_400
"""Seconds after which another machine's temporary file counts as left behind: its process can't be asked for."""


@contextmanager
def replacing(path: Place) -> Iterator[Path]:
    """A name to write to, whose file takes the place of `path` when the block ends well, and is deleted otherwise.

    The name begins with a dot, ends in `.tmp` and is used once. A reader that has the old file open keeps it.

    Raises:
        StoreError: the disk or the object store refused.
    """
    temporary = _temporary(path)
    try:
        yield temporary
        if isinstance(path, ObjectPlace):
            path.upload(temporary)
        else:
            assert isinstance(path, Path)
            with disk_errors(path):
                _put_in_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_together(paths: Sequence[Place]) -> Iterator[list[Path]]:
    """As `replacing`, for many files at once: on a disk all of them take their places, or none.

    If one can't take its place, those before it give theirs back to what was there. In an object store nothing can be
    given back: there some may be new and others as before, each of them whole.

    Raises:
        StoreError: the disk or the object store refused.
    """
    temporaries = [_temporary(path) for path in paths]
    done: list[tuple[Path, Path | None]] = []
    try:
        yield temporaries
        try:
            for temporary, path in zip(temporaries, paths, strict=True):
                if isinstance(path, ObjectPlace):
                    path.upload(temporary)
                    continue
                assert isinstance(path, Path)
                with disk_errors(path):
                    done.append((path, _kept_aside(path, temporary)))
                    _put_in_place(temporary, path)
        except BaseException:
            for path, before in reversed(done):
                if before is None:
                    path.unlink(missing_ok=True)
                else:
                    before.replace(path)
            raise
    finally:
        for leftover in (*temporaries, *(before for _, before in done if before is not None)):
            leftover.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Delete what writers of `path` left beside it when they were killed, whatever was added to the temporary's name.

    A writer on this machine counts as killed when its process is gone, one on another machine after a day.
    """
    name = re.compile(rf"\.{re.escape(path.name)}\.(?P<host>.*)\.(?P<process>\d+)\.[0-9a-f]+\.tmp(\..*)?")
    for temporary in path.parent.glob(f".{path.name}.*"):
        found = name.fullmatch(temporary.name)
        if found is None:
            continue
        if found["host"] == socket.gethostname():
            abandoned = _is_gone(int(found["process"]))
        else:
            abandoned = time.time() - temporary.stat().st_mtime > _ABANDONED_AFTER
        if abandoned:
            temporary.unlink(missing_ok=True)


@contextmanager
def disk_errors(path: Place) -> Iterator[None]:
    """Turn the system's refusals into a `StoreError` that names the file and what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if isinstance(path, ObjectPlace):
            raise StoreError(
                f"Can't write {path}: what is uploaded is first gathered in {tempfile.gettempdir()}, and there it says "
                f"{reason}. Free space or set TMPDIR to another folder; the last good file is untouched."
            ) from error
        raise StoreError(
            f"Can't write {path}: {reason}. Free space, or choose another place (--out, --warehouse); the last good "
            "file is untouched."
        ) from error


def _temporary(path: Place) -> Path:
    """A name beside a file, or for an object beside where it is gathered on this machine."""
    beside = path.staged if isinstance(path, ObjectPlace) else path
    assert isinstance(beside, Path)
    with disk_errors(path):
        beside.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(beside)
    return beside.with_name(f".{beside.name}.{socket.gethostname()}.{os.getpid()}.{uuid4().hex[:8]}.tmp")


def _kept_aside(path: Path, temporary: Path) -> Path | None:
    """Another name for the file that is about to be replaced; None if there is none."""
    if not path.exists():
        return None
    aside = temporary.with_name(f"{temporary.name}.old")
    try:
        os.link(path, aside)
    except OSError:  # Not every file system gives a file two names.
        shutil.copyfile(path, aside)
    return aside


def _is_gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _put_in_place(temporary: Path, path: Path) -> None:
    """Rename so that a power cut leaves the old file or the new one."""
    with temporary.open("rb") as written:
        os.fsync(written.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
