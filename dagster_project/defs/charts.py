"""Charts as assets, each with its picture: those of `chart_list` that are kept current, of all models and of each.

A model's own map is the map of all models drawn of that one. The pictures of `umap`, a chart a concept, are in `atlas`.
"""

import time
from dataclasses import replace

import dagster as dg

from dagster_project.chart_list import CHARTS, Chart, Subject
from dagster_project.defs.partitions import MODELS
from dagster_project.defs.resources import Warehouse
from dagster_project.gathering import fingerprints_of, gather, partitions_of
from dagster_project.landing import RETRIES, failing_clearly
from dagster_project.pictures import draw, is_current, picture_metadata
from warehouse import fingerprints
from warehouse.errors import InputError

KNOWLEDGE_MAP = "knowledge-map"
"""The file name of the consensus, without suffix: of all models, and in each model's folder of that one."""

ON_PAGE = {chart.asset: chart for chart in (CHARTS[name] for name in ("validity", "edits", "published"))}
"""Charts that say the same for all models, as the page of all maps shows them."""

_MODEL_MAP = replace(
    CHARTS[KNOWLEDGE_MAP],
    shows="The knowledge map of a model: concept x layer, by consensus.",
    scope="model",
    asset="model_map_chart",
)
_KEPT = [
    *(chart for chart in CHARTS.values() if chart.asset and chart.scope != "concept"),
    _MODEL_MAP,
]
FILES = {chart.asset: chart.name for chart in _KEPT}
"""The file name of each chart, without suffix, by its asset."""


def _chart_asset(chart: Chart) -> dg.AssetsDefinition:
    is_of_model = chart.scope == "model"

    @dg.asset(
        name=chart.asset,
        description=chart.shows,
        group_name="atlas",
        kinds={"altair"},
        deps=list(chart.reads),
        partitions_def=MODELS if is_of_model else None,
        retry_policy=RETRIES,
    )
    def drawn(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult[object]:
        """Draw the chart if what it shows changed; it says why where there is nothing to show."""
        with failing_clearly():
            started, model = time.monotonic(), context.partition_key if is_of_model else None
            partitions = {table: partitions_of(warehouse.store, table, model) for table in chart.reads}
            expected = fingerprints.chart(fingerprints_of(warehouse.store, partitions))
            stem = (warehouse.charts / model if model else warehouse.charts) / chart.name
            stale = not is_current(stem, expected)
            try:
                if stale:
                    tables = {table: gather(warehouse.store, table, found) for table, found in partitions.items()}
                    draw(stem, expected, chart.draw(tables, Subject(model or "")))
            except InputError as nothing:
                return dg.MaterializeResult(metadata={"charts": 0, "forwards": 0, "nothing_to_show": str(nothing)})
            metadata = picture_metadata({chart.asset: stem}, int(stale), expected, time.monotonic() - started)
            return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(expected))

    return drawn


OF_ALL = [_chart_asset(chart) for chart in _KEPT if chart.scope == "all"]
OF_MODEL = [_chart_asset(chart) for chart in _KEPT if chart.scope == "model"]
