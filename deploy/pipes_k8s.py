"""The code location with each model run in a pod of its own, on a node with a GPU; needs the extra `kubernetes`.

As `deploy/pipes.py`, with Dagster's client for Kubernetes in the place of the one for processes. Image, volume and node
pool have the names of `deploy/kubernetes`: change them there and here.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from dagster_k8s import PipesK8sClient

from dagster_project.definitions import build_defs
from dagster_project.defs.extraction import SPECS
from dagster_project.defs.partitions import MODELS
from dagster_project.defs.resources import Settings, Warehouse
from dagster_project.landing import contract_check
from deploy.pipes import command

IMAGE = "vesalius:cuda"
POD = {
    "nodeSelector": {"vesalius/pool": "gpu"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "vesalius-data"}}],
    "containers": [
        {
            "name": "extract",
            "resources": {"limits": {"nvidia.com/gpu": 1, "memory": "64Gi"}, "requests": {"cpu": "4"}},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        }
    ],
}


@dg.multi_asset(
    name="extraction",
    specs=SPECS,
    check_specs=[contract_check(spec.key.to_user_string()) for spec in SPECS],
    partitions_def=MODELS,
    can_subset=True,
    pool="gpu",
)
def extraction_in_a_pod(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    settings: Settings,
    pipes: dg.ResourceParam[PipesK8sClient],
) -> Iterator[Any]:
    """Run the model in a pod, which reports to this run what it committed."""
    done = pipes.run(
        context=context,
        image=IMAGE,
        command=command(context, warehouse, settings, "python"),
        env=warehouse.environment,
        base_pod_spec=POD,
    )
    yield from done.get_results()


defs = build_defs(extracted=extraction_in_a_pod, resources={"pipes": PipesK8sClient()})
