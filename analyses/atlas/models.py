"""One model's part of the page: what is told of it, with its arrays, as one block.

Belongs here: which parts a model has and in which order they are packed. The parts are in `maps`, `profiles` and
`details`.
"""

from collections.abc import Sequence
from typing import Any

import polars as pl

from analyses.atlas import details
from analyses.atlas.library import Concept, Tables
from analyses.atlas.maps import maps_of
from analyses.atlas.packing import Pack
from analyses.atlas.precision import detail_layers, precision_of
from analyses.atlas.profiles import NUMBERS, profiles_of
from warehouse.errors import InputError

_CARD = ("source", "revision", "architecture", "layers", "width", "vocabulary", "parameters", "dtype", "quantization")
_FINDING = ("finding", "claimed_by", "title", "question", "rule", "basis", "verdict", "sentence")
_ESTIMATE = ("estimate", "low", "high", "threshold", "null_mean", "null_p")


def model_part(model: str, tables: Tables, concepts: Sequence[Concept]) -> tuple[dict[str, Any], str]:
    """What is told of a model, and the block that carries it.

    Args:
        model: its slug.
        tables: `inputs.MODEL_TABLES` of this model alone, and `concepts`.
        concepts: the library's.

    Returns:
        The header, which is in the block too, and the block.

    Raises:
        InputError: nothing was drawn of the model yet.
    """
    known = tables["models"]
    if known.is_empty() or tables["localisations"].is_empty():
        raise InputError(f"There is no map of {model!r} to show: run it first (`vesalius run --model {model}`).")
    row = known.row(0, named=True)
    layers = int(row["layers"])
    pack = Pack()
    maps = maps_of(tables, layers)
    marked = [layer for part in maps["consensus"] for layer in _marked(part)]
    kept = detail_layers(layers, marked)
    header = {
        "model": model,
        "card": {name: row[name] for name in _CARD} | {"landed_at": row["landed_at"].isoformat(timespec="seconds")},
        "measured": _measured(tables),
        "settings": _settings(tables),
        "layers": layers,
        "details": kept,
        "maps": maps,
        "numbers": NUMBERS,
        "profiles": profiles_of(tables, layers, pack),
        "concepts": {concept.name: _concept(concept, tables, layers, kept, pack) for concept in concepts},
        "findings": _findings(tables["findings"]),
        "unmeasured": tables["unmeasured"].sort("table_name").select("table_name", "reason").rows(),
    }
    return header, pack.block(header)


def _marked(row: dict[str, Any]) -> list[int]:
    spans = [range(first, last + 1) for technique, first, last, _ in row["regions"] if technique == "all"]
    return [*row["planted"], *(layer for span in spans for layer in span)]


def _measured(tables: Tables) -> dict[str, Any]:
    """How much was measured, counted from the tables themselves."""
    prompt = ["concept", "template", "term"]
    pair = [*prompt, "corrupting_term"]
    kinds = tables["lesions"].select(
        pl.when(pl.col("part") == "layer")
        .then("lesion")
        .otherwise(pl.format("{} of {}", "lesion", "part"))
        .alias("kind")
    )
    sites = tables["patches"].select(pl.format("{} at {}", "site", "position").alias("kind"))
    return {
        "prompts": len(tables["tokens"]),
        "tokens": int(tables["tokens"]["tokens"].sum()),
        "lesioned": tables["lesions"].select(prompt).n_unique() if len(tables["lesions"]) else 0,
        "lesions": kinds["kind"].unique().sort().to_list(),
        "patched": tables["patches"].select(pair).n_unique() if len(tables["patches"]) else 0,
        "patches": sites["kind"].unique().sort().to_list(),
        "answers": len(tables["responses"]),
        "judges": tables["judgements"]["judge"].unique().sort().to_list(),
    }


def _settings(tables: Tables) -> dict[str, Any]:
    """How it was measured, as far as rows tell: where profiles were read, and how maps were made otherwise."""
    profiles, changes = tables["profiles"], tables["stability"].select("change", "repeat").unique()
    return {
        "kinds": profiles["template_kind"].unique().sort().to_list(),
        "positions": profiles["position"].unique().sort().to_list(),
        "terms": profiles["variant"].unique().sort().to_list(),
        "remade": changes["change"].value_counts().sort("count", "change", descending=[True, False]).rows(),
    }


def _concept(concept: Concept, tables: Tables, layers: int, kept: list[int], pack: Pack) -> dict[str, Any]:
    return {
        "tokens": details.token_counts_of(concept, tables, pack),
        "pictures": details.pictures_of(concept, tables, precision_of(layers), pack),
        "neighbours": details.neighbours_of(concept, tables, kept, precision_of(layers), pack),
        "effects": details.effects_of(concept, tables, kept, pack),
        "restored": details.restored_of(concept, tables, kept, pack),
        "answers": details.answers_of(concept, tables, kept, pack),
    }


def _findings(rows: pl.DataFrame) -> list[dict[str, Any]]:
    order = {"supported": 0, "refuted": 1, "undecided": 2}
    ranked = rows.with_columns(
        place=pl.col("verdict").replace_strict(order, return_dtype=pl.Int8), ours=pl.col("claimed_by") != "the paper"
    ).sort("ours", "place", "finding")
    return [
        {name: row[name] for name in _FINDING}
        | {name: None if row[name] is None else round(row[name], 4) for name in _ESTIMATE}
        for row in ranked.iter_rows(named=True)
    ]
