"""The code location with models run in a process of their own, started through Dagster's Pipes.

The assets, their checks and their partitions are those of `dagster_project`; only who runs the model is another. Load
it with `dg dev -m deploy.pipes`. Copied and given another client, the same asset starts a pod (`pipes_k8s`) or a job of
a cluster: what it needs there is the command, the warehouse and the models at the places that the environment names.
"""

import sys
from collections.abc import Iterator
from typing import Any

import dagster as dg

from dagster_project.definitions import build_defs
from dagster_project.defs.extraction import SPECS
from dagster_project.defs.partitions import MODELS
from dagster_project.defs.resources import Settings, Warehouse
from dagster_project.landing import contract_check


def command(context: dg.AssetExecutionContext, warehouse: Warehouse, settings: Settings, python: str) -> list[str]:
    """The plain command that fills the selected tables of the partition's model.

    Args:
        context: knows the partition and what is selected.
        warehouse, settings: as every asset has them.
        python: the interpreter there.
    """
    plan = settings.plan
    options: dict[str, object] = {
        "model": settings.model_folder or context.partition_key,
        "warehouse": warehouse.root,
        "concepts": warehouse.concepts,
        "only": ",".join(settings.concepts),
        "tables": ",".join(sorted(key.to_user_string() for key in context.selected_asset_keys)),
        "device": plan.device,
        "dtype": plan.dtype,
        "placement": plan.placement,
        "offload": plan.offload_folder,
        "token-budget": plan.token_budget,
        "seed": plan.seed,
        "lesions": ",".join(plan.lesions),
        "sites": ",".join(plan.sites),
        "sample": plan.sample,
        "held-out": plan.held_out,
        "answers": plan.answers,
        "new-tokens": plan.new_tokens,
        "memory": plan.memory,
    }
    words = [f"--{name}={value}" for name, value in options.items() if value is not None]
    words += ["--contributions"] if plan.contributions else []
    words += ["--even-if-it-may-not-fit"] if plan.even_if_it_may_not_fit else []
    return [python, "-m", "extract", "run", *words, "--json"]


@dg.multi_asset(
    name="extraction",
    specs=SPECS,
    check_specs=[contract_check(spec.key.to_user_string()) for spec in SPECS],
    partitions_def=MODELS,
    can_subset=True,
    pool="gpu",
)
def extraction_elsewhere(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    settings: Settings,
    pipes: dg.PipesSubprocessClient,
) -> Iterator[Any]:
    """Run the model in a process of its own, which reports to this run what it committed."""
    done = pipes.run(
        context=context,
        command=command(context, warehouse, settings, sys.executable),
        env=warehouse.environment,
    )
    yield from done.get_results()


defs = build_defs(extracted=extraction_elsewhere, resources={"pipes": dg.PipesSubprocessClient()})
