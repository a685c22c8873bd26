"""Partitions as things to be handed on: a table's name, the keys, and what the file says of itself.

Which ones a person wants is decided here, for exports; how they are described is in `descriptor`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from warehouse.errors import InputError, StoreError
from warehouse.places import ObjectPlace, Place
from warehouse.schema import Table
from warehouse.store import FILE_NAME, Footer, Store, footer_of
from warehouse.tables import TABLES, table
from warehouse.twins import original_slug

ALWAYS = ("concepts", "models")
"""Tables of a row a partition that tell what all others are of; without them nobody could see that two don't fit."""


@dataclass(frozen=True)
class Part:
    """One partition of a store.

    Attributes:
        table: the table's name.
        keys: partition columns with their slugs, in the table's order.
        footer: what its file says of itself.
    """

    table: str
    keys: dict[str, str]
    footer: Footer

    def __str__(self) -> str:
        return "/".join([self.table, *self.keys.values()])

    @property
    def entry(self) -> Table:
        """What the registry says of its table."""
        return TABLES[self.table]

    @property
    def path(self) -> str:
        """Where its file lies below the root of a warehouse."""
        return path_of(self.table, self.keys)

    def place(self, store: Store) -> Place:
        """Where its file lies in a store, or would."""
        return store.path(self.table, **self.keys)


@dataclass(frozen=True)
class Choice:
    """What to hand on; an empty list is everything.

    Attributes:
        tables: names of tables; `concepts` and `models` go along in any case.
        models: slugs; an untrained twin goes with its model.
        concepts: names of concepts. Tables that aren't partitioned by concept (or by model) go whole.
    """

    tables: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    concepts: list[str] = field(default_factory=list)

    def takes(self, name: str, keys: dict[str, str]) -> bool:
        """Whether a partition is among what is wanted."""
        model, concept = keys.get("model"), keys.get("concept")
        return (
            (not self.tables or name in (*self.tables, *ALWAYS))
            and (not self.models or model is None or original_slug(model) in self.models or model in self.models)
            and (not self.concepts or concept is None or concept in self.concepts)
        )


def path_of(name: str, keys: dict[str, str]) -> str:
    """Where a partition's file lies below the root of a warehouse."""
    return "/".join([name, *(f"{key}={value}" for key, value in keys.items()), FILE_NAME])


def parts_of(store: Store, choice: Choice) -> list[Part]:
    """The chosen partitions of a store, by table and keys.

    Raises:
        InputError: a name that isn't there, or nothing is.
        StoreError: a file can't be read or isn't one of ours, or the object store does not answer.
    """
    for name in choice.tables:
        table(name)
    found = [(name, keys) for name in TABLES for keys in store.partitions(name)]
    if not found:
        raise InputError(f"There is no table in {store.root}: name a warehouse that a model was run into.")
    for kind, wanted in (("model", choice.models), ("concept", choice.concepts)):
        there = sorted({keys[kind] for _, keys in found if kind in keys})
        if strangers := sorted(set(wanted) - set(there)):
            raise InputError(f"{store.root} has no {kind} {', '.join(strangers)}; it has {', '.join(there) or 'none'}.")
    return list(_read(store, [(name, keys) for name, keys in found if choice.takes(name, keys)]))


def read_part(store: Store, part: Part) -> pa.Table:
    """The rows that a store has under a partition's keys, without the partition columns."""
    return store.read(part.table, columns=None, **part.keys)


def _read(store: Store, chosen: list[tuple[str, dict[str, str]]]) -> Iterator[Part]:
    for name, keys in chosen:
        path = store.path(name, **keys)
        footer = footer_of(path)
        if footer is None or footer.table != name:
            raise StoreError(f"{path} can't be read, or is no file of ours. Delete it and run again.")
        if isinstance(path, ObjectPlace) or not path.is_symlink():
            yield Part(name, keys, footer)
            continue
        raise StoreError(f"{path} is a link: hand on the warehouse that it leads to, or put the file in its place.")
