"""What is concluded from the measurements: projections, neighbours and profiles, a partition a model.

How it is measured is in `analyses`, which is imported only when there is something to do: it brings compilers along.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

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
from dagster_project.projecting import project_concepts
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
    model = context.partition_key
    expected = partial(projections_fingerprint, warehouse, settings, model)

    def make(concepts: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
        layers = model_layers(warehouse, model) + 1
        return project_concepts(warehouse.store, model, concepts, layers=layers, seed=settings.seed, progress=progress)

    yield from _each_concept("projections", model, warehouse, settings, expected=expected, make=make)


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
    expected = partial(neighbours_fingerprint, warehouse, context.partition_key)
    find = partial(_find_neighbours, warehouse, progress, context.partition_key)

    def make(concepts: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
        return ((concept, find(concept)) for concept in concepts)

    yield from _each_concept("neighbours", context.partition_key, warehouse, settings, expected=expected, make=make)


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
                *("tokens", "prompts", "terms", "frequencies", "labels"),
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
    name: str,
    model: str,
    warehouse: Warehouse,
    settings: Settings,
    *,
    expected: Callable[[str], str],
    make: Callable[[Sequence[str]], Iterable[tuple[str, pa.Table]]],
) -> Reports:
    """Land a table of one model: for each concept that is not what it is expected to be, the rows made of it."""

    def fill(landing: Landing) -> None:
        fingerprints = {concept: expected(concept) for concept in warehouse.library(settings.concepts).names}
        stale = [
            concept
            for concept, fingerprint in fingerprints.items()
            if not landing.is_current(fingerprint, model=model, concept=concept)
        ]
        for concept, rows in make(stale):
            fingerprint = fingerprints[concept]
            landing.wrote(warehouse.store.write(name, rows, fingerprint=fingerprint, model=model, concept=concept))

    with failing_clearly():
        yield from land(warehouse.store, name, fill)


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
