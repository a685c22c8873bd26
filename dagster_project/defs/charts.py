"""Charts of what is concluded, each an asset with its picture: the maps of all models, validity, the paper's table, and
for each model its map, its findings and how stable its maps are.

What a chart looks like is in `analyses`; which tables it shows is said here. The older charts are in `atlas`.
"""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import dagster as dg
import pyarrow as pa

from dagster_project.defs.partitions import MODELS
from dagster_project.defs.resources import Warehouse
from dagster_project.gathering import fingerprints_of, gather, partitions_of
from dagster_project.landing import RETRIES, failing_clearly
from dagster_project.pictures import draw, is_current, picture_metadata
from warehouse import fingerprints
from warehouse.errors import InputError

if TYPE_CHECKING:
    import altair as alt

Tables = Mapping[str, pa.Table]
Chart = tuple[str, tuple[str, ...], Callable[[Tables], "alt.TopLevelMixin"]]
"""What a chart shows in words, the tables that it reads, and what draws it."""

KNOWLEDGE_MAP = "knowledge-map"
"""The file name of the consensus, without suffix: of all models, and in each model's folder of that one."""


def _consensus(tables: Tables) -> "alt.TopLevelMixin":
    return _map(tables, "consensus")


def _paper(tables: Tables) -> "alt.TopLevelMixin":
    return _map(tables, "paper")


def _map(tables: Tables, mode: str) -> "alt.TopLevelMixin":
    from analyses.map_charts import knowledge_map_chart

    return knowledge_map_chart(*(tables[name] for name in _MAPPED), mode=mode)


def _validity(tables: Tables) -> "alt.TopLevelMixin":
    from analyses.validity_charts import validity_chart

    return validity_chart(tables["validation"])


def _edits(tables: Tables) -> "alt.TopLevelMixin":
    from analyses.edit_charts import closed_loop_chart

    return closed_loop_chart(tables["edits"])


def _published(tables: Tables) -> "alt.TopLevelMixin":
    from analyses.finding_charts import published_chart
    from analyses.published import beside_published

    return published_chart(beside_published(tables["published"], tables["profiles"], tables["models"]))


def _findings(tables: Tables) -> "alt.TopLevelMixin":
    from analyses.finding_charts import findings_chart

    return findings_chart(tables["findings"])


def _stability(tables: Tables) -> "alt.TopLevelMixin":
    from analyses.mark_charts import stability_chart

    return stability_chart(tables["stability"], tables["knowledge_map"], tables["concepts"])


_MAPPED = ("knowledge_map", "localisations", "regions", "plants", "concepts")
_OF_ALL: dict[str, Chart] = {
    "knowledge_map_chart": ("The knowledge map of all models: concept x layer, by consensus.", _MAPPED, _consensus),
    "paper_map_chart": ("The same by the paper's rules.", _MAPPED, _paper),
    "validity_chart": ("How well each technique finds planted knowledge.", ("validation",), _validity),
    "edits_chart": ("What training the layers of a map did, beside other layers.", ("edits",), _edits),
    "published_chart": (
        "Runs beside the paper's Table 1.",
        ("published", "profiles", "models"),
        _published,
    ),
}
ON_PAGE = {name: _OF_ALL[name] for name in ("validity_chart", "edits_chart", "published_chart")}
"""Charts that say the same for all models, as the page of all maps shows them."""

_OF_MODEL: dict[str, Chart] = {
    "model_map_chart": ("The knowledge map of a model: concept x layer, by consensus.", _MAPPED, _consensus),
    "findings_chart": ("Every claim about a model with its estimate and verdict.", ("findings",), _findings),
    "stability_chart": (
        "How far a model's maps hold when they are made otherwise.",
        ("stability", "knowledge_map", "concepts"),
        _stability,
    ),
}
FILES = {"knowledge_map_chart": KNOWLEDGE_MAP, "paper_map_chart": "paper-map", "validity_chart": "validity"}
FILES |= {
    "edits_chart": "edits",
    "published_chart": "published",
    "findings_chart": "findings",
    "stability_chart": "stability",
    "model_map_chart": KNOWLEDGE_MAP,
}
"""The file name of each chart, without suffix."""


def _chart_asset(name: str, *, is_of_model: bool) -> dg.AssetsDefinition:
    description, reads, chart = (_OF_MODEL if is_of_model else _OF_ALL)[name]

    @dg.asset(
        name=name,
        description=description,
        group_name="atlas",
        kinds={"altair"},
        deps=list(reads),
        partitions_def=MODELS if is_of_model else None,
        retry_policy=RETRIES,
    )
    def drawn(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult[object]:
        """Draw the chart if what it shows changed; it says why where there is nothing to show."""
        with failing_clearly():
            started, model = time.monotonic(), context.partition_key if is_of_model else None
            partitions = {table: partitions_of(warehouse.store, table, model) for table in reads}
            expected = fingerprints.chart(fingerprints_of(warehouse.store, partitions))
            stem = (warehouse.charts / model if model else warehouse.charts) / FILES[name]
            stale = not is_current(stem, expected)
            try:
                if stale:
                    tables = {table: gather(warehouse.store, table, found) for table, found in partitions.items()}
                    draw(stem, expected, chart(tables))
            except InputError as nothing:
                return dg.MaterializeResult(metadata={"charts": 0, "forwards": 0, "nothing_to_show": str(nothing)})
            metadata = picture_metadata({name: stem}, int(stale), expected, time.monotonic() - started)
            return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(expected))

    return drawn


OF_ALL = [_chart_asset(name, is_of_model=False) for name in _OF_ALL]
OF_MODEL = [_chart_asset(name, is_of_model=True) for name in _OF_MODEL]
