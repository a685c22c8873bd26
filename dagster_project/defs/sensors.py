"""Sensors: `new_models` makes a partition of every registered model, so that the UI can launch it."""

import dagster as dg

from dagster_project.defs.partitions import MODELS
from dagster_project.defs.resources import Warehouse


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Makes a partition of every model in models.toml. Requests no run.",
)
def new_models(context: dg.SensorEvaluationContext, warehouse: Warehouse) -> dg.SensorResult | dg.SkipReason:
    """Ask for the partitions that are missing."""
    assert MODELS.name is not None
    known = set(context.instance.get_dynamic_partitions(MODELS.name))
    missing = sorted(set(warehouse.registry()) - known)
    if not missing:
        return dg.SkipReason("Every registered model has its partition.")
    return dg.SensorResult(dynamic_partitions_requests=[MODELS.build_add_request(missing)])
