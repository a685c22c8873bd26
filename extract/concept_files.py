"""Strict reading of the two kinds of file that a concept consists of: TOML and CSV, with the line of each fault.

Belongs here: bytes to text, TOML to sections that refuse what nobody asks for, CSV to rows with their lines, and
`Fault`, the one shape of a complaint about a library. What the keys and columns *mean* is for `library` to know.
"""

import csv
import hashlib
import io
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from warehouse.errors import ConceptError

_ARRAY_HEADER = re.compile(r"\s*\[\[\s*(\w+)\s*\]\]")
_TOML_LINE = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)")
_TYPE_WORDS: dict[type, str] = {
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}

_T = TypeVar("_T")


@dataclass(frozen=True)
class Fault:
    """What is wrong with a library, where, and what to do about it; `str()` makes one line of it."""

    file: Path
    line: int | None
    fault: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else str(self.file)
        text = f"{place}: {self.fault} {self.remedy}"
        # A name that was read from a broken file may hold anything: line ends would break the line.
        return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def fault_error(file: Path, line: int | None, fault: str, remedy: str) -> ConceptError:
    """The error for a fault. The fault itself is its argument, so that `checking` can collect what reading finds."""
    return ConceptError(Fault(file, line, fault, remedy))


def fingerprint(*contents: bytes) -> str:
    """The SHA-256 of several files' contents, in hexadecimal digits."""
    # Each content goes in as its own hash: bytes that move from the end of one to the start of the next change the sum.
    return hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents)).hexdigest()


def read_file(file: Path) -> bytes:
    """The file's bytes.

    Raises:
        ConceptError: it is missing, or can't be read.
    """
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise fault_error(
            file, None, "The file is missing.", "Add it: a concept needs concept.toml and terms.csv."
        ) from None
    except OSError as error:
        raise fault_error(
            file, None, f"The file can't be read ({error.strerror}).", "Make it a readable file."
        ) from error


def decode(file: Path, content: bytes) -> str:
    """The text of UTF-8 bytes, without a byte order mark.

    Raises:
        ConceptError: they are not UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise fault_error(file, line, "The text is not UTF-8.", "Save the file as UTF-8.") from error


class Section:
    """One table of a TOML file while it is read: what nobody has taken in the end is an unknown key.

    Each method that takes a value raises a `ConceptError` where the value is missing or of the wrong kind. `lines` are
    those of the whole file; the section covers `first` to `last`, where `first` is None if the lines can't be told.
    """

    def __init__(
        self, file: Path, name: str, values: dict[str, object], *, lines: list[str], first: int | None, last: int
    ) -> None:
        self.file, self.name, self.left = file, name, dict(values)
        self.lines, self.first, self.last = lines, first, last

    def line(self, key: str | None = None) -> int | None:
        """The line of a key, or that of the section; None where it can't be told."""
        if self.first is None:
            return None
        if key is not None:
            stands = re.compile(rf"\s*(\[[\w.]*\.?)?[\"']?{re.escape(key)}[\"']?\s*[=.\]]")
            for number in range(self.first, self.last + 1):
                if stands.match(self.lines[number - 1]):
                    return number
        return self.first

    def error(self, key: str | None, fault: str, remedy: str) -> ConceptError:
        """The error for a fault of this section, at the line of the key."""
        return fault_error(self.file, self.line(key), f"{self.name}: {fault}", remedy)

    def optional(self, key: str, type_: type[_T]) -> _T | None:
        """Take a value that may be missing."""
        value = self.left.pop(key, None)
        if value is None:
            return None
        if not isinstance(value, type_) or (isinstance(value, bool) and type_ is not bool):
            raise self.error(key, f"{key} must be {_TYPE_WORDS[type_]}, not {value!r}.", "Correct the value.")
        return value

    def required(self, key: str, type_: type[_T]) -> _T:
        """Take a value that must be there."""
        value = self.optional(key, type_)
        if value is None:
            raise self.error(None, f"{key} is missing.", f"Add {key}: {_TYPE_WORDS[type_]}.")
        return value

    def text(self, key: str) -> str:
        """Take a text that is not empty."""
        value = self.required(key, str)
        if not value.strip():
            raise self.error(key, f"{key} is empty.", "Write it.")
        return value

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        """Take one of the allowed texts."""
        value = self.text(key)
        if value not in allowed:
            raise self.error(key, f"{key} is {value!r}.", f"Make it one of: {', '.join(allowed)}.")
        return value

    def positive(self, key: str, default: int) -> int:
        """Take a number from 1 upwards."""
        value = self.optional(key, int)
        if value is not None and value < 1:
            raise self.error(key, f"{key} is {value}.", "Make it 1 or more.")
        return default if value is None else value

    def section(self, key: str) -> "Section | None":
        """Take a table inside this one."""
        values = self.optional(key, dict)
        if values is None:
            return None
        # The parent's lines from the table's own header on: the same key may stand above it, in a sister table.
        name, first = f"{self.name}, {key}", self.line(key)
        return Section(self.file, name, values, lines=self.lines, first=first, last=self.last)

    def sections(self, key: str) -> list["Section"]:
        """Take an array of tables, each with the lines that it covers."""
        entries = self.required(key, list)
        spans = [(first, last) for header, first, last in _array_spans(self.lines) if header == key]
        sections = []
        for index, values in enumerate(entries):
            if not isinstance(values, dict):
                remedy = f"Write each one under its own [[{key}]]."
                raise self.error(key, f"{key} must be tables, not {values!r}.", remedy)
            label = values.get("name")
            name = f"{key}, {label if isinstance(label, str) and label else f'entry {index + 1}'}"
            # An array that is written in one line has no header of its own for each entry.
            first, last = spans[index] if len(spans) == len(entries) else (None, len(self.lines))
            sections.append(Section(self.file, name, values, lines=self.lines, first=first, last=last))
        return sections

    def finish(self) -> None:
        """Refuse what nobody has taken."""
        for key in self.left:
            raise self.error(key, f"the key {key!r} is not known.", "Correct its name, or take it out.")


