"""What the commands print: tables of rows, of runs, of models, and files in the formats that people ask for.

Belongs here: words and layout for a terminal, and the writing of query results. What is printed is computed elsewhere.
"""

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from operator import itemgetter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table as RichTable

from dagster_project.commands.output import as_json
from dagster_project.summary import Line
from extract.prompts import ConceptCount
from warehouse.atomic import disk_errors, replacing
from warehouse.errors import QueryError
from warehouse.sql_files import NamedQuery

MOST_ROWS = 200
"""Rows of a result that are printed; files hold all."""

_WIDE = 10_000
_FEW = 6


def console(*, error: bool = False) -> Console:
    """For standard output or standard error; what goes to a file or a pipe is never folded.

    Colours are only for terminals, unless FORCE_COLOR is set, and never where NO_COLOR is.
    """
    found = Console(stderr=error, highlight=False, markup=False)
    if not found.file.isatty():  # FORCE_COLOR makes a pipe pass for a terminal; it is as wide as before.
        found.width = _WIDE
    return found


def rows_table(rows: pa.Table) -> RichTable:
    """A query's result, numbers to the right, no more than `MOST_ROWS` rows.

    Raises:
        QueryError: a column holds a value that can't be printed.
    """
    table = _table()
    for field in rows.schema:
        numeric = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        table.add_column(field.name, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for row in _plain_rows(rows.slice(0, MOST_ROWS)):
        table.add_row(*(_cell(value) for value in row))
    return table


def summary_table(lines: Sequence[Line]) -> RichTable:
    """Where each labelling shows in each model."""
    table = _table()
    for name in ("model", "concept", "labelling"):
        table.add_column(name, overflow="fold")
    for name in ("best layer", "value", "95% interval", "largest step", "map", "planted in"):
        table.add_column(name, justify="right", overflow="fold")
    for line in lines:
        interval = "" if line.low is None or line.high is None else f"{line.low:.2f} … {line.high:.2f}"
        planted = ", ".join(str(layer) for layer in line.planted)
        table.add_row(
            line.model,
            line.concept,
            line.labelling,
            _layer(line.best),
            f"{line.metric} {line.value:.2f}",
            interval,
            "" if line.step is None else f"layer {_layer(line.step)}",
            line.places if line.confidence is None else f"layer {line.places} ({line.confidence:.2f})",
            f"layer {planted}" if planted else "",
        )
    return table


def concepts_table(counts: Sequence[ConceptCount]) -> RichTable:
    """What each concept of a library holds."""
    table = _table("concept", "role", "labellings")
    for name in ("terms", "main", "neutral", "asking", "held out", "prompts", "pairs"):
        table.add_column(name, justify="right", no_wrap=True)
    for count in counts:
        labellings = ", ".join(f"{one.name} ({one.labels} over {one.terms})" for one in count.labellings)
        numbers = (
            count.terms,
            count.main_terms,
            count.neutral_templates,
            count.asking_templates,
            count.held_out_templates,
            count.prompts,
            count.pairs,
        )
        table.add_row(count.concept, count.role, labellings, *(f"{number:,}" for number in numbers))
    return table


def queries_table(queries: Sequence[NamedQuery]) -> RichTable:
    """The named queries with what they answer and take."""
    table = _table("query", "answers", "parameters")
    for query in queries:
        parameters = ", ".join(one.name + (" (required)" if one.required else "") for one in query.parameters)
        table.add_row(query.name, query.purpose, parameters)
    return table


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> RichTable:
    """Texts under their headings; the first column is never folded, the others rather folded than cut."""
    table = _table(*columns)
    for row in rows:
        table.add_row(*row)
    return table


def write_csv(rows: pa.Table, path: Path) -> None:
    """All rows as CSV; vectors as JSON. `-` is standard output.

    Raises:
        QueryError: a column holds a value that can't be written so.
        StoreError: the disk refused.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows.column_names)
    for row in _plain_rows(rows):
        writer.writerow([json.dumps(value) if isinstance(value, list | dict) else value for value in row])
    _write_text(text.getvalue(), path)


def write_json(rows: pa.Table, path: Path) -> None:
    """All rows as a JSON list of objects. `-` is standard output.

    Raises:
        QueryError: a column holds a value that can't be written so, or two have one name.
        StoreError: the disk refused.
    """
    _require_own_names(rows)
    named = [dict(zip(rows.column_names, row, strict=True)) for row in _plain_rows(rows)]
    _write_text(as_json(named) + "\n", path)


def write_parquet(rows: pa.Table, path: Path) -> None:
    """All rows as a Parquet file.

    Raises:
        QueryError: a column is of a type that Parquet lacks, or two have one name.
        StoreError: the disk refused.
    """
    _require_own_names(rows)
    with replacing(path) as temporary:
        try:
            pq.write_table(rows, temporary, compression="zstd")
        except pa.ArrowNotImplementedError as error:
            raise QueryError(f"{error}: cast that column, as in CAST(name AS VARCHAR).") from error


def _plain_rows(rows: pa.Table) -> Iterator[tuple[object, ...]]:
    """The rows as Python's values: SQL knows dates, intervals and numbers that Python does not."""
    columns = []
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        try:
            columns.append(column.to_pylist())
        except (OverflowError, ValueError, pa.ArrowException) as error:
            raise QueryError(
                f"Column {name} ({column.type}) holds a value that can't be shown ({error}): cast it, as in "
                f'CAST("{name}" AS VARCHAR).'
            ) from error
    return zip(*columns, strict=True)


def _require_own_names(rows: pa.Table) -> None:
    """A join can give two columns of one name: in a file that is read by names one of them would be lost."""
    name, times = max(Counter(rows.column_names).items(), key=itemgetter(1))
    if times > 1:
        raise QueryError(f"{times} columns are called {name}: give each a name of its own, as in {name} AS other.")


def _write_text(text: str, path: Path) -> None:
    if str(path) == "-":
        sys.stdout.write(text)
        return
    with replacing(path) as temporary, disk_errors(path):
        temporary.write_text(text, encoding="utf-8")


def _table(*columns: str) -> RichTable:
    table = RichTable(box=None, header_style="bold", pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, no_wrap=place == 0, overflow="fold")
    return table


def _layer(layer: int) -> str:
    return "emb" if layer < 0 else str(layer)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        more = f", … {len(value)} values" if len(value) > _FEW else ""
        return "[" + ", ".join(_cell(one) for one in value[:_FEW]) + more + "]"
    return _as_text(value)


def _as_text(value: object) -> str:
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else str(value)
