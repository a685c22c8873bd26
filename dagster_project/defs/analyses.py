"""What is measured on the activations: projections and profiles, a partition a model.

How it is measured is in `analyses`, which is imported only when there is something to do: it brings compilers along.
"""

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from dagster_project import fingerprints
from dagster_project.defs.partitions import MODELS
from dagster_project.defs.resources import Settings, Warehouse
from dagster_project.landing import RETRIES, Landing, Reports, contract_check, failing_clearly, land, upstream
from dagster_project.progress import Progress
from warehouse.store import Store
from warehouse.tables import table


@dg.asset(
    description=table("projections").doc,
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

    def fill(landing: Landing) -> None:
        for concept in warehouse.library(settings.concepts).names:
            keys = {"model": context.partition_key, "concept": concept}
            expected = projections_fingerprint(warehouse.store, settings, **keys)
            if not landing.is_current(expected, **keys):
                rows = _project(warehouse.store, settings, progress, **keys)
                landing.wrote(warehouse.store.write("projections", rows, fingerprint=expected, **keys))

    with failing_clearly():
        yield from land(warehouse.store, "projections", fill)


@dg.asset(
    description=table("profiles").doc,
    group_name="analyses",
    kinds={"numpy", "parquet"},
    deps=["activations", "projections", "prompts", "terms", "labels"],
    partitions_def=MODELS,
    check_specs=[contract_check("profiles")],
    retry_policy=RETRIES,
)
def profiles(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    settings: Settings,
    progress: dg.ResourceParam[Progress],
) -> Reports:
    """Measure every concept whose activations or projections changed."""

    def fill(landing: Landing) -> None:
        for concept in warehouse.library(settings.concepts).names:
            keys = {"model": context.partition_key, "concept": concept}
            inputs = _profile_inputs(warehouse.store, settings, **keys)
            expected = fingerprints.profiles(inputs, settings.seed, settings.resamples, settings.permutations)
            if not landing.is_current(expected, **keys):
                drawn = inputs["projections"] is not None
                rows = _profile(warehouse.store, settings, progress, drawn=drawn, **keys)
                landing.wrote(warehouse.store.write("profiles", rows, fingerprint=expected, **keys))

    with failing_clearly():
        yield from land(warehouse.store, "profiles", fill)


def projections_fingerprint(store: Store, settings: Settings, model: str, concept: str) -> str:
    """What the pictures of one model and concept would be made from now.

    Raises:
        InputError: activations, prompts or terms are not there.
    """
    return fingerprints.projections(
        activations=upstream(store, "activations", model=model, concept=concept),
        prompts=upstream(store, "prompts", concept=concept),
        terms=upstream(store, "terms", concept=concept),
        kind=_kind(store, concept),
        seed=settings.seed,
    )


def _kind(store: Store, concept: str) -> str:
    """Asking templates where the concept has any to draw, neutral ones otherwise; a picture never mixes them."""
    prompts = store.read("prompts", columns=["template_kind", "held_out"], concept=concept)
    seen = pc.and_(pc.equal(prompts["template_kind"], "asking"), pc.invert(prompts["held_out"]))
    return "asking" if pc.any(seen).as_py() else "neutral"


def _project(store: Store, settings: Settings, progress: Progress, model: str, concept: str) -> pa.Table:
    from analyses.projection import project

    with progress.stage(f"{model}, {concept}: UMAP", _layers(store, model), "layers") as advance:
        return project(
            store.layers("activations", model=model, concept=concept),
            store.read("prompts", concept=concept),
            store.read("terms", concept=concept),
            seed=settings.seed,
            template_kind=_kind(store, concept),
            progress=lambda _: advance(1),
        )


def _profile_inputs(store: Store, settings: Settings, model: str, concept: str) -> dict[str, str | None]:
    """The fingerprints of all that profiles are made from; projections count only while they are current."""
    inputs: dict[str, str | None] = {
        name: upstream(store, name, concept=concept) for name in ("prompts", "terms", "labels")
    }
    inputs["activations"] = upstream(store, "activations", model=model, concept=concept)
    drawn = projections_fingerprint(store, settings, model, concept)
    current = store.is_current("projections", drawn, model=model, concept=concept)
    inputs["projections"] = drawn if current else None
    return inputs


def _profile(
    store: Store, settings: Settings, progress: Progress, *, drawn: bool, model: str, concept: str
) -> pa.Table:
    from analyses.profiles import activation_profiles
    from analyses.projection import DIMENSIONS

    nothing = table("projections").schema(DIMENSIONS).empty_table()
    with progress.stage(f"{model}, {concept}: profiles", _layers(store, model), "layers") as advance:
        return activation_profiles(
            store.layers("activations", model=model, concept=concept),
            store.read("prompts", concept=concept),
            store.read("terms", concept=concept),
            store.read("labels", concept=concept),
            store.read("projections", model=model, concept=concept) if drawn else nothing,
            seed=settings.seed,
            resamples=settings.resamples,
            permutations=settings.permutations,
            progress=lambda _: advance(1),
        )


def _layers(store: Store, model: str) -> int:
    """Layers of the model, the embedding output counted in."""
    return int(store.read("models", columns=["layers"], model=model)["layers"][0].as_py()) + 1
