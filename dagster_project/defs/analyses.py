"""What is concluded from the measurements: projections, neighbours and profiles, a partition a model.

How it is measured is in `analyses`, which is imported only when there is something to do: it brings compilers along.
"""

from collections.abc import Callable

import dagster as dg
import pyarrow as pa

from dagster_project.defs.partitions import MODELS
from dagster_project.defs.resources import Settings, Warehouse
from dagster_project.landing import (
    RETRIES,
    Landing,
    Reports,
    columns,
    contract_check,
    failing_clearly,
    land,
    land_together,
)
from dagster_project.profiling import (
    Profiling,
    drawn_kind,
    model_layers,
    neighbours_fingerprint,
    projections_fingerprint,
)
from extract.job.progress import Progress
from warehouse.tables import table


@dg.asset(
    description=table("projections").doc,
    metadata=columns("projections"),
    group_name="analyses",
    kinds={"umap", "parquet"},
    deps=["activations", "prompts", "terms"],
    partitions_def=MODELS,
    check_specs=[contract_check("projections")],
    retry_policy=RETRIES,
)
def projections(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    settings: Settings,
    progress: dg.ResourceParam[Progress],
) -> Reports:
    """Draw every concept whose activations changed."""

    def make(model: str, concept: str) -> pa.Table:
        return _project(warehouse, settings, progress, model, concept)

    def expected(model: str, concept: str) -> str:
        return projections_fingerprint(warehouse, settings, model, concept)

    with failing_clearly():
        fill = _each_concept(warehouse, settings, context.partition_key, expected, make)
        yield from land(warehouse.store, "projections", fill)


@dg.asset(
    description=table("neighbours").doc,
    metadata=columns("neighbours"),
    group_name="analyses",
    kinds={"numpy", "parquet"},
    deps=["activations", "prompts", "terms"],
    partitions_def=MODELS,
    check_specs=[contract_check("neighbours")],
    retry_policy=RETRIES,
)
def neighbours(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    settings: Settings,
    progress: dg.ResourceParam[Progress],
) -> Reports:
    """Find the nearest terms in every concept whose activations changed."""

    def make(model: str, concept: str) -> pa.Table:
        return _find_neighbours(warehouse, progress, model, concept)

    def expected(model: str, concept: str) -> str:
        return neighbours_fingerprint(warehouse, model, concept)

    with failing_clearly():
        fill = _each_concept(warehouse, settings, context.partition_key, expected, make)
        yield from land(warehouse.store, "neighbours", fill)


PROFILED = ("profiles", "profile_draws", "rivals", "jumps", "stage_circles")


@dg.multi_asset(
    name="profiled",
    specs=[
        dg.AssetSpec(
            name,
            description=table(name).doc,
            metadata=columns(name),
            group_name="analyses",
            kinds={"numpy", "parquet"},
            deps=[
                *("activations", "first_tokens", "lesions", "patches", "saliency", "projections"),
                *("tokens", "prompts", "terms", "labels"),
            ],
        )
        for name in PROFILED
    ],
    check_specs=[contract_check(name) for name in PROFILED],
    partitions_def=MODELS,
    retry_policy=RETRIES,
)
def profiled(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    settings: Settings,
    progress: dg.ResourceParam[Progress],
) -> Reports:
    """Measure every concept of which something changed; with others, what is read against controls."""
    with failing_clearly():
        work = Profiling(warehouse, settings, progress, context.partition_key)
        yield from land_together(warehouse.store, PROFILED, work.fill)


def _each_concept(
    warehouse: Warehouse,
    settings: Settings,
    model: str,
    expected: Callable[[str, str], str],
    make: Callable[[str, str], pa.Table],
) -> Callable[[Landing], None]:
    """What fills a table of one model: rows for the concepts that are not current, by what they are expected to be."""

    def fill(landing: Landing) -> None:
        for concept in warehouse.library(settings.concepts).names:
            keys = {"model": model, "concept": concept}
            fingerprint = expected(model, concept)
            if not landing.is_current(fingerprint, **keys):
                rows = make(model, concept)
                landing.wrote(warehouse.store.write(landing.name, rows, fingerprint=fingerprint, **keys))

    return fill


def _find_neighbours(warehouse: Warehouse, progress: Progress, model: str, concept: str) -> pa.Table:
    from analyses.neighbours import nearest_terms

    store = warehouse.store
    with progress.stage(f"{model}, {concept}: neighbours", model_layers(warehouse, model) + 1, "layers") as advance:
        return nearest_terms(
            store.layers("activations", model=model, concept=concept),
            store.read("prompts", concept=concept),
            store.read("terms", concept=concept),
            template_kind=drawn_kind(store, concept),
            progress=lambda _: advance(1),
        )


def _project(warehouse: Warehouse, settings: Settings, progress: Progress, model: str, concept: str) -> pa.Table:
    from analyses.projection import project

    store = warehouse.store
    with progress.stage(f"{model}, {concept}: UMAP", model_layers(warehouse, model) + 1, "layers") as advance:
        return project(
            store.layers("activations", model=model, concept=concept),
            store.read("prompts", concept=concept),
            store.read("terms", concept=concept),
            seed=settings.seed,
            template_kind=drawn_kind(store, concept),
            progress=lambda _: advance(1),
        )
