"""What is concluded from the measurements: projections and profiles, a partition a model.

How it is measured is in `analyses`, which is imported only when there is something to do: it brings compilers along.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from analyses.effects import MeasuredConcept


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
    deps=["activations", "lesions", "patches", "saliency", "projections", "prompts", "terms", "labels"],
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
    """Measure every concept of which something changed; with others, what is read against controls."""

    def fill(landing: Landing) -> None:
        for concept in warehouse.library(settings.concepts).names:
            keys = {"model": context.partition_key, "concept": concept}
            inputs = profile_inputs(warehouse, settings, **keys)
            expected = fingerprints.profiles(inputs, settings.seed, settings.resamples, settings.permutations)
            if not landing.is_current(expected, **keys):
                drawn = inputs["projections"] is not None
                rows = _profile(warehouse, settings, progress, drawn=drawn, **keys)
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


def profile_inputs(warehouse: Warehouse, settings: Settings, model: str, concept: str) -> dict[str, str | None]:
    """The fingerprints of all that profiles are made from; projections count only while they are current.

    What lesions and gradients do is read against the control concepts, so theirs count too.
    """
    store = warehouse.store
    inputs: dict[str, str | None] = {
        name: upstream(store, name, concept=concept) for name in ("prompts", "terms", "labels")
    }
    inputs["activations"] = upstream(store, "activations", model=model, concept=concept)
    drawn = projections_fingerprint(store, settings, model, concept)
    current = store.is_current("projections", drawn, model=model, concept=concept)
    inputs["projections"] = drawn if current else None
    for name in _EFFECTS:
        for each in [concept, *_controls(warehouse, name, model, concept)]:
            footer = store.footer(name, model=model, concept=each)
            inputs[f"{name} of {each}"] = footer.fingerprint if footer else None
    return inputs


_EFFECTS = ("lesions", "patches", "saliency")


def _controls(warehouse: Warehouse, name: str, model: str, concept: str) -> list[str]:
    """The control concepts that a concept is read against: all that the same weights were measured on."""
    footers = {
        each.name: warehouse.store.footer(name, model=model, concept=each.name)
        for each in warehouse.library([]).concepts
        if each.role == "control" or each.name == concept
    }
    own = footers.pop(concept, None)
    return [each for each, footer in footers.items() if own and footer and footer.revision == own.revision]


def _profile(
    warehouse: Warehouse, settings: Settings, progress: Progress, *, drawn: bool, model: str, concept: str
) -> pa.Table:
    from analyses.profiles import activation_profiles
    from analyses.projection import DIMENSIONS

    store = warehouse.store
    nothing = table("projections").schema(DIMENSIONS).empty_table()
    with progress.stage(f"{model}, {concept}: profiles", _layers(store, model), "layers") as advance:
        found = activation_profiles(
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
        effects = _effect_profiles(warehouse, settings, model, concept)
    return pa.concat_tables([found, *effects])


def _effect_profiles(warehouse: Warehouse, settings: Settings, model: str, concept: str) -> Iterator[pa.Table]:
    """Profiles of what lesions, patches and gradients did, as far as they are there."""
    from analyses.lesion_profiles import lesion_profiles
    from analyses.patch_profiles import patch_profiles
    from analyses.saliency_profiles import saliency_profiles

    draws = {"seed": settings.seed, "resamples": settings.resamples}
    for name, profiled in (("lesions", lesion_profiles), ("saliency", saliency_profiles)):
        controls = _controls(warehouse, name, model, concept)
        own, *others = _measured(warehouse.store, name, model, [concept, *controls])
        if own is not None:
            against = [other for other in others if other is not None]
            yield profiled(own, against, permutations=settings.permutations, **draws)
    (patched,) = _measured(warehouse.store, "patches", model, [concept])
    if patched is not None:
        yield patch_profiles(patched, **draws)


def _measured(store: Store, name: str, model: str, concepts: Sequence[str]) -> Iterator["MeasuredConcept | None"]:
    """What was measured of some concepts; None for one of which nothing was."""
    from analyses.effects import MeasuredConcept

    for concept in concepts:
        if store.footer(name, model=model, concept=concept) is None:
            yield None
            continue
        measured = store.read(name, model=model, concept=concept)
        yield MeasuredConcept(
            concept, measured, store.read("prompts", concept=concept), store.read("terms", concept=concept)
        )


def _layers(store: Store, model: str) -> int:
    """Layers of the model, the embedding output counted in."""
    return int(store.read("models", columns=["layers"], model=model)["layers"][0].as_py()) + 1
