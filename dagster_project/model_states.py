"""What has become of each registered model: whether it is here, whole, mapped, and of which state its map is.

Belongs here: the five states, read from folders and from the warehouse's footers, no model loaded. How they are printed
is in `commands.models`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from extract.completeness import Completeness, completeness
from extract.models import ModelEntry, model_fingerprint
from warehouse.store import Store
from warehouse.tables import TABLES

STATES = {
    "known": "registered; nothing of it is on this machine",
    "partly": "some of its files are missing, or not whole",
    "landed": "all its files are here, and it has no map",
    "mapped": "its map was made from the files that are here",
    "stale": "its map was made from other files or settings than are here",
}


@dataclass(frozen=True)
class ModelState:
    """What has become of a model.

    Attributes:
        entry: the model.
        state: one of STATES.
        reason: what is missing, or how much is there.
        bytes_found, bytes_expected: of its weights; None where nothing here says how many there will be.
        last_run: when the newest of its partitions was written; None if there is none, or the store doesn't tell.
    """

    entry: ModelEntry
    state: str
    reason: str
    bytes_found: int
    bytes_expected: int | None
    last_run: datetime | None


def model_states(entries: Iterable[ModelEntry], store: Store) -> list[ModelState]:
    """What has become of each model, in their order.

    Weights are hashed only for models that are whole here and have a map, and large files only once.
    """
    mapped = {keys["model"] for keys in store.partitions("knowledge_map")}
    written = _last_written(store)
    states = []
    for entry in entries:
        found = completeness(entry.path)
        state = _state(entry, found, store) if entry.slug in mapped else found.state
        states.append(
            ModelState(entry, state, found.reason, found.bytes_found, found.bytes_expected, written.get(entry.slug))
        )
    return states


def _state(entry: ModelEntry, found: Completeness, store: Store) -> str:
    """Of a model with a map."""
    if not found.is_landed:
        return found.state
    row = store.footer("models", model=entry.slug)
    return "mapped" if row is not None and row.revision == model_fingerprint(entry) else "stale"


def _last_written(store: Store) -> dict[str, datetime]:
    newest: dict[str, float] = {}
    for table in TABLES.values():
        if "model" not in table.partitions:
            continue
        for keys in store.partitions(table.name):
            seconds = getattr(store.path(table.name, **keys).stat(), "st_mtime", None)
            if seconds is not None:
                newest[keys["model"]] = max(seconds, newest.get(keys["model"], 0.0))
    return {model: datetime.fromtimestamp(seconds, UTC) for model, seconds in newest.items()}
