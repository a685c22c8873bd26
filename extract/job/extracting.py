"""One model's extraction from end to end, as the plain command and other schedulers run it.

Belongs here: the order of tables, the library's tables before them, and what is left to do by a shard or a merge. How a
table is filled is in `measuring`; Dagster has its own order of assets over the same functions.
"""

from collections.abc import Sequence

from extract.checking import check
from extract.job.material import Material
from extract.job.measuring import SHARED, SWEPT, Measuring
from extract.job.progress import Progress
from extract.job.shards import Merging, shard_store
from extract.job.tally import Tally
from extract.library import Concept, Library
from extract.models import ModelEntry
from extract.prompts import library_tables
from extract.shards import Shard
from warehouse import fingerprints
from warehouse.errors import ConceptError, InputError
from warehouse.store import Store
from warehouse.tables import STAGES

TABLES = ("models", "plants", "unmeasured", "tokens", "pair_tokens", *SWEPT, "saliency", "responses")
"""What a model is run for, in the order in which it is made."""

OF_TWINS = ("models", "unmeasured", "tokens", "activations", "first_tokens")
"""What is made of an untrained twin: it knows no answer that a lesion could take or a patch bring back."""

_NEEDS = {"pair_tokens": ("tokens",), "saliency": ("tokens", "pair_tokens"), "patches": ("tokens", "pair_tokens")}


def chosen_tables(named: Sequence[str], *, is_untrained: bool = False) -> tuple[str, ...]:
    """The tables that are named, or all, in their order; with those that they are read from.

    Raises:
        InputError: there is no such table, or a model is not run for it.
    """
    possible = OF_TWINS if is_untrained else TABLES
    strangers = [name for name in named if name not in possible]
    if strangers:
        raise InputError(f"{strangers[0]!r} is no table that this model is run for: there are {', '.join(possible)}.")
    wanted = set(named or possible) | {"models"}
    for name in [*wanted]:
        wanted |= {*_NEEDS.get(name, ("tokens",) if name in SHARED else ())}
    return tuple(name for name in possible if name in wanted)


def write_concept(tally: Tally, concept: Concept) -> None:
    """Write one concept's rows of a table of the library, if its files changed."""
    expected = fingerprints.library(tally.name, concept.fingerprint)
    if not tally.is_current(expected, concept=concept.name):
        rows = library_tables(concept)[tally.name]
        tally.wrote(tally.store.write(tally.name, rows, fingerprint=expected, concept=concept.name))


def write_library(store: Store, library: Library) -> None:
    """Write all tables of a library, once it is proved sound.

    Raises:
        ConceptError: it is not; the message tells the first fault.
    """
    faults = check(library)
    if faults:
        more = f" ({len(faults) - 1} more: `vesalius concepts check {library.folder}`)" if len(faults) > 1 else ""
        raise ConceptError(f"{faults[0]}{more}")
    for entry in STAGES["library"]:
        tally = Tally(store, entry.name)
        for concept in library.concepts:
            write_concept(tally, concept)


def refuse_taken_slug(store: Store, entry: ModelEntry) -> None:
    """See that a folder that is not registered does not overwrite what another folder of its name left.

    Raises:
        InputError: it would.
    """
    if store.footer("models", model=entry.slug) is None:
        return
    source = store.read("models", columns=["source"], model=entry.slug)["source"][0].as_py()
    if source != entry.source:
        raise InputError(
            f"The warehouse holds {entry.slug!r} from {source}. Name this one with "
            f"`vesalius add {entry.path} --slug NAME`."
        )


def extract_model(
    material: Material, library: Library, tables: Sequence[str], progress: Progress, shard: Shard | None = None
) -> dict[str, Tally]:
    """Fill a model's tables: what is current already costs nothing, not even loading the model.

    Args:
        material: of the model.
        library: its concepts' tables are written first.
        tables: from `chosen_tables`.
        progress: who is told how far work is.
        shard: which part of the prompts is run; what it gives waits for `merge_model`. What costs no forward pass is
            written whole by every shard, for each reads it.

    Returns:
        The tally of each table, in their order.

    Raises:
        VesaliusError: what went wrong first; what was committed before stays.
    """
    write_library(material.store, library)
    into = material.store if shard is None else shard_store(material.store, shard)
    tallies = {name: Tally(into if name in SHARED else material.store, name) for name in tables}
    work = Measuring(material, library.names, progress, shard)
    swept = {name: tally for name, tally in tallies.items() if name in SWEPT}
    for name, tally in tallies.items():
        if name not in swept:
            getattr(work, name)(tally)
        elif name == next(iter(swept)):
            work.sweep(swept)
    return tallies


def merge_model(material: Material, library: Library, tables: Sequence[str], count: int) -> dict[str, Tally]:
    """Put the shards of a model together: no model is loaded.

    Args:
        material: of the model, with the options that the shards had.
        library: the concepts.
        tables: those of `chosen_tables` that are shared out; of the others nothing waits.
        count: shards.

    Raises:
        InputError: shards are missing, or don't belong together.
    """
    merging = Merging(material, library.names, count)
    tallies = {name: Tally(material.store, name) for name in tables if name in SHARED}
    for tally in tallies.values():
        merging.merge(tally)
    return tallies
