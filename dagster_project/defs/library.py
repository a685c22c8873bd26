"""The concept library in the warehouse: terms and their frequencies, labels, prompts, pairs; one file a concept."""

import dagster as dg

from dagster_project.defs.resources import Settings, Warehouse
from dagster_project.landing import RETRIES, Landing, Reports, columns, contract_check, failing_clearly, land
from extract.job.extracting import write_concept
from warehouse.tables import STAGES, table

TABLES = [entry.name for entry in STAGES["library"]]
_DEPENDS = {
    "terms": ["concepts"],
    "frequencies": ["terms"],
    "labels": ["terms"],
    "prompts": ["terms"],
    "pairs": ["prompts", "labels"],
}


@dg.multi_asset(
    name="library",
    specs=[
        dg.AssetSpec(
            name,
            description=table(name).doc,
            metadata=columns(name),
            group_name="library",
            kinds={"python", "parquet"},
            deps=_DEPENDS.get(name, []),
        )
        for name in TABLES
    ],
    check_specs=[contract_check(name) for name in TABLES],
    can_subset=True,
    retry_policy=RETRIES,
)
def library(context: dg.AssetExecutionContext, warehouse: Warehouse, settings: Settings) -> Reports:
    """Write the tables of every concept whose files changed."""
    with failing_clearly():
        chosen = warehouse.sound_library(settings.concepts)

        def fill(landing: Landing) -> None:
            for concept in chosen.concepts:
                write_concept(landing, concept)

        for name in TABLES:
            if dg.AssetKey(name) in context.selected_asset_keys:
                yield from land(warehouse.store, name, fill)
