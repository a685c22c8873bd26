"""What the warehouse holds on a model, for `analyses.recommendation`: tables of all its concepts put together."""

from typing import TYPE_CHECKING

import polars as pl

from dagster_project.gathering import gather, partitions_of
from warehouse.errors import InputError
from warehouse.store import Store

if TYPE_CHECKING:
    from analyses.recommendation import Evidence


def read_evidence(store: Store, model: str) -> "Evidence":
    """The maps of a model and what they are judged by.

    Raises:
        InputError: the model is not in the warehouse.
    """
    from analyses.recommendation import Evidence

    landed = sorted(keys["model"] for keys in store.partitions("models"))
    if model not in landed:
        raise InputError(
            f"{model!r} is not in the warehouse {store.root}; there are: {', '.join(landed) or 'no models'}. "
            f"`vesalius run --model {model}` measures it."
        )
    layers = int(store.read("models", model=model)["layers"][0].as_py())
    roles = {
        keys["concept"]: str(store.read("concepts", columns=None, **keys)["role"][0].as_py())
        for keys in store.partitions("concepts")
    }
    localisations, knowledge_map, marks, profiles = (
        pl.DataFrame(gather(store, name, partitions_of(store, name, model))).drop("model")
        for name in ("localisations", "knowledge_map", "marks", "profiles")
    )
    return Evidence(model, layers, localisations, knowledge_map, marks, profiles, roles)
