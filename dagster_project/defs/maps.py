"""What is concluded of each model: the maps of every concept, how they hold, and the findings.

How a map is drawn, and a claim put to the test, is in `analyses`; what that is done with is gathered here from the
warehouse alone.
"""

import dagster as dg
import pyarrow as pa

from dagster_project.defs.partitions import MODELS
from dagster_project.defs.resources import Settings, Warehouse
from dagster_project.gathering import fingerprints_of, gather, partitions_of
from dagster_project.landing import (
    RETRIES,
    Landing,
    Reports,
    columns,
    contract_check,
    failing_clearly,
    land,
    land_together,
    refill,
)
from dagster_project.profiling import Profiling, measured_concept, model_layers
from dagster_project.progress import LogProgress
from extract.job.progress import Progress
from extract.job.tally import upstream
from warehouse import fingerprints
from warehouse.tables import table
from warehouse.versions import file_hash

TABLES = ("marks", "regions", "knowledge_map", "localisations", "stability")


@dg.multi_asset(
    name="mapped",
    specs=[
        dg.AssetSpec(
            name,
            description=table(name).doc,
            metadata=columns(name),
            group_name="maps",
            kinds={"numpy", "parquet"},
            deps=["profiles", "profile_draws", "lesions", "patches", "saliency", "prompts", "terms", "models"],
        )
        for name in TABLES
    ],
    check_specs=[contract_check(name) for name in TABLES],
    partitions_def=MODELS,
    retry_policy=RETRIES,
)
def mapped(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    settings: Settings,
    progress: dg.ResourceParam[Progress],
) -> Reports:
    """Draw the maps of every concept whose profiles changed."""
    model = context.partition_key

    def fill(landings: dict[str, Landing]) -> None:
        concepts = warehouse.library(settings.concepts).names
        with progress.stage(f"{model}: maps", len(concepts), "concepts") as advance:
            for concept in concepts:
                expected = {name: map_fingerprint(warehouse, name, model, concept) for name in landings}
                refill(
                    landings,
                    expected,
                    lambda concept=concept: _map(warehouse, settings, model, concept),  # type: ignore[misc]
                    model=model,
                    concept=concept,
                )
                advance(1)

    with failing_clearly():
        yield from land_together(warehouse.store, TABLES, fill)


@dg.asset(
    description=table("findings").doc,
    metadata=columns("findings"),
    group_name="maps",
    kinds={"numpy", "parquet"},
    deps=[*TABLES, "profiles", "rivals", "jumps", "stage_circles", "models", "concepts"],
    partitions_def=MODELS,
    check_specs=[contract_check("findings")],
    retry_policy=RETRIES,
)
def findings(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Reports:
    """Put every claim to the test, if anything that claims read has changed."""
    store, model = warehouse.store, context.partition_key

    def fill(landing: Landing) -> None:
        from analyses.findings import READ_OF_ALL, READ_OF_MODEL
        from analyses.findings import findings as judge

        read = {name: partitions_of(store, name) for name in READ_OF_ALL}
        read |= {name: partitions_of(store, name, model) for name in READ_OF_MODEL}
        expected = fingerprints.findings(fingerprints_of(store, read))
        if not landing.is_current(expected, model=model):
            tables = {name: gather(store, name, partitions) for name, partitions in read.items()}
            landing.wrote(store.write("findings", judge(model, tables), fingerprint=expected, model=model))

    with failing_clearly():
        yield from land(store, "findings", fill)


def map_fingerprint(warehouse: Warehouse, name: str, model: str, concept: str) -> str:
    """What a map of one model and concept would be made from now.

    Raises:
        InputError: profiles or prompts are not there.
    """
    from analyses.contrasts import CONTRASTS_FILE

    store = warehouse.store
    inputs: dict[str, str | None] = {
        made: upstream(store, made, model=model, concept=concept) for made in ("profiles", "profile_draws")
    }
    inputs["prompts"] = upstream(store, "prompts", concept=concept)
    footer = store.footer("lesions", model=model, concept=concept)
    inputs["lesions"] = footer.fingerprint if footer else None
    return fingerprints.maps(name, inputs, file_hash(CONTRASTS_FILE))


def _map(warehouse: Warehouse, settings: Settings, model: str, concept: str) -> dict[str, pa.Table]:
    from analyses.concept_map import evidence, map_concept
    from analyses.contrasts import best_contrasts, contrasts
    from analyses.stability import Material, agreement, other_maps, stability_table

    store = warehouse.store
    work = Profiling(warehouse, settings, LogProgress(), model)
    lesions, saliency = (tuple(work.measured_with_controls(name, concept)) for name in ("lesions", "saliency"))
    prompts, terms, labels = (store.read(name, concept=concept) for name in ("prompts", "terms", "labels"))
    found = evidence(
        concept,
        model_layers(warehouse, model),
        store.read("profile_draws", model=model, concept=concept),
        prompts,
        lesions[0] if lesions else None,
    )
    patches = measured_concept(warehouse, "patches", model, concept)
    material = Material(prompts, terms, labels, lesions, saliency, patches)
    validated = contrasts()
    activations = store.layers("activations", model=model, concept=concept)
    others = other_maps(found, material, activations, validated, seed=settings.seed)
    agreed = agreement(found.maps(best_contrasts(validated)), others)
    made = map_concept(found, store.read("profiles", model=model, concept=concept), agreement=agreed)
    return made | {"stability": stability_table(others)}
