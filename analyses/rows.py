"""Rows of tables as frames, and what a row of a map is called: shared by charts and claims.

No numbers are made here and nothing is drawn; the look of charts is in `drawing`.
"""

from collections.abc import Sequence
from typing import TypeAlias

import polars as pl
import pyarrow as pa

Rows: TypeAlias = pl.DataFrame | pa.Table


def frame(rows: Rows) -> pl.DataFrame:
    """Rows as a Polars frame."""
    if isinstance(rows, pl.DataFrame):
        return rows
    found = pl.from_arrow(rows)
    assert isinstance(found, pl.DataFrame)
    return found


def roles_of(concepts: Rows | None) -> dict[str, str]:
    """The role of each concept, from rows of `concepts`; without them all count as medical."""
    return dict(frame(concepts).select("concept", "role").iter_rows()) if concepts is not None else {}


def row_name(roles: dict[str, str]) -> pl.Expr:
    """What a row of a map is called: concept and labelling, and that it is a control where it is one."""
    role = pl.col("concept").replace_strict(roles, default="medical", return_dtype=pl.String)
    prefix = pl.when(role == "control").then(pl.lit("control: ")).otherwise(pl.lit(""))
    labelling = pl.col("labelling").str.replace_all("_", " ")
    suffix = pl.when(labelling == "").then(pl.lit("")).otherwise(pl.concat_str(pl.lit(" · "), labelling))
    return pl.concat_str(prefix, "concept", suffix)


def row_order(names: pl.Series) -> list[str]:
    """Rows from top to bottom: medical concepts by name, controls below them."""
    return sorted(names.unique().to_list(), key=lambda row: (row.startswith("control: "), row))


def listed(words: Sequence[str]) -> str:
    """Words as a sentence lists them: `a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
