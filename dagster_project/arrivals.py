"""Which models have arrived: what a look at their folders shows, beside what the look before has shown.

Belongs here: telling a folder that is whole and at rest from one that is still being written, the fingerprints of
models and library taken only where something changed, and what is remembered from look to look. What is then asked of
Dagster is in `defs.sensors`.
"""

import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from extract.checking import check
from extract.completeness import completeness
from extract.hashes import hash_of
from extract.library import load_library
from extract.models import ModelEntry, model_files, model_fingerprint
from warehouse.errors import ConceptError, VesaliusError
from warehouse.versions import fingerprint

QUIET = 10.0
"""Seconds that the newest file of a folder has to be old."""

HASHING = 20.0
"""Seconds of one look after which no other file is hashed: Dagster gives a sensor a minute."""


@dataclass(frozen=True)
class Seen:
    """What is remembered of a model.

    Attributes:
        listing: hash of its entry and of the names, sizes and times of its files.
        fingerprint: the model's, once it has landed; empty until then.
        requested: the fingerprints of model and library that a run was last requested for.
        times: how often one was.
    """

    listing: str = ""
    fingerprint: str = ""
    requested: tuple[str, str] = ("", "")
    times: int = 0

    def is_due(self, library: str) -> bool:
        """Whether it has landed, and no run was requested yet for this state of it and of the library."""
        return bool(self.fingerprint) and (self.fingerprint, library) != self.requested

    def after_request(self, library: str) -> "Seen":
        """What is remembered once a run is requested."""
        return replace(self, requested=(self.fingerprint, library), times=self.times + 1)

    def run_key(self, slug: str) -> str:
        """What tells one request from all others; a state that comes back after another counts as a new one."""
        return ":".join([slug, *self.requested, str(self.times)])


@dataclass(frozen=True)
class SeenLibrary:
    """What is remembered of the concept library: its files' state, its fingerprint, its first fault if it has one."""

    listing: str = ""
    fingerprint: str = ""
    fault: str = ""


@dataclass(frozen=True)
class Memory:
    """What is kept from look to look: the sensor's cursor."""

    library: SeenLibrary = SeenLibrary()
    models: dict[str, Seen] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str | None) -> "Memory":
        """What `write` wrote; nothing, where it is no text of this version."""
        try:
            kept = json.loads(text or "{}")
            models = {
                slug: Seen(**{**seen, "requested": tuple(seen["requested"])}) for slug, seen in kept["models"].items()
            }
            return cls(SeenLibrary(**kept["library"]), models)
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def write(self) -> str:
        """As text, which `read` reads."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Sight:
    """What one look at a model shows: what to remember, and why it has not landed, if it has not."""

    seen: Seen
    waiting: str = ""
    is_there: bool = True


def look(entry: ModelEntry, before: Seen | None, until: float) -> Sight:
    """Look at a model's folder, without reading what was read before.

    It has landed if it is complete, its newest file is old enough, nothing changed since the look before, and all its
    files are hashed, which may take several looks.

    Args:
        entry: the model.
        before: what the look before showed; None if there was none.
        until: `time.monotonic()` at which no other file is to be hashed.

    Raises:
        OSError: the folder can't be read.
    """
    known, files = before or Seen(), files_in(entry.path.glob("*"))
    listing = fingerprint(entry=repr(entry), files=files)
    if known.listing == listing and known.fingerprint:
        return Sight(known)
    seen = replace(known, listing=listing, fingerprint="")
    found = completeness(entry.path)
    if not found.is_landed:
        return Sight(seen, found.reason, is_there=found.state != "known")
    age = time.time() - max(changed for _, _, changed in files) / 1e9
    # Clocks of a network disk may be ahead: a time in the future tells nothing.
    if 0 <= age < QUIET:
        return Sight(seen, f"still being written: its newest file is {age:.0f} s old")
    if known.listing not in {"", listing}:
        return Sight(seen, "still being written: it changed since the last look")
    return _hashed(entry, seen, until)


def look_at_library(folder: Path, before: SeenLibrary) -> SeenLibrary:
    """The concept library's state; it is read and checked only where a file changed.

    Raises:
        OSError: it can't be read.
    """
    listing = fingerprint(folder=str(folder), files=files_in(folder.rglob("*")))
    if before.listing == listing:
        return before
    try:
        library = load_library(folder)
        faults = check(library)
    except ConceptError as error:
        return SeenLibrary(listing, fault=str(error))
    if faults:
        return SeenLibrary(listing, fault=str(faults[0]))
    return SeenLibrary(listing, fingerprint(**{concept.name: concept.fingerprint for concept in library.concepts}))


def _hashed(entry: ModelEntry, seen: Seen, until: float) -> Sight:
    try:
        parts = model_files(entry)
        for done, file in enumerate(parts):
            if time.monotonic() > until:
                return Sight(seen, f"being hashed: {done} of {len(parts)} files are done")
            hash_of(file)
        return Sight(replace(seen, fingerprint=model_fingerprint(entry)))
    except VesaliusError as error:
        return Sight(seen, str(error))


def files_in(paths: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Path, size and last change of each file; a copy can keep the time of the content, but not that of the change."""
    found = []
    for path in sorted(paths):
        try:
            state = path.stat()
        except FileNotFoundError:  # It went away meanwhile, or is a link to nothing: `completeness` tells.
            continue
        if path.is_file():
            found.append((os.fspath(path), state.st_size, max(state.st_mtime_ns, state.st_ctime_ns)))
    return found
