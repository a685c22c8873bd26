"""What a model makes of the prompts: what it is, how it splits them, what its layers do. A partition a model.

One step fills all these tables, because they share the model in memory: it is loaded once a run, and only if something
is to be done. The work itself is in `extract.job` and in `extract`.
"""

import dagster as dg

from dagster_project.defs.partitions import MODELS
from dagster_project.defs.resources import Settings, Warehouse
from dagster_project.landing import RETRIES, Reports, columns, contract_check, failing_clearly, land, land_together
from extract.job.extracting import TABLES
from extract.job.material import Material
from extract.job.measuring import SWEPT, Measuring
from extract.job.progress import Progress
from warehouse.tables import table

_PROMPTS = ["models", "prompts", "terms", "labels"]
_DEPENDS = {
    "models": [],
    "plants": ["models"],
    "unmeasured": ["models"],
    "tokens": ["models", "prompts"],
    "pair_tokens": ["tokens", "pairs"],
    "activations": ["tokens", "prompts"],
    "first_tokens": ["tokens", "prompts"],
    "contributions": ["tokens", "prompts"],
    "lesions": ["tokens", *_PROMPTS],
    "patches": ["pair_tokens", *_PROMPTS],
    "saliency": ["pair_tokens", *_PROMPTS],
    "responses": ["tokens", *_PROMPTS],
}
_WITHOUT_TORCH = {"models", "plants", "unmeasured"}


SPECS = [
    dg.AssetSpec(
        name,
        description=table(name).doc,
        metadata=columns(name),
        group_name="extraction",
        kinds={"python", "parquet"} if name in _WITHOUT_TORCH else {"torch", "huggingface", "parquet"},
        deps=depends,
    )
    for name, depends in _DEPENDS.items()
]


@dg.multi_asset(
    name="extraction",
    specs=SPECS,
    check_specs=[contract_check(name) for name in TABLES],
    partitions_def=MODELS,
    can_subset=True,
    pool="gpu",
    retry_policy=RETRIES,
)
def extraction(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    settings: Settings,
    progress: dg.ResourceParam[Progress],
) -> Reports:
    """Run the model over all prompts that it has not seen, and do to it what was not done yet."""
    with failing_clearly():
        entry = warehouse.model(context.partition_key, settings.model_folder)
        offloaded = warehouse.offload_folder(entry.slug, settings.offload_folder)
        material = Material(warehouse.store, entry, settings.plan, offloaded)
        work = Measuring(material, warehouse.library(settings.concepts).names, progress)
        chosen = [name for name in TABLES if dg.AssetKey(name) in context.selected_asset_keys]
        swept = [name for name in chosen if name in SWEPT]
        for name in chosen:
            if name not in swept:
                yield from land(warehouse.store, name, getattr(work, name))
            elif name == swept[0]:
                yield from land_together(warehouse.store, swept, work.sweep)
