"""More ways to ask than a concept's templates have, for training alone: read from `embedded/phrases.toml`.

A model trained from nothing on four sentences a labelling knows those four; one that has met a few hundred can read
another that was held out. Belongs here: the file's format, the patterns that it is written in, and the longest run of
words that two sentences share, which keeps phrases and held-out templates apart. Phrases are never prompts: nothing is
measured with them.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path

from extract.concept_files import Section, decode, parse_toml, read_file
from extract.library import SLOT

EMBEDDED = Path(__file__).parent / "embedded"
"""The folder of the models that come with the project, and of what they were taught with besides the library."""

PHRASES_FILE = EMBEDDED / "phrases.toml"

_CHOICE = re.compile(r"\[([^\[\]]*)\]")


def read_phrases(file: Path = PHRASES_FILE) -> Mapping[str, tuple[str, ...]]:
    """The phrases of each relation by its name, `concept/labelling`, sorted; a relation without any has no entry.

    Raises:
        ConceptError: the file can't be read, or a phrase has not exactly one slot with words before it.
    """
    section = parse_toml(file, decode(file, read_file(file)))
    table = section.section("phrases")
    if table is None:
        raise section.error(None, "phrases are missing.", 'Add [phrases] with lines such as "drugs/specialty" = [...].')
    phrases = {relation: _phrases(table, relation) for relation in list(table.left)}
    section.finish()
    return phrases


def expand(pattern: str) -> Iterator[str]:
    """The phrases that a pattern stands for: `[a|b]` is a or b, and an empty part leaves the words out."""
    pieces = _CHOICE.split(pattern)
    choices = (piece.split("|") if inside else [piece] for inside, piece in _alternating(pieces))
    for chosen in product(*choices):
        yield " ".join("".join(chosen).split())


def longest_shared_run(one: str, other: str) -> int:
    """How many words in a row two sentences have in common, the slot counted as a word, in any case."""
    words, others = (re.findall(r"[^\s,.?]+", text.casefold()) for text in (one, other))
    longest = 0
    before = [0] * (len(others) + 1)
    for word in words:
        here = [0] * (len(others) + 1)
        for place, rival in enumerate(others, 1):
            if word == rival:
                here[place] = before[place - 1] + 1
        longest = max(longest, *here)
        before = here
    return longest


def _alternating(pieces: list[str]) -> Iterator[tuple[bool, str]]:
    # Splitting at a pattern with one group gives what is outside and what is inside by turns.
    for place, piece in enumerate(pieces):
        yield place % 2 == 1, piece


def _phrases(table: Section, relation: str) -> tuple[str, ...]:
    patterns = table.required(relation, list)
    phrases = sorted({phrase for pattern in patterns for phrase in expand(str(pattern))})
    for phrase in phrases:
        before, slot, after = phrase.partition(SLOT)
        if not before.strip() or not slot or SLOT in after:
            remedy = f"Write one {SLOT}, with words before it."
            raise table.error(relation, f"{phrase!r} has no slot, or two, or begins with it.", remedy)
    return tuple(phrases)
