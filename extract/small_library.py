"""A small concept library, cut from a big one: fewer terms, so that a model of eight layers learns it in a minute.

Belongs here: which labels and terms are kept, and the folder that they are written to, in the format of any library.
Does not belong here: what is trained on it (`zoo`), and how a folder is read (`library`).
"""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tomlkit
from tomlkit.items import AoT, Table

from extract.checking import require_sound
from extract.concept_files import decode, read_file
from extract.folders import written_whole
from extract.library import CONCEPT_FILE, TERMS_FILE, Concept, Library, Term, load_concept, load_library
from warehouse.errors import ConceptError

SMALL_LABELLINGS: Mapping[str, str] = {
    "symptoms": "system",
    "diseases": "category",
    "drugs": "specialty",
    "animals": "class",
    "countries": "continent",
}
"""The concepts of a small library, each with the one labelling that it keeps: three to plant, two as controls."""


@dataclass(frozen=True)
class _Part:
    """What is kept of a concept: its labels in the order of their first terms, and its terms in theirs."""

    labelling: str
    labels: tuple[str, ...]
    terms: tuple[Term, ...]
    columns: tuple[str, ...]


def write_small_library(
    source: Path,
    out: Path,
    *,
    labels: int = 8,
    terms: int = 8,
    last: bool = False,
    labellings: Mapping[str, str] = SMALL_LABELLINGS,
) -> Library:
    """Cut a small library from the one in `source` into the folder `out`, and return it.

    Of each concept stay the first labels of one labelling, the first terms of each of these, and the templates that are
    neutral or ask for it. The same source gives the same bytes. What was in `out` is replaced, if it was a library.

    Args:
        labels: at most so many labels a concept; one that has fewer keeps all of its own.
        terms: so many terms a label.
        last: keep the last labels and terms instead of the first.
        labellings: concept -> the labelling that it keeps.

    Raises:
        ConceptError: the source can't be read, lacks a concept, labelling or term, what is left of it is no sound
            library, or `out` holds something else.
        StoreError: the disk refused; what was there before is untouched.
    """
    if out.exists() and any(out.iterdir()):
        load_library(out)
    with written_whole(out, "library") as new:
        for name, labelling in labellings.items():
            concept = load_concept(source / name)
            part = _part(concept, labelling, labels, terms, last=last)
            folder = new / name
            folder.mkdir()
            (folder / CONCEPT_FILE).write_text(_concept_text(concept, part, terms), encoding="utf-8")
            (folder / TERMS_FILE).write_text(_terms_text(part), encoding="utf-8", newline="")
        require_sound(load_library(new))
    return load_library(out)


def _part(concept: Concept, labelling: str, labels: int, terms: int, *, last: bool) -> _Part:
    sorting = concept.labelling(labelling)
    grouped: dict[str, list[Term]] = {}
    for term in concept.terms:
        label = sorting.label(term)
        if label is not None and term.is_main:
            grouped.setdefault(label, []).append(term)
    big_enough = [label for label, members in grouped.items() if len(members) >= terms]
    big_enough = big_enough[-labels:] if last else big_enough[:labels]
    if len(big_enough) < 2:
        raise ConceptError(
            f"{concept.name}/{labelling} has {len(big_enough)} labels of {terms} terms; two are the least. "
            "Ask for fewer terms a label."
        )
    some = slice(-terms, None) if last else slice(terms)
    kept = {term.name for label in big_enough for term in grouped[label][some]}
    return _Part(
        labelling,
        tuple(big_enough),
        tuple(term for term in concept.terms if term.name in kept),
        tuple(concept.terms[0].cells),
    )


def _concept_text(concept: Concept, part: _Part, terms: int) -> str:
    file = concept.folder / CONCEPT_FILE
    document = tomlkit.parse(decode(file, read_file(file)))
    labellings, templates = document["labellings"], document["templates"]
    if not isinstance(labellings, AoT) or not isinstance(templates, AoT):
        raise ConceptError(f"{file} does not write its labellings and templates as [[labellings]] and [[templates]].")
    for place in reversed(range(len(labellings))):
        if labellings[place]["name"] != part.labelling:
            del labellings[place]
    for place in reversed(range(len(templates))):
        if templates[place].get("labelling", part.labelling) != part.labelling:
            del templates[place]
    kept = labellings[0]
    kept["minimum_terms"], kept["minimum_labels"] = terms, len(part.labels)
    for table in (kept.get("answers"), kept.get("code", {}).get("prefixes")):
        _keep_labels(table, part.labels)
    return tomlkit.dumps(document)


def _keep_labels(table: Table | None, labels: tuple[str, ...]) -> None:
    for label in list(table or ()):
        if table is not None and label not in labels:
            del table[label]


def _terms_text(part: _Part) -> str:
    text = io.StringIO(newline="")
    rows = csv.DictWriter(text, part.columns, lineterminator="\n")
    rows.writeheader()
    rows.writerows(term.cells for term in part.terms)
    return text.getvalue()
