"""Shards: rows of one worker that wait beside the warehouse until all workers are done, and their merging.

Each shard writes into a store of its own, `<warehouse>/shards/<i>-of-<n>/`, laid out, validated and committed as the
warehouse is; no reader of tables looks there. A shard's fingerprint is that of the partition that it is part of, and
behind it how prompts were shared out. `merge` puts the rows into the order of a run that was not split and commits them
as one partition. Which prompts a shard takes is decided in `extract.sharing`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from extract.job.material import Material
from extract.job.tally import Tally
from extract.shards import Shard
from warehouse.errors import InputError
from warehouse.store import Store
from warehouse.tables import table
from warehouse.versions import fingerprint

FOLDER = "shards"
"""The folder of the warehouse's root in which shards wait."""

_ORDER = {
    "activations": ("position",),
    "first_tokens": ("first_token",),
    "contributions": ("site", "position"),
    "lesions": ("lesion", "part"),
    "patches": ("site", "position"),
    "saliency": ("target", "module"),
    "responses": (),
}
"""How the rows of a layer are sorted, before the prompt or pair that they are of: as an unsplit run writes them."""

_AS_THEY_COME = ("target", "module")
"""Of these the order is the engine's own, and each shard that has rows has it; all others are sorted."""


def shard_store(store: Store, shard: Shard) -> Store:
    """Where a shard's rows wait."""
    return Store(store.root / FOLDER / folder_of(shard))


def folder_of(shard: Shard) -> str:
    """The name of a shard's own folder."""
    return f"{shard.number}-of-{shard.count}"


def stamp(expected: str, shares: Sequence[int]) -> str:
    """The fingerprint of a shard: that of the whole partition, and the hash of how prompts were shared out."""
    return f"{expected}-{fingerprint(shares=list(shares))}"


def is_waiting(store: Store, name: str, expected: str, **keys: str) -> bool:
    """Whether a shard of a partition that has this fingerprint lies in a shard's store."""
    footer = store.footer(name, **keys)
    return (
        footer is not None
        and footer.schema_version == table(name).version
        and footer.fingerprint.partition("-")[0] == expected
    )


