"""What the commands print: tables of rows, of runs, of models, and files in the formats that people ask for.

Belongs here: words and layout for a terminal, and the writing of query results. What is printed is computed elsewhere.
"""

import csv
import io
import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table as RichTable

from dagster_project.commands.output import as_json
from dagster_project.summary import Line
from extract.prompts import ConceptCount
from warehouse.atomic import replacing
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
    """A query's result, numbers to the right, no more than `MOST_ROWS` rows."""
    table = _table()
    for field in rows.schema:
        numeric = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        table.add_column(field.name, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for row in rows.slice(0, MOST_ROWS).to_pylist():
        table.add_row(*(_cell(value) for value in row.values()))
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
        StoreError: the disk refused.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows.column_names)
    for row in rows.to_pylist():
        writer.writerow([json.dumps(value) if isinstance(value, list | dict) else value for value in row.values()])
    _write_text(text.getvalue(), path)


def write_json(rows: pa.Table, path: Path) -> None:
    """All rows as a JSON list of objects. `-` is standard output.

    Raises:
        StoreError: the disk refused.
    """
    _write_text(as_json(rows.to_pylist()) + "\n", path)


def write_parquet(rows: pa.Table, path: Path) -> None:
    """All rows as a Parquet file.

    Raises:
        StoreError: the disk refused.
    """
    with replacing(path) as temporary:
        pq.write_table(rows, temporary, compression="zstd")


def _write_text(text: str, path: Path) -> None:
    if str(path) == "-":
        sys.stdout.write(text)
        return
    with replacing(path) as temporary:
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
