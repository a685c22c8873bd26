"""The SQL files of the project, read: one statement a file, under a comment that says what it is for.

The comment is parsed here into purpose, grain, columns and parameters, for the list of named queries, the catalog's
comments and the docs. Nothing here talks to DuckDB: running a statement is `query`'s work, building views `catalog`'s.

    -- What the statement answers, in a sentence or two.
    --
    -- Grain: one row a model and layer
    -- Table: profiles                                       (checks: the table whose rows are at fault)
    -- Parameters:
    --   layer integer = NULL: Only this layer.              (types: text, integer, real, flag; no `= …`: required)
    -- Columns:
    --   model: The model's slug.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from warehouse.errors import QueryError

FOLDER = Path(__file__).resolve().parents[1] / "sql"
ANALYSES, CHECKS, VIEWS = FOLDER / "analyses", FOLDER / "checks", FOLDER / "views"

Value = str | int | float | bool | None
"""What a parameter can be bound to."""

_PARAMETER = re.compile(
    r"(?P<name>[a-z_]\w*) (?P<type>text|integer|real|flag)(?: = (?P<default>'.*?'|\S+))?: (?P<doc>.+)"
)
_COLUMN = re.compile(r"(?P<name>[a-z_]\w*): (?P<doc>.+)")
_FLAGS = {"true": True, "false": False}


@dataclass(frozen=True)
class Parameter:
    """A value that a query takes, bound as `$name`.

    Attributes:
        type: `text`, `integer`, `real` or `flag`.
        default: what is bound when nothing is given.
        required: whether something has to be given.
    """

    name: str
    type: str
    doc: str
    default: Value = None
    required: bool = False

    def value(self, given: Value) -> Value:
        """What was given, as this parameter's type; text is read, for a command line gives nothing else.

        Raises:
            QueryError: it can't be read as this type.
        """
        if given is None or (self.type == "text" and isinstance(given, str)):
            return given
        text = str(given).strip().lower()
        try:
            if self.type == "integer":
                return int(text)
            if self.type == "real":
                return float(text)
            if self.type == "flag":
                return _FLAGS[text]
        except (ValueError, KeyError):
            pass
        raise QueryError(f"Parameter {self.name} takes {_ARTICLES[self.type]}; got {given!r}.")


def _default(parameter: Parameter) -> str:
    if parameter.required:
        return "required"
    return "NULL" if parameter.default is None else repr(parameter.default)


_ARTICLES = {"text": "text", "integer": "an integer", "real": "a number", "flag": "true or false"}


@dataclass(frozen=True)
class NamedQuery:
    """One SQL file.

    Attributes:
        name: the file's name without `.sql`.
        purpose: what it answers.
        grain: what one row is.
        table: for a check, the table whose rows would be at fault.
        columns: name and meaning of each column, in order.
        sql: the whole text of the file.
    """

    name: str
    purpose: str
    grain: str
    table: str | None
    columns: tuple[tuple[str, str], ...]
    parameters: tuple[Parameter, ...]
    sql: str

    def description(self, *, of_macro: bool = False) -> str:
        """What it is, in one text; of a macro with its parameters and columns, which have no place of their own."""
        parts = [f"{self.purpose} Grain: {self.grain}."]
        if of_macro and self.parameters:
            parts.append("Parameters:")
            parts += [f"{one.name} ({one.type}, {_default(one)}): {one.doc}" for one in self.parameters]
        if of_macro:
            parts += ["Gives:", *(f"{name}: {doc}" for name, doc in self.columns)]
        return " ".join(parts)

    def bind(self, given: Mapping[str, Value] | None = None) -> dict[str, Value]:
        """A value for every parameter: what was given, else the default.

        Raises:
            QueryError: a name that the query doesn't have, a required value that is missing, or one of a wrong type.
        """
        given = given or {}
        known = ", ".join(f"{parameter.name} ({parameter.type})" for parameter in self.parameters) or "none"
        strangers = sorted(set(given) - {parameter.name for parameter in self.parameters})
        if strangers:
            raise QueryError(f"Query {self.name} has no parameter {', '.join(strangers)}; its parameters: {known}.")
        missing = [one.name for one in self.parameters if one.required and given.get(one.name) is None]
        if missing:
            raise QueryError(f"Query {self.name} needs a value for {', '.join(missing)}; its parameters: {known}.")
        return {one.name: one.value(given.get(one.name, one.default)) for one in self.parameters}


def named_queries(folder: Path = ANALYSES) -> dict[str, NamedQuery]:
    """The SQL files of a folder, by name, sorted.

    Raises:
        QueryError: the folder is missing, or a file's opening comment lacks purpose, grain or columns.
    """
    if not folder.is_dir():
        raise QueryError(f"There is no folder {folder} to read SQL files from.")
    return {path.stem: read_sql_file(path) for path in sorted(folder.glob("*.sql"))}


def read_sql_file(path: Path) -> NamedQuery:
    """One SQL file with its opening comment.

    Raises:
        QueryError: the comment lacks purpose, grain or columns, or a line of it can't be read.
    """
    text = path.read_text(encoding="utf-8")
    purpose: list[str] = []
    fields: dict[str, str] = {}
    sections: dict[str, list[str]] = {"Parameters": [], "Columns": []}
    section: list[str] | None = None
    for line in _comment(text):
        head, _, rest = line.partition(":")
        if head in sections and not rest:
            section = sections[head]
        elif section is not None and line.startswith("    "):
            if not section:
                raise QueryError(f"{path}: the comment line {line.strip()!r} continues nothing.")
            section[-1] += " " + line.strip()
        elif section is not None and line.startswith("  "):
            section.append(line.strip())
        elif head in ("Grain", "Table") and rest:
            fields[head] = rest.strip()
        elif line.strip():
            purpose.append(line.strip())
    missing = [
        name
        for name, found in (("purpose", purpose), ("Grain", fields.get("Grain")), ("Columns", sections["Columns"]))
        if not found
    ]
    if missing:
        raise QueryError(f"{path}: the opening comment lacks {', '.join(missing)}.")
    return NamedQuery(
        name=path.stem,
        purpose=" ".join(purpose),
        grain=fields["Grain"],
        table=fields.get("Table"),
        columns=tuple(_column(path, line) for line in sections["Columns"]),
        parameters=tuple(_parameter(path, line) for line in sections["Parameters"]),
        sql=text,
    )


def markdown(queries: Mapping[str, NamedQuery]) -> Iterator[str]:
    """Lines of a Markdown table of queries: what each answers and which parameters it takes."""
    yield "| query | answers | parameters |"
    yield "|---|---|---|"
    for query in queries.values():
        names = ", ".join(f"`{one.name}`" + (" (required)" if one.required else "") for one in query.parameters)
        yield f"| `{query.name}` | {query.purpose.replace('|', chr(92) + '|')} | {names or 'none'} |"


def _comment(text: str) -> Iterator[str]:
    """The lines of the opening comment, without their dashes and the one space behind them."""
    for line in text.splitlines():
        if not line.startswith("--"):
            return
        yield line[2:].removeprefix(" ").rstrip()


def _column(path: Path, line: str) -> tuple[str, str]:
    found = _COLUMN.fullmatch(line)
    if found is None:
        raise QueryError(f"{path}: the column line {line!r} doesn't read `name: meaning`.")
    return found["name"], found["doc"]


def _parameter(path: Path, line: str) -> Parameter:
    found = _PARAMETER.fullmatch(line)
    if found is None:
        raise QueryError(f"{path}: the parameter line {line!r} doesn't read `name type = default: meaning`.")
    name, type_, default, doc = found.group("name", "type", "default", "doc")
    parameter = Parameter(name, type_, doc, required=default is None)
    if default is None or default == "NULL":
        return parameter
    text = default[1:-1] if default.startswith("'") else default
    return Parameter(name, type_, doc, default=parameter.value(text))
