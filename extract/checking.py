"""Whether a concept library is sound: puts each of its concepts to every rule and collects all faults.

Belongs here: checking a library in memory, checking a folder of which parts may not even be readable, and refusing an
unsound library. The rules themselves are in `rules`. Whether a fact is *true* no program can tell: a reader of its
source must.
"""

from collections.abc import Iterable
from pathlib import Path

from extract.concept_files import Fault
from extract.library import CONCEPTS, Concept, Library, concept_folders, load_concept
from extract.rules import RULES, STRICT_RULES
from warehouse.errors import ConceptError

__all__ = ["Fault", "check", "check_folder", "require_sound"]


def check(library: Library, strict: bool = False) -> list[Fault]:
    """Every fault of a library, by file and line; an empty list proves it sound.

    Args:
        strict: hold it to what the library that ships with the project must have: six templates of a kind, two of
            them held out, something that is asked for, and a source for each row.
    """
    rules = RULES + STRICT_RULES if strict else RULES
    return _by_place(fault for concept in library.concepts for rule in rules for fault in rule(concept))


def check_folder(folder: Path = CONCEPTS, strict: bool | None = None) -> list[Fault]:
    """Every fault of the library in a folder; of a concept that can't be read, the first one.

    Args:
        strict: as for `check`; left out, the library that ships with the project is held to it and no other.

    Raises:
        ConceptError: the folder itself is no library.
    """
    if strict is None:
        strict = folder.resolve() == CONCEPTS.resolve()
    faults: list[Fault] = []
    concepts: list[Concept] = []
    for entry in concept_folders(folder):
        try:
            concepts.append(load_concept(entry))
        except ConceptError as error:
            faults.append(error.args[0])
    return _by_place(faults + check(Library(folder, tuple(concepts)), strict))


def require_sound(library: Library, strict: bool = False) -> Library:
    """The library itself, if it is sound.

    Args:
        strict: as for `check`.

    Raises:
        ConceptError: it is not; the message lists every fault, one a line.
    """
    faults = check(library, strict)
    if faults:
        raise ConceptError("\n".join(str(fault) for fault in faults))
    return library


def _by_place(faults: Iterable[Fault]) -> list[Fault]:
    return sorted(faults, key=lambda fault: (str(fault.file), fault.line or 0))
