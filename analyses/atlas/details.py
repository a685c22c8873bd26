"""What the page tells of terms and prompts: pictures, neighbours, lesion and patch effects, answers under lesion.

Belongs here: what is kept by term or by prompt. Pictures are kept of every layer; what is dearer is kept of the detail
layers alone (`precision`). The page says which layer it shows.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analyses.atlas.library import Concept, Tables
from analyses.atlas.packing import Pack, Reference
from analyses.atlas.precision import Precision
from analyses.patch_profiles import LEAST_DIFFERENCE

LESION = "resample"
"""The lesion whose effects are told prompt by prompt: the one that finds planted layers."""

_POSITION = "last"
_KIND = "asking"


def pictures_of(concept: Concept, tables: Tables, precision: Precision, pack: Pack) -> dict[str, Any] | None:
    """UMAP pictures of a concept, of every layer, with how far each is to be trusted; None where there are none."""
    rows = _read_as_asked(tables["projections"].filter(pl.col("concept") == concept.name))
    if rows.is_empty():
        return None
    kind = _KIND if _KIND in set(rows["template_kind"]) else rows["template_kind"][0]
    rows = rows.filter(pl.col("template_kind") == kind)
    found = sorted(rows["layer"].unique())
    there = set(rows["term"])
    terms = [term for term in concept.terms if term in there]
    place = {term: number for number, term in enumerate(terms)}
    drawn = np.zeros((len(found), len(terms), 2))
    rows = rows.filter(pl.col("term").is_in(terms))
    at = (np.searchsorted(found, rows["layer"].to_numpy()), [place[term] for term in rows["term"]])
    drawn[at] = rows.select("x", "y").to_numpy()
    points, frame = pack.points(drawn, steps=precision.steps)
    by_layer = rows.group_by("layer").first().sort("layer")
    numbers = concept.term_numbers
    return {
        "kind": kind,
        "first": int(found[0]),
        "terms": None if terms == concept.terms else [numbers[term] for term in terms],
        "points": points,
        "frame": frame,
        "steps": precision.steps,
        "trust": [round(value, 3) for value in by_layer["trustworthiness"]],
        "continuity": [round(value, 3) for value in by_layer["continuity"]],
    }


def neighbours_of(
    concept: Concept, tables: Tables, layers: list[int], precision: Precision, pack: Pack
) -> dict[str, Any] | None:
    """Nearest terms in the original space at the detail layers: -1 where there is none.

    Terms as `layers x terms x ranks`: half of them are the same a layer later. Their cosines as `ranks x layers x
    terms`: each is little less than that of the rank before.
    """
    rows = tables["neighbours"].filter(pl.col("concept") == concept.name, pl.col("layer").is_in(layers))
    rows = _read_as_asked(rows)
    if rows.is_empty():
        return None
    kind = _KIND if _KIND in set(rows["template_kind"]) else rows["template_kind"][0]
    rows = rows.filter(pl.col("template_kind") == kind)
    numbers, place = concept.term_numbers, {layer: at for at, layer in enumerate(layers)}
    first = int(rows["rank"].min())  # type: ignore[arg-type]
    ranks = int(rows["rank"].max()) - first + 1  # type: ignore[arg-type]
    nearest = np.full((len(layers), len(concept.terms), ranks), -1, dtype=np.int64)
    near = np.full(nearest.shape, np.nan)
    at = (
        [place[layer] for layer in rows["layer"]],
        [numbers[term] for term in rows["term"]],
        (rows["rank"] - first).to_numpy(),
    )
    nearest[at] = [numbers[term] for term in rows["neighbour"]]
    near[at] = rows["similarity"].to_numpy()
    return {
        "kind": kind,
        "ranks": ranks,
        "terms": pack.integers(nearest, stride=nearest[0].size),
        "similarity": pack.decimals(near.transpose(2, 0, 1), most=precision.cosines, stride=near[..., 0].size),
    }


def effects_of(concept: Concept, tables: Tables, layers: list[int], pack: Pack) -> dict[str, Any] | None:
    """What the loss of a layer costs each asking prompt's answer, in nats; None where no lesion was run.

    Prompts of held-out templates are left out, as in profiles.
    """
    rows = tables["lesions"].filter(
        pl.col("concept") == concept.name,
        pl.col("lesion") == LESION,
        pl.col("part") == "layer",
        pl.col("layer").is_in(layers),
    )
    rows = _of_main_terms(_asked(rows, concept), concept)
    if rows.is_empty():
        return None
    keys = rows.select("template", "term").unique().sort("template", "term")
    place = {key: number for number, key in enumerate(keys.iter_rows())}
    under = np.full((len(layers), len(keys)), np.nan)
    at_layer = {layer: number for number, layer in enumerate(layers)}
    where = (
        [at_layer[layer] for layer in rows["layer"]],
        [place[key] for key in rows.select("template", "term").iter_rows()],
    )
    under[where] = rows["log_probability"].to_numpy()
    intact = np.full(len(keys), np.nan)
    intact[where[1]] = rows["intact_log_probability"].to_numpy()
    rank = np.zeros(len(keys), dtype=np.int64)
    rank[where[1]] = np.minimum(rows["intact_rank"].to_numpy(), 32_000)
    return {
        **_prompt_columns(keys, concept, pack),
        "lesion": LESION,
        "intact": pack.decimals(intact, most=3),
        "rank": pack.integers(rank),
        "under": pack.decimals(under, most=3),
    }


def restored_of(concept: Concept, tables: Tables, layers: list[int], pack: Pack) -> dict[str, Any] | None:
    """The three logit differences of each pair under patches at the last token; None where no patch was run."""
    rows = tables["patches"].filter(
        pl.col("concept") == concept.name,
        pl.col("site").is_in(["resid", "delta"]),
        pl.col("position") == _POSITION,
        pl.col("layer").is_in(layers),
    )
    rows = _of_main_terms(_asked(rows, concept), concept)
    rows = rows.filter(pl.col("corrupting_term").is_in(concept.terms))
    if rows.is_empty():
        return None
    names = ["template", "term", "corrupting_term"]
    keys = rows.select(names).unique().sort(names)
    place = {key: number for number, key in enumerate(keys.iter_rows())}
    at_layer = {layer: number for number, layer in enumerate(layers)}
    told: dict[str, Any] = _prompt_columns(keys, concept, pack)
    told["corrupting"] = pack.integers(_codes(keys["corrupting_term"], concept.term_numbers))
    runs = {}
    for name in ("clean", "corrupted"):
        runs[name] = np.full(len(keys), np.nan)
        runs[name][[place[key] for key in rows.select(names).iter_rows()]] = rows[f"ld_{name}"].to_numpy()
        told[name] = pack.decimals(runs[name], most=2)
    told["differs"] = pack.integers((runs["clean"] - runs["corrupted"] >= LEAST_DIFFERENCE).astype(np.int64))
    for site in sorted(set(rows["site"])):
        own = rows.filter(pl.col("site") == site)
        patched = np.full((len(layers), len(keys)), np.nan)
        patched[[at_layer[layer] for layer in own["layer"]], [place[key] for key in own.select(names).iter_rows()]] = (
            own["ld_patched"].to_numpy()
        )
        told[site] = pack.decimals(patched, most=2)
    return told


def answers_of(concept: Concept, tables: Tables, layers: list[int], pack: Pack) -> dict[str, Any] | None:
    """What the model wrote, intact and under lesion, and how a judge scored it; None where it wrote nothing."""
    rows = tables["responses"].filter(
        pl.col("concept") == concept.name, pl.col("layer").is_in([-1, *layers]), pl.col("term").is_in(concept.terms)
    )
    if rows.is_empty():
        return None
    keys = ["concept", "lesion", "layer", "template", "term"]
    judged = tables["judgements"].filter(pl.col("repeat") == 0).sort("judge").unique(keys, keep="first")
    judged = judged.select(*keys, "score", "reason", "judge")
    rows = rows.join(judged, on=keys, how="left").sort("lesion", "layer", "template", "term")
    texts = rows["response"].unique().sort().to_list()
    lesions = rows["lesion"].unique().sort().to_list()
    reasons = rows["reason"].drop_nulls().unique().sort().to_list()
    judges = rows["judge"].drop_nulls().unique().sort().to_list()
    return {
        **_prompt_columns(rows, concept, pack),
        "texts": texts,
        "lesions": lesions,
        "reasons": reasons,
        "judges": judges,
        "lesion": pack.integers(_codes(rows["lesion"], _places(lesions))),
        "layer": pack.integers(rows["layer"].to_numpy().astype(np.int64)),
        "text": pack.integers(_codes(rows["response"], _places(texts))),
        "chrf": pack.decimals(rows["chrf"].to_numpy(), most=1),
        "score": pack.decimals(rows["score"].cast(pl.Float64).fill_null(float("nan")).to_numpy(), most=1),
        "reason": pack.integers(_codes(rows["reason"], _places(reasons))),
    }


def token_counts_of(concept: Concept, tables: Tables, pack: Pack) -> Reference:
    """How many tokens each term takes: the most in any of its prompts; -1 where it has none."""
    rows = tables["tokens"].filter(pl.col("concept") == concept.name, pl.col("term").is_in(concept.terms))
    counts = np.full(len(concept.terms), -1, dtype=np.int64)
    most = rows.group_by("term").agg(pl.col("term_tokens").max())
    counts[_codes(most["term"], concept.term_numbers)] = most["term_tokens"].to_numpy()
    return pack.integers(counts)


def _read_as_asked(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("position") == _POSITION, pl.col("variant") == "")


def _of_main_terms(rows: pl.DataFrame, concept: Concept) -> pl.DataFrame:
    return rows.filter(pl.col("term").is_in(concept.terms))


def _asked(rows: pl.DataFrame, concept: Concept) -> pl.DataFrame:
    told = concept.told["templates"]
    read = [template["name"] for template in told if template["labelling"] is not None and not template["held_out"]]
    return rows.filter(pl.col("template").is_in(read))


def _prompt_columns(rows: pl.DataFrame, concept: Concept, pack: Pack) -> dict[str, Any]:
    return {
        "n": len(rows),
        "template": pack.integers(_codes(rows["template"], concept.template_numbers)),
        "term": pack.integers(_codes(rows["term"], concept.term_numbers)),
    }


def _codes(values: pl.Series, places: dict[str, int]) -> NDArray[np.int64]:
    return np.array([places.get(value, -1) for value in values], dtype=np.int64)


def _places(names: list[str]) -> dict[str, int]:
    return {name: place for place, name in enumerate(names)}