@dataclass(frozen=True)
class Merging:
    """Puts the shards of one model together.

    Attributes:
        material: of the model, with the plan that the shards were made with.
        concepts: whose partitions.
        count: how many shards there are.
    """

    material: Material
    concepts: Sequence[str]
    count: int

    def merge(self, tally: Tally) -> None:
        """Commit a table's partitions, each once all its shards are there; those that are current stay.

        Raises:
            InputError: a shard is missing, was made from other inputs or options than the others or than the merge is
                told, or shares prompts out otherwise.
            TableError: rows break the table's contract, or are not as many as the shards hold.
        """
        for concept in self.concepts:
            keys = {"model": self.material.entry.slug, "concept": concept}
            expected = self.material.wanted([tally.name], concept).get(tally.name)
            if expected is not None and not tally.is_current(expected, **keys):
                try:
                    self._merge(tally, concept, expected, keys)
                except InputError:
                    # Another merge may have been faster: it commits the partition, then deletes the shards read here.
                    if not tally.is_current(expected, **keys):
                        raise

    def _merge(self, tally: Tally, concept: str, expected: str, keys: Mapping[str, str]) -> None:
        name, stores = tally.name, self._stores(tally.name, expected, keys)
        footers = [store.footer(name, **keys) for store in stores]
        rows = sum(footer.rows for footer in footers if footer is not None)
        width = self.material.store.read("models", model=self.material.entry.slug)["width"][0].as_py()
        order = self._order(name, concept)
        with self.material.store.writer(
            name, fingerprint=expected, rows=rows, revision=self.material.fingerprint, width=width, **keys
        ) as writer:
            for parts in _layers([store.layers(name, **keys) for store in stores]):
                merged = pa.concat_tables(parts)
                writer.add(merged.take(pa.array(order(merged))))
        tally.wrote(writer.commit)
        for store in stores:
            store.path(name, **keys).unlink(missing_ok=True)

    def _stores(self, name: str, expected: str, keys: Mapping[str, str]) -> list[Store]:
        """The stores of all shards, once it is sure that they belong together."""
        where = f"{name} of {', '.join(keys.values())}"
        stores = [shard_store(self.material.store, Shard(number, self.count)) for number in range(1, self.count + 1)]
        footers = [store.footer(name, **keys) for store in stores]
        missing = [str(Shard(number, self.count)) for number, each in enumerate(footers, 1) if each is None]
        if missing:
            raise InputError(
                f"{where} lacks {len(missing)} of {self.count} shards, {missing[0]} first: run "
                f"`python -m extract run --shard {missing[0]}` with the options of the others, then merge again."
            )
        for number, store in enumerate(stores, 1):
            if not is_waiting(store, name, expected, **keys):
                raise InputError(
                    f"{where}: shard {number}/{self.count} was made from another model, library, code or other options "
                    f"than this merge is told. Give it the options of the runs, or delete {store.root} and run the "
                    "shard again."
                )
        shared = {footer.fingerprint for footer in footers if footer is not None}
        if len(shared) > 1:
            raise InputError(
                f"{where}: its shards were shared out in {len(shared)} ways, by runs with other batches "
                "(--token-budget, or another kind of device) or of other tables (--tables). Delete "
                f"{self.material.store.root / FOLDER} and run all shards with the same options."
            )
        return stores

    def _order(self, name: str, concept: str) -> Callable[[pa.Table], NDArray[np.int64]]:
        """What sorts the rows of a layer."""
        of_pairs, numbers = "corrupting_term" in table(name).key_names, dict[tuple[str, ...], int]()
        keyed = ["template", "term", *(["corrupting_term"] if of_pairs else [])]
        if name != "first_tokens":
            keys = self._asked(name, concept)
            numbers = {key: number for number, key in enumerate(_keys_of(keys, keyed))}

        def order(rows: pa.Table) -> NDArray[np.int64]:
            ranks = [_rank(rows[column], as_it_comes=column in _AS_THEY_COME) for column in _ORDER[name]]
            if numbers:
                ranks.append(np.array([numbers[key] for key in _keys_of(rows, keyed)]))
            if of_pairs:
                ranks.append(rows["token"].to_numpy())
            return np.lexsort(ranks[::-1])

        return order

    def _asked(self, name: str, concept: str) -> pa.Table:
        """The prompts or pairs of a table, in the order in which an unsplit run has them."""
        if name == "patches":
            return self.material.pairs(concept)
        if name == "responses":
            return self.material.answered(concept)
        if name in {"lesions", "saliency"}:
            return self.material.samples(concept)
        return self.material.prompts(concept)


def _layers(shards: Sequence[Iterator[tuple[int, pa.Table]]]) -> Iterator[list[pa.Table]]:
    """Layer after layer, what each shard has of it; a shard without rows has no layers."""
    while True:
        found = [each for each in (next(shard, None) for shard in shards) if each is not None]
        if not found:
            return
        if len({layer for layer, _ in found}) > 1:
            raise InputError(f"Shards have different layers, {sorted({layer for layer, _ in found})}: run them again.")
        yield [rows for _, rows in found]


def _keys_of(rows: pa.Table, columns: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return zip(*(rows[column].to_pylist() for column in columns), strict=True)


def _rank(values: pa.ChunkedArray, *, as_it_comes: bool) -> NDArray[np.int64]:
    """[row], where its value stands among the distinct ones."""
    distinct = pc.unique(values)
    places = distinct if as_it_comes else distinct.take(pc.sort_indices(distinct))
    found: NDArray[np.int64] = pc.index_in(values, places).to_numpy().astype(np.int64)
    return found
