"""What the warehouse holds on a model, for `analyses.recommendation`: tables of all its concepts put together."""

from typing import TYPE_CHECKING

import polars as pl

from warehouse.errors import InputError
from warehouse.store import Store
from warehouse.tables import table

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
        keys["concept"]: str(store.read("concepts", **keys)["role"][0].as_py()) for keys in store.partitions("concepts")
    }
    names = ("localisations", "knowledge_map", "marks", "profiles")
    return Evidence(model, layers, *(_all_concepts(store, name, model) for name in names), roles)


def _all_concepts(store: Store, name: str, model: str) -> pl.DataFrame:
    """A table's rows of one model, with the column `concept` in front."""
    parts = [pl.DataFrame(schema={"concept": pl.String}).join(_empty(name), how="cross")]
    for keys in store.partitions(name):
        if keys["model"] == model:
            rows = pl.DataFrame(pl.from_arrow(store.read(name, **keys)))
            parts.append(rows.select(pl.lit(keys["concept"]).alias("concept"), pl.all()))
    return pl.concat(parts, how="diagonal_relaxed")


def _empty(name: str) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(table(name).schema().empty_table()))
