"""The one partition definition, `models`: a partition is a model, known by its slug.

Keys are added to an instance by the commands (`run`, `add`, `models`, `ui`) and, when a model lands, by the sensor
`new_models`.
"""

from collections.abc import Iterable

import dagster as dg

MODELS = dg.DynamicPartitionsDefinition(name="models")


def register_models(instance: dg.DagsterInstance, slugs: Iterable[str]) -> None:
    """Make sure that the instance has a partition for each model."""
    assert MODELS.name is not None
    known = set(instance.get_dynamic_partitions(MODELS.name))
    missing = [slug for slug in slugs if slug not in known]
    if missing:
        instance.add_dynamic_partitions(MODELS.name, missing)
