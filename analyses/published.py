"""Table 1 of the paper, and a run of ours beside it: same metric, best layer, how deep that lies.

The figures are data (`published.csv`). The same join in SQL is `sql/analyses/published-beside-run.sql`; the chart is in
`finding_charts`. The paper takes silhouettes and R² in the space of UMAP; ours are given there and in the original one.
"""

import csv
from pathlib import Path

import polars as pl
import pyarrow as pa

from analyses.rows import Rows, frame
from warehouse.errors import InputError
from warehouse.tables import table

PUBLISHED_FILE = Path(__file__).with_name("published.csv")

COUNTERPARTS = (
    ("age", "R² linearity", "years", "r2_umap"),
    ("age", "R² linearity", "years", "r2_ridge"),
    ("symptoms", "silhouette", "system", "silhouette_umap"),
    ("symptoms", "silhouette", "system", "silhouette_cosine"),
    ("diseases", "silhouette", "category", "silhouette_umap"),
    ("diseases", "silhouette", "category", "silhouette_cosine"),
    ("drugs", "silhouette, mechanism", "mechanism", "silhouette_umap"),
    ("drugs", "silhouette, mechanism", "mechanism", "silhouette_cosine"),
    ("drugs", "silhouette, specialty", "specialty", "silhouette_umap"),
    ("drugs", "silhouette, specialty", "specialty", "silhouette_cosine"),
    ("dosage", "patching P", "verdict", "resid_restored"),
)
"""Concept and metric as the paper names them, and our labelling and metric: the paper's own space first."""

_RUN = ("run_metric", "model", "run_value", "run_low", "run_high", "run_layer", "run_depth")


def published_table(path: Path = PUBLISHED_FILE) -> pa.Table:
    """The rows of `published`, sorted by key.

    Raises:
        InputError: the file can't be read as such rows.
    """
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            rows = [_row(line) for line in csv.DictReader(lines)]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} can't be read as published figures ({error}): put the project's own file back."
        ) from error
    entry = table("published")
    found = pa.Table.from_pylist(rows, schema=entry.schema())
    return found.sort_by([(column.name, "ascending") for column in entry.keys])


def beside_published(published: Rows, profiles: Rows, models: Rows, *, template_kind: str = "asking") -> pl.DataFrame:
    """Each published figure with the best layer of each run, for each metric that is its counterpart.

    Args:
        published: rows of `published`.
        profiles: rows of `profiles` with `model` and `concept`; last token, main terms, layers from 0 up are read.
        models: rows of `models` with `model`.
        template_kind: which prompts.

    Returns:
        The columns of `published`, then `run_metric`, `model`, `run_value` with `run_low` and `run_high`, `run_layer`
        and `run_depth` (the layer over the last one).
    """
    names = ["concept", "metric", "labelling", "run_metric"]
    counterparts = pl.DataFrame(COUNTERPARTS, schema=names, orient="row")
    keys = ["model", "concept", "labelling", "run_metric"]
    best = (
        frame(profiles)
        .filter(pl.col("layer") >= 0, template_kind=template_kind, position="last", variant="")
        .rename({"metric": "run_metric"})
        .join(counterparts.select("concept", "labelling", "run_metric"), on=keys[1:], how="semi")
        .sort("value", "layer", descending=[True, False])
        .unique(keys, keep="first", maintain_order=True)
        .join(_trained(frame(models)), on="model")
        .with_columns(run_depth=pl.col("layer") / (pl.col("layers") - 1).replace(0, None))
        .rename({"value": "run_value", "low": "run_low", "high": "run_high", "layer": "run_layer"})
    )
    columns = [column.name for column in table("published").columns]
    return (
        frame(published)
        .join(counterparts, on=names[:2])
        .join(best, on=keys[1:])
        .select(*columns, *_RUN)
        .sort("concept", "metric", "published_model", "model", "run_metric")
    )


def _trained(models: pl.DataFrame) -> pl.DataFrame:
    """Layers of each model; untrained twins are left out."""
    twins = "untrained_of" in models.columns
    return (models.filter(pl.col("untrained_of").is_null()) if twins else models).select("model", "layers")


def _row(line: dict[str, str]) -> dict[str, object]:
    layers, layer = int(line["layers"]), int(line["layer"])
    if not 0 <= layer < layers:
        raise ValueError(f"layer {layer} of {layers}")
    keys = {name: line[name] for name in ("concept", "metric", "published_model")}
    return {**keys, "value": float(line["value"]), "layer": layer, "depth": layer / (layers - 1)}
