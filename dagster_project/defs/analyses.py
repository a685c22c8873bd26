"""What is concluded from the measurements: projections and profiles, a partition a model.

How it is measured is in `analyses`, which is imported only when there is something to do: it brings compilers along.
"""

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
from dagster_project.profiling import Profiling, drawn_kind, model_layers, projections_fingerprint
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

    def fill(landing: Landing) -> None:
        for concept in warehouse.library(settings.concepts).names:
            keys = {"model": context.partition_key, "concept": concept}
            expected = projections_fingerprint(warehouse, settings, **keys)
            if not landing.is_current(expected, **keys):
                rows = _project(warehouse, settings, progress, **keys)
                landing.wrote(warehouse.store.write("projections", rows, fingerprint=expected, **keys))

    with failing_clearly():
        yield from land(warehouse.store, "projections", fill)


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
