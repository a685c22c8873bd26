"""The concept library: what a concept, its terms, labellings and templates are, and how a folder of them is read.

Reading is strict: whatever the format does not know, or can't be understood, is one `ConceptError` that names file,
line, fault and remedy. Whether a library that can be read is also *sound* is for `checking` to say; how prompts and
pairs are made of it, for `prompts`. The format itself is described in `docs/concepts.md`.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from extract.concept_files import Section, decode, fault_error, fingerprint, parse_csv, parse_toml, read_file
from warehouse.errors import ConceptError
from warehouse.tables import LABEL_KINDS, TEMPLATE_KINDS

CONCEPTS = Path(__file__).parent / "concepts"
"""The library that comes with the project."""

SLOT = "{term}"
"""What a template holds in place of a term."""

CONCEPT_FILE, TERMS_FILE = "concept.toml", "terms.csv"
ROLES = ("medical", "control")
MAIN = ""
"""The variant of main terms."""

_SLUG = re.compile(r"[a-z0-9_-][a-z0-9._-]*")
_INTEGER = re.compile(r"-?[0-9]{1,9}")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class Term:
    """One row of `terms.csv`; `cells` holds all of its columns, `line` is where the row starts in the file."""

    name: str
    spelling: str
    variant: str
    source: str
    cells: Mapping[str, str] = field(repr=False)
    line: int = field(compare=False)

    @property
    def is_main(self) -> bool:
        """Whether the term is a main one, and no control spelling."""
        return self.variant == MAIN


@dataclass(frozen=True)
class Code:
    """A column of codes whose beginning must agree with the label: label -> the prefixes that it allows."""

    column: str
    prefixes: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Labelling:
    """A way to sort the terms of a concept, and where in `terms.csv` a term's label and answer stand."""

    name: str
    kind: str
    description: str
    column: str
    order_column: str | None
    unit: str | None
    minimum_terms: int
    minimum_labels: int
    answer_column: str | None
    pair_within: str | None
    answers: Mapping[str, str]
    code: Code | None
    line: int | None = field(compare=False)

    def label(self, term: Term) -> str | None:
        """The term's label as it is written, or None where it has none."""
        return term.cells[self.column] or None

    def number(self, term: Term) -> float | None:
        """The term's value under a continuous labelling, in `unit`."""
        label = self.label(term)
        return float(label) if self.kind == "continuous" and label is not None else None

    def ordinal(self, term: Term) -> int | None:
        """The place of the term's label under an ordinal labelling."""
        if self.order_column is None or self.label(term) is None:
            return None
        return int(term.cells[self.order_column])

    def answer(self, term: Term) -> str | None:
        """The words that an asking prompt with this term calls for, or None where the term has no label."""
        label = self.label(term)
        if label is None:
            return None
        if self.answer_column is not None:
            return term.cells[self.answer_column] or None
        return self.answers.get(label, label)

    def group(self, term: Term) -> str | None:
        """What terms must share to make a pair: the value of `pair_within`; None where that is empty: no pair."""
        return "" if self.pair_within is None else term.cells[self.pair_within] or None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of `terms.csv` that the labelling leans on."""
        code_column = None if self.code is None else self.code.column
        names = (self.column, self.order_column, self.answer_column, self.pair_within, code_column)
        return tuple(name for name in names if name is not None)


@dataclass(frozen=True)
class Template:
    """A sentence with a slot; an asking one calls for the answer under `labelling` as its very next words."""

    name: str
    kind: str
    text: str
    labelling: str | None
    held_out: bool
    line: int | None = field(compare=False)

    @property
    def is_asking(self) -> bool:
        """Whether the template calls for a label."""
        return self.kind == "asking"


@dataclass(frozen=True)
class Concept:
    """One folder of the library. The fingerprint is a hash of its two files' bytes, wherever they lie."""

    name: str
    title: str
    role: str
    description: str
    labellings: tuple[Labelling, ...]
    templates: tuple[Template, ...]
    terms: tuple[Term, ...]
    fingerprint: str
    folder: Path = field(compare=False)

    def labelling(self, name: str) -> Labelling:
        """The labelling of that name.

        Raises:
            ConceptError: there is none.
        """
        for labelling in self.labellings:
            if labelling.name == name:
                return labelling
        known = ", ".join(labelling.name for labelling in self.labellings) or "none"
        raise ConceptError(f"Concept {self.name} has no labelling {name!r}. Its labellings are: {known}.")

    @property
    def asked(self) -> tuple[Labelling, ...]:
        """The labellings that an asking template calls for."""
        names = {template.labelling for template in self.templates if template.is_asking}
        return tuple(labelling for labelling in self.labellings if labelling.name in names)


