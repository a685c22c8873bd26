"""The inbox: a folder where models are put, each in a folder of its own, without a line in the registry.

A folder goes by the slug of its name. Where the registry has that slug, or a hub's model of that name, and no whole
model for it, the folder is that model's, and is run as the registry says; else it is a model of its own. Whether it is
whole is asked in `extract.completeness`, whether it is still being written in `dagster_project.arrivals`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from extract.completeness import completeness
from extract.models import ModelEntry, slug_of
from warehouse.errors import InputError

INBOX = "inbox"
"""The name of the folder beside the registry, where VESALIUS_INBOX names no other."""


@dataclass(frozen=True)
class Inbox:
    """What is in an inbox.

    Attributes:
        entries: the model of each folder, by slug, whole or not.
        faults: by name of the folder, why it is the model of none.
    """

    entries: dict[str, ModelEntry]
    faults: dict[str, str]


def read_inbox(inbox: Path, registry: Mapping[str, ModelEntry]) -> Inbox:
    """The models that the folders of an inbox are, beside those of the registry. No inbox is an empty one.

    Hidden folders are left alone, and so are those that an entry of the registry names as its own.

    Raises:
        OSError: the inbox can't be listed.
    """
    entries: dict[str, ModelEntry] = {}
    faults: dict[str, str] = {}
    named = {entry.path for entry in registry.values()}
    of_hub = {slug_of(Path(entry.hub_id)): slug for slug, entry in registry.items() if entry.hub_id}
    folders = [folder for folder in inbox.iterdir() if folder.is_dir()] if inbox.is_dir() else []
    for folder in sorted(folder.absolute() for folder in folders if not folder.name.startswith(".")):
        if folder in named or folder.resolve() in named:
            continue
        try:
            slug = slug_of(folder)
            slug = of_hub.get(slug, slug)
            registered = registry.get(slug)
            if slug in entries:
                faults[folder.name] = f"it would be called {slug!r}, and so is {entries[slug].path.name}: rename one"
            elif registered is not None and completeness(registered.path).is_landed:
                faults[folder.name] = f"{slug!r} is registered, for {registered.path}, and is whole there"
            else:
                entries[slug] = replace(registered, path=folder) if registered else ModelEntry(slug, folder)
        except InputError as error:
            faults[folder.name] = str(error)
        except OSError as error:
            faults[folder.name] = f"it can't be read: {error.strerror or error}"
    return Inbox(entries, faults)


def whole_models(inbox: Inbox) -> dict[str, ModelEntry]:
    """Those of an inbox that are whole, and can be read."""
    return {slug: entry for slug, entry in inbox.entries.items() if _is_whole(entry.path)}


def _is_whole(folder: Path) -> bool:
    try:
        return completeness(folder).is_landed
    except OSError:  # The sensor names it; commands go without it.
        return False
