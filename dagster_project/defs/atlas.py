"""What people look at: UMAP pictures of each model, and the catalog for SQL. The other charts are in `charts`."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from dagster_project.chart_list import CHARTS, Subject
from dagster_project.defs.analyses import PROFILED
from dagster_project.defs.maps import TABLES as MAPPED
from dagster_project.defs.partitions import MODELS
from dagster_project.defs.resources import Settings, Warehouse
from dagster_project.gathering import gather
from dagster_project.landing import RETRIES, failing_clearly
from dagster_project.pictures import draw, is_current, picture_metadata
from extract.job.extracting import TABLES as EXTRACTED
from extract.job.progress import Progress
from extract.job.tally import upstream
from extract.library import Concept
from warehouse import fingerprints
from warehouse.catalog import build_catalog
from warehouse.store import Store
from warehouse.tables import STAGES, TABLES

if TYPE_CHECKING:
    import altair as alt


@dg.asset(
    description="UMAP small multiples: for each concept its pictures layer by layer, coloured by its first labelling.",
    group_name="atlas",
    kinds={"altair"},
    deps=["projections", "labels"],
    partitions_def=MODELS,
    retry_policy=RETRIES,
)
def umap_pictures(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    settings: Settings,
    progress: dg.ResourceParam[Progress],
) -> Iterator[dg.MaterializeResult[object]]:
    """Draw the pictures of every concept whose projections changed."""
    with failing_clearly():
        started, model, folder = time.monotonic(), context.partition_key, warehouse.charts / context.partition_key
        concepts = [concept for concept in warehouse.library(settings.concepts).concepts if concept.labellings]
        shown = {concept.name: _shown(warehouse.store, model, concept) for concept in concepts}
        stems = {name: folder / f"umap-{name}" for name in shown}
        stale = [name for name in shown if not is_current(stems[name], fingerprints.chart(shown[name]))]
        if stale:
            with progress.stage(f"{model}: pictures", len(stale), "pictures") as advance:
                for name in stale:
                    chart = _small_multiples(warehouse.store, model, name, shown[name]["labelling"])
                    draw(stems[name], fingerprints.chart(shown[name]), chart)
                    advance(1)
        expected = fingerprints.chart({name: fingerprints.chart(inputs) for name, inputs in shown.items()})
        metadata = picture_metadata(stems, len(stale), expected, time.monotonic() - started)
        yield dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(expected))


@dg.asset(
    description="catalog.duckdb: every table as a view with comments, and the views and macros of sql/views.",
    group_name="atlas",
    kinds={"duckdb", "sql"},
    deps=[
        *(entry.name for entry in STAGES["library"]),
        *EXTRACTED,
        "projections",
        "neighbours",
        *PROFILED,
        *MAPPED,
        "findings",
    ],
    retry_policy=RETRIES,
)
def catalog(warehouse: Warehouse) -> Iterator[dg.MaterializeResult[object]]:
    """Build the catalog anew: it takes a moment and holds no data."""
    with failing_clearly():
        started = time.monotonic()
        path = build_catalog(warehouse.place)
        yield dg.MaterializeResult(
            metadata={
                "path": dg.MetadataValue.path(str(path)),
                "tables": len(TABLES),
                "bytes": path.stat().st_size,
                "seconds": round(time.monotonic() - started, 3),
                "forwards": 0,
            }
        )


def _shown(store: Store, model: str, concept: Concept) -> dict[str, str]:
    """What the picture of a concept shows: fingerprints, and the labelling that it is coloured by."""
    return {
        "projections": upstream(store, "projections", model=model, concept=concept.name),
        "labels": upstream(store, "labels", concept=concept.name),
        "labelling": (concept.asked or concept.labellings)[0].name,
    }


def _small_multiples(store: Store, model: str, concept: str, labelling: str) -> "alt.TopLevelMixin":
    keys = {"projections": {"model": model, "concept": concept}, "labels": {"concept": concept}}
    tables = {name: gather(store, name, [own]) for name, own in keys.items()}
    return CHARTS["umap"].draw(tables, Subject(model, concept, labelling))