@dataclass(frozen=True)
class Library:
    """The concepts of one folder, by name."""

    folder: Path
    concepts: tuple[Concept, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the concepts, sorted."""
        return tuple(concept.name for concept in self.concepts)

    def concept(self, name: str) -> Concept:
        """The concept of that name.

        Raises:
            ConceptError: there is none.
        """
        return self.select([name]).concepts[0]

    def select(self, names: Iterable[str]) -> "Library":
        """The library narrowed to these concepts, in the library's own order.

        Raises:
            ConceptError: no name was given, or one that is not in the library.
        """
        wanted = list(dict.fromkeys(names))
        unknown = [name for name in wanted if name not in self.names]
        known = f"The concepts of {self.folder} are: {', '.join(self.names)}."
        if unknown:
            raise ConceptError(f"There is no concept {', '.join(map(repr, unknown))}. {known}")
        if not wanted:
            raise ConceptError(f"No concept was chosen. {known}")
        return Library(self.folder, tuple(concept for concept in self.concepts if concept.name in wanted))


def concept_folders(folder: Path) -> list[Path]:
    """The folders of a library's concepts, sorted by name; hidden folders and loose files are no concepts.

    Raises:
        ConceptError: there is no such folder, it can't be listed, or it holds no concept.
    """
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise fault_error(
            folder, None, f"The concept library {what}.", "Give a folder that holds one folder for each concept."
        )
    try:
        entries = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    except OSError as error:
        raise fault_error(
            folder, None, f"The folder can't be listed ({error.strerror}).", "Make it readable."
        ) from error
    concepts = [entry for entry in entries if not entry.name.startswith((".", "__"))]
    if not concepts and (folder / CONCEPT_FILE).exists():
        raise fault_error(
            folder, None, "This is the folder of one concept.", f"Give the folder above it: {folder.resolve().parent}."
        )
    if not concepts:
        raise fault_error(folder, None, "The concept library is empty.", "Put in one folder for each concept.")
    return concepts


def load_library(folder: Path = CONCEPTS) -> Library:
    """The library that lies in a folder.

    Raises:
        ConceptError: the folder or one of its concepts can't be read; the first fault found, by file and line.
    """
    return Library(folder, tuple(load_concept(entry) for entry in concept_folders(folder)))


def load_concept(folder: Path) -> Concept:
    """The concept that lies in a folder; the folder's name is the concept's.

    Raises:
        ConceptError: a file is missing or broken, or says what the format does not know.
    """
    name = folder.resolve().name
    if not _SLUG.fullmatch(name):
        raise fault_error(
            folder,
            None,
            f"{name!r} can't be a concept's name.",
            "Rename the folder with a-z, 0-9, '.', '_' and '-' only.",
        )
    concept_file, terms_file = folder / CONCEPT_FILE, folder / TERMS_FILE
    concept_bytes, terms_bytes = read_file(concept_file), read_file(terms_file)
    section = parse_toml(concept_file, decode(concept_file, concept_bytes))
    rows = parse_csv(terms_file, decode(terms_file, terms_bytes), required=("term", "source"))
    terms = tuple(_read_term(line, cells) for line, cells in rows)
    labellings = tuple(_read_labelling(entry) for entry in section.sections("labellings"))
    _refuse_repeats(concept_file, labellings)
    for labelling in labellings:
        _try_cells(terms_file, labelling, terms)
    known = {labelling.name for labelling in labellings}
    templates = tuple(_read_template(entry, known) for entry in section.sections("templates"))
    concept = Concept(
        name=name,
        title=section.text("title"),
        role=section.choice("role", ROLES),
        description=_flowed(section.text("description")),
        labellings=labellings,
        templates=templates,
        terms=terms,
        fingerprint=fingerprint(concept_bytes, terms_bytes),
        folder=folder,
    )
    section.finish()
    return concept


def _flowed(text: str) -> str:
    # Long descriptions are broken and indented in the file; where the breaks fall means nothing.
    return " ".join(text.split())


def _read_labelling(section: Section) -> Labelling:
    name, kind = section.text("name"), section.choice("kind", LABEL_KINDS)
    answers = section.section("answers")
    labelling = Labelling(
        name=name,
        kind=kind,
        description=_flowed(section.text("description")),
        column=section.optional("column", str) or name,
        order_column=section.optional("order_column", str),
        unit=section.optional("unit", str),
        minimum_terms=section.positive("minimum_terms", default=1 if kind == "continuous" else 2),
        minimum_labels=section.positive("minimum_labels", default=2),
        answer_column=section.optional("answer_column", str),
        pair_within=section.optional("pair_within", str),
        answers={} if answers is None else {label: answers.text(label) for label in list(answers.left)},
        code=_read_code(section.section("code")),
        line=section.line(),
    )
    if (kind == "ordinal") != (labelling.order_column is not None):
        remedy = (
            "An ordinal labelling needs order_column, the integer column that orders its labels; no other may have it."
        )
        raise section.error("order_column", f"order_column does not fit the kind {kind}.", remedy)
    if labelling.unit is not None and kind != "continuous":
        raise section.error(
            "unit", f"a {kind} labelling has no unit.", "Take unit out, or make the labelling continuous."
        )
    if labelling.answer_column is not None and labelling.answers:
        raise section.error("answers", "answers stand in answer_column and in a table.", "Keep one of the two.")
    section.finish()
    return labelling


def _read_code(section: Section | None) -> Code | None:
    if section is None:
        return None
    column, prefixes = section.text("column"), section.section("prefixes")
    if prefixes is None:
        raise section.error(
            None, "prefixes are missing.", 'Add [labellings.code.prefixes] with lines such as "heart" = ["C"].'
        )
    allowed: dict[str, tuple[str, ...]] = {}
    for label in list(prefixes.left):
        values = prefixes.required(label, list)
        if not values or not all(isinstance(value, str) and value for value in values):
            raise prefixes.error(
                label, f"the prefixes of {label!r} are {values!r}.", 'Make them a list of texts: ["C", "B01"].'
            )
        allowed[label] = tuple(values)
    section.finish()
    return Code(column, allowed)


def _read_template(section: Section, labellings: set[str]) -> Template:
    template = Template(
        name=section.text("name"),
        kind=section.choice("kind", TEMPLATE_KINDS),
        text=section.text("text"),
        labelling=section.optional("labelling", str),
        held_out=section.optional("held_out", bool) or False,
        line=section.line(),
    )
    if template.is_asking and template.labelling not in labellings:
        fault = (
            "an asking template names no labelling"
            if template.labelling is None
            else f"there is no labelling {template.labelling!r}"
        )
        remedy = f"Name the labelling whose answer comes next: {', '.join(sorted(labellings)) or 'first add one'}."
        raise section.error("labelling", f"{fault}.", remedy)
    if not template.is_asking and template.labelling is not None:
        raise section.error(
            "labelling", "a neutral template asks for no labelling.", "Take labelling out, or make the kind asking."
        )
    section.finish()
    return template


def _refuse_repeats(file: Path, labellings: tuple[Labelling, ...]) -> None:
    seen: set[str] = set()
    for labelling in labellings:
        if labelling.name in seen:
            raise fault_error(
                file, labelling.line, f"There are two labellings {labelling.name!r}.", "Rename one of them."
            )
        seen.add(labelling.name)


def _read_term(line: int, cells: dict[str, str]) -> Term:
    return Term(
        name=cells["term"],
        spelling=cells.get("spelling") or cells["term"],
        variant=cells.get("variant", MAIN),
        source=cells["source"],
        cells=cells,
        line=line,
    )


def _try_cells(file: Path, labelling: Labelling, terms: tuple[Term, ...]) -> None:
    """Refuse a column that is not there, and a cell that is not the number that the labelling takes it for."""
    for column in labelling.columns:
        if column not in terms[0].cells:
            fault = f"There is no column {column!r}, which the labelling {labelling.name!r} names."
            remedy = f"Add it, or correct {CONCEPT_FILE}. The columns are: {', '.join(terms[0].cells)}."
            raise fault_error(file, 1, fault, remedy)
    for term in terms:
        label = labelling.label(term)
        if label is None:
            continue
        if labelling.kind == "continuous" and not (_NUMBER.fullmatch(label) and math.isfinite(float(label))):
            fault = f"{labelling.column} is {label!r}, not a number."
            raise fault_error(file, term.line, fault, "Write a number, or leave the cell empty.")
        if labelling.order_column is not None and not _INTEGER.fullmatch(term.cells[labelling.order_column]):
            fault = f"{labelling.order_column} is {term.cells[labelling.order_column]!r}, not a whole number."
            raise fault_error(file, term.line, fault, f"Write the place of {label!r} in the order.")
