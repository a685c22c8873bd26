"""Partitions brought into a warehouse: compared with what is there, proved, then committed together or not at all.

A partition with the fingerprint that is here already is the same and stays. One with another is a conflict, and nothing
comes in before somebody says which of the two shall be kept. What would come in is read in `arrivals`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from warehouse.atomic import disk_errors, replacing_together
from warehouse.catalog import build_catalog
from warehouse.errors import InputError
from warehouse.exchange.arrivals import Arrival, arrivals_of, proved, same_model
from warehouse.exchange.exporting import Tell, copied
from warehouse.exchange.parts import Part
from warehouse.places import ObjectPlace
from warehouse.store import Store
from warehouse.tables import TABLES
from warehouse.versions import file_hash

CHOICES = ("keep", "replace")
_NAMED = 8
"""Conflicts that a message names; it counts the others."""


@dataclass(frozen=True)
class Decision:
    """What becomes of each partition that would come in.

    Attributes:
        new: not here yet.
        same: here already, from the same inputs.
        replaced: takes the place of one that is here.
        kept: stays out, for what is here is kept.
        left_out: stays out, for it was measured with a library or a model that is not the one kept here.
        outdated: partitions here that were measured with a library or a model that is replaced.
    """

    new: tuple[Arrival, ...]
    same: tuple[Arrival, ...]
    replaced: tuple[Arrival, ...]
    kept: tuple[Arrival, ...]
    left_out: tuple[Arrival, ...]
    outdated: tuple[str, ...]

    @property
    def coming(self) -> tuple[Arrival, ...]:
        """What is to be committed; `models` last, so that a model shows when all of it is there."""
        return tuple(sorted((*self.new, *self.replaced), key=lambda arrival: arrival.part.table == "models"))


def import_into(
    store: Store,
    source: Path | ObjectPlace,
    prefer: str | None = None,
    tell: Tell = lambda done, all_: None,
) -> Decision:
    """Bring an exported folder, or another warehouse, into this one, and build the catalog anew.

    Everything is fetched beside its place and proved first: hashes, footers, versions, and every row against its table.
    On a disk all partitions then appear together; in an object store one after the other, each whole.

    Args:
        store: the warehouse.
        source: the exported folder, or the root of the other warehouse.
        prefer: for conflicts: `keep` what is here, `replace` it; None refuses them.
        tell: is told how far it is.

    Raises:
        InputError: the source is none, is damaged, of other versions, or in conflict with what is here.
        StoreError: the disk or the object store refused.
    """
    if _is_same(store, source):
        raise InputError(f"{source} is the warehouse itself: name another one, or an exported folder.")
    arrivals = arrivals_of(source)
    _check_there(arrivals)
    decision = decide(store, arrivals, prefer)
    sizes = [arrival.source.stat().st_size for arrival in decision.coming]
    places = [arrival.part.place(store) for arrival in decision.coming]
    done = 0
    try:
        with replacing_together(places) as temporaries:
            for arrival, size, temporary in zip(decision.coming, sizes, temporaries, strict=True):
                with disk_errors(store.root):
                    proved(arrival, temporary, *copied(arrival.source, temporary))
                tell(done := done + size, sum(sizes))
            _prove_others(arrivals, decision)
    except BaseException:
        _remove_empty_folders(store)
        raise
    build_catalog(store.root)
    return decision


def decide(store: Store, arrivals: Sequence[Arrival], prefer: str | None) -> Decision:
    """Compare what would come in with what is here.

    Raises:
        InputError: there are conflicts, and nobody said which side is preferred.
        StoreError: a file can't be read, or the object store does not answer.
    """
    here = {(name, *keys.values()): store.footer(name, **keys) for name in TABLES for keys in store.partitions(name)}
    new, same, conflicts = [], [], []
    for arrival in arrivals:
        part = arrival.part
        ours = here.get((part.table, *part.keys.values()))
        if ours is None:
            new.append(arrival)
        elif (ours.fingerprint, ours.schema_version) == (part.footer.fingerprint, part.footer.schema_version) or (
            part.table == "models" and same_model(arrival, store)
        ):
            same.append(arrival)
        else:
            conflicts.append(arrival)
    if conflicts and prefer is None:
        raise InputError(_conflict_message(conflicts))
    of_others = _tied_to([arrival.part for arrival in conflicts])
    if prefer == "keep":
        left_out = [arrival for arrival in new if of_others(arrival.part.keys)]
        new = [arrival for arrival in new if arrival not in left_out]
        return Decision(tuple(new), tuple(same), (), tuple(conflicts), tuple(left_out), ())
    arriving = {(arrival.part.table, *arrival.part.keys.values()) for arrival in arrivals}
    outdated = [
        "/".join([name, *keys.values()])
        for name in TABLES
        for keys in store.partitions(name)
        if (name, *keys.values()) not in arriving and of_others(keys)
    ]
    return Decision(tuple(new), tuple(same), tuple(conflicts), (), (), tuple(outdated))


def _tied_to(conflicts: Sequence[Part]) -> Callable[[dict[str, str]], bool]:
    """Whether a partition was measured with a concept or a model of which the two sides hold different ones."""
    tied = {
        (key, part.keys[key])
        for part in conflicts
        for key, name in (("concept", "concepts"), ("model", "models"))
        if part.table == name
    }
    return lambda keys: bool(tied & set(keys.items()))


def _conflict_message(conflicts: Sequence[Arrival]) -> str:
    named = ", ".join(str(arrival.part) for arrival in conflicts[:_NAMED])
    more = f" and {len(conflicts) - _NAMED} more" if len(conflicts) > _NAMED else ""
    tables = {arrival.part.table for arrival in conflicts}
    why = ""
    if "concepts" in tables:
        why = " The two have different versions of a concept, so its measurements don't compare."
    elif "models" in tables:
        why = " Two different models go by one slug."
    return (
        f"{len(conflicts)} partitions are here with other contents: {named}{more}.{why} --keep leaves those that are "
        "here, --replace takes the others instead. Nothing was imported."
    )


def _check_there(arrivals: Sequence[Arrival]) -> None:
    missing = [arrival for arrival in arrivals if not arrival.source.is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} files that the description names are missing, first {missing[0].source}. Fetch the folder "
            "again; nothing was imported."
        )


def _prove_others(arrivals: Sequence[Arrival], decision: Decision) -> None:
    """An exported folder that is damaged anywhere is not to be trusted: look at what stays out, too."""
    coming = {str(arrival.part) for arrival in decision.coming}
    for arrival in arrivals:
        if arrival.sha256 is None or str(arrival.part) in coming:
            continue
        assert isinstance(arrival.source, Path)
        with disk_errors(arrival.source):
            proved(arrival, arrival.source, arrival.source.stat().st_size, file_hash(arrival.source))


def _is_same(store: Store, source: Path | ObjectPlace) -> bool:
    if isinstance(store.root, Path) and isinstance(source, Path):
        return store.root.resolve() == source.resolve()
    return store.root == source


def _remove_empty_folders(store: Store) -> None:
    """Folders that were made for what did not come."""
    if not isinstance(store.root, Path):
        return
    for name in TABLES:
        for folder in sorted((store.root / name).rglob("*/"), reverse=True):
            if not any(folder.iterdir()):
                folder.rmdir()
        if (store.root / name).is_dir() and not any((store.root / name).iterdir()):
            (store.root / name).rmdir()