def _array_spans(lines: list[str]) -> list[tuple[str, int, int]]:
    """Name, first and last line of each table under a [[header]]."""
    starts = [(number, match[1]) for number, line in enumerate(lines, 1) if (match := _ARRAY_HEADER.match(line))]
    ends = [number - 1 for number, _ in starts[1:]] + [len(lines)]
    return [(name, first, last) for (first, name), last in zip(starts, ends, strict=False)]


def parse_toml(file: Path, text: str) -> Section:
    """The topmost section of a TOML file.

    Raises:
        ConceptError: the text is not TOML.
    """
    lines = text.split("\n")
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers of a thousand digits and brackets without an end
        match = _TOML_LINE.search(str(error))
        line = int(match[1]) if match and match[1] else len(lines)
        fault = f"This is not TOML: {_TOML_LINE.sub('', str(error))}."
        raise fault_error(file, line, fault, "Correct the line.") from error
    spans = _array_spans(lines)
    last = spans[0][1] - 1 if spans else len(lines)
    return Section(file, "concept", values, lines=lines, first=1, last=last)


def parse_csv(file: Path, text: str, required: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV file below its header: the line where each starts, and its cells by column.

    Raises:
        ConceptError: the text is no CSV, has no row or lacks a required column, or a row does not fit the header.
    """
    (line, header), *rows = _csv_rows(file, text)
    for column in header:
        if not column.strip() or header.count(column) > 1:
            fault = f"The column name {column!r} is empty or stands twice."
            raise fault_error(file, line, fault, "Give each column its own name.")
    for column in required:
        if column not in header:
            raise fault_error(
                file, line, f"There is no column {column!r}.", f"Add it. The columns are: {', '.join(header)}."
            )
    if not rows:
        raise fault_error(file, line, "There are no rows below the header.", "Write one row for each term.")
    for row_line, row in rows:
        if len(row) != len(header):
            fault = f"The row has {len(row)} cells and the header has {len(header)}."
            raise fault_error(file, row_line, fault, "Add or remove cells; quote a cell that holds a comma.")
    return [(line, dict(zip(header, row, strict=True))) for line, row in rows]


def _csv_rows(file: Path, text: str) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, list[str]]] = []
    start = 1
    try:
        for row in reader:
            if row:  # an empty line is no row
                rows.append((start, row))
            start = reader.line_num + 1
    except csv.Error as error:
        fault = f"This is not CSV: {error}."
        raise fault_error(file, start, fault, "Correct the row; double the quotes inside a cell.") from error
    if not rows:
        raise fault_error(file, None, "The file is empty.", "Write the header row, then one row for each term.")
    return rows
