"""A model's knowledge maps as the page draws them: rows, cells, regions, what techniques mark, verdicts, stability.

Belongs here: what is read from `knowledge_map`, `localisations`, `regions`, `stability` and `plants`. Nothing is
computed but names and orders. How a map comes about is in `analyses.mapping`.
"""

from typing import Any

import polars as pl

from analyses.atlas.library import Tables
from analyses.rows import roles_of, row_name

MODES = ("consensus", "paper")
TECHNIQUES = ("activations", "lesions", "patches", "saliency")


def maps_of(tables: Tables, layers: int) -> dict[str, list[dict[str, Any]]]:
    """The rows of both maps of one model, concepts as a whole left out where one labelling says the same.

    Args:
        tables: of one model: `knowledge_map`, `localisations`, `regions`, `plants`, `stability`; and `concepts`.
        layers: how many layers the model has.
    """
    roles = roles_of(tables["concepts"])
    return {mode: _rows(mode, tables, roles, layers) for mode in MODES}


def _rows(mode: str, tables: Tables, roles: dict[str, str], layers: int) -> list[dict[str, Any]]:
    chosen = pl.col("mode") == mode
    verdicts = tables["localisations"].filter(chosen).with_columns(row=row_name(roles))
    labellings = pl.col("labelling").filter(pl.col("labelling") != "").n_unique().over("concept")
    verdicts = verdicts.filter((pl.col("labelling") != "") | (labellings != 1))
    control = pl.col("row").str.starts_with("control: ")
    rows = []
    for verdict in verdicts.sort(control, "row").iter_rows(named=True):
        own = (pl.col("concept") == verdict["concept"]) & (pl.col("labelling") == verdict["labelling"])
        rows.append(
            {
                "concept": verdict["concept"],
                "labelling": verdict["labelling"],
                "name": verdict["row"],
                "verdict": verdict["verdict"],
                "confidence": _digits(verdict["confidence"]),
                "places": verdict["places"],
                "lost": [_digits(verdict[f"lost_{end}"]) for end in ("answers", "low", "high")],
                "first_half": [_digits(verdict[f"first_half_{end}"]) for end in ("share", "low", "high")],
                "sentence": verdict["sentence"],
                **_cells(tables["knowledge_map"].filter(chosen, own), layers),
                "regions": _regions(tables["regions"].filter(chosen, own)),
                "planted": _planted(tables["plants"].filter(own)),
                "stability": _stability(tables["stability"].filter(own)) if mode == "consensus" else [],
            }
        )
    return rows


def _cells(cells: pl.DataFrame, layers: int) -> dict[str, list[float | None]]:
    by_layer = {row["layer"]: row for row in cells.iter_rows(named=True)}
    return {
        told: [_digits(by_layer[layer][name]) if layer in by_layer else None for layer in range(layers)]
        for told, name in (("cells", "confidence"), ("agreement", "agreement"))
    }


def _regions(rows: pl.DataFrame) -> list[list[Any]]:
    order = rows.sort("technique", "first")
    return [
        [row["technique"], row["first"], row["last"], _digits(row["confidence"])] for row in order.iter_rows(named=True)
    ]


def _planted(rows: pl.DataFrame) -> list[int]:
    # Of knowledge that is spread over all layers no layer is the right answer.
    return rows.filter(pl.col("kind") != "spread")["layer"].sort().to_list()


def _stability(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Of each map made otherwise its surest layer and how sure it is there."""
    told = []
    for (change, detail, _), part in rows.group_by("change", "detail", "repeat", maintain_order=True):
        surest = part.sort("confidence", "layer", descending=[True, False]).row(0, named=True)
        told.append(
            {
                "change": change,
                "detail": detail,
                "layer": surest["layer"],
                "confidence": _digits(surest["confidence"]),
                "cells": [_digits(value) for value in part.sort("layer")["confidence"]],
            }
        )
    return sorted(told, key=lambda made: (made["change"], made["detail"]))


def _digits(value: float | None) -> float | None:
    """To four decimals, as every number on the page is."""
    return None if value is None else round(value, 4)
