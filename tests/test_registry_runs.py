"""The registry as it comes: small kin of each architecture lie in the inbox and go through the whole pipeline."""

import shutil
from pathlib import Path

import dagster as dg
import pytest
from kin import KIN, LAYERS, make
from landings import leave_charts_blank
from tiny_library import write_library

from dagster_project.defs.maps import TABLES as MAPPED
from dagster_project.defs.resources import PROJECT, Settings, Warehouse
from dagster_project.running import Outcome, chosen_models, run_models
from extract.job.extracting import TABLES as EXTRACTED
from extract.job.progress import LineProgress
from extract.models import load_registry
from warehouse.store import Store

pytestmark = pytest.mark.slow

KIN_BY_CLASS = {load_registry(PROJECT / "models.toml")[kin.of[0]].architecture: kin for kin in KIN.values()}
"""Of each architecture one kin: what others have of their own (tokenizer, ties, ropes) ends with the extraction."""

SLUGS = [kin.of[0] for kin in KIN_BY_CLASS.values()]

FEW = Settings(concepts=["colours"], contributions=True, sample=8, held_out=2, answers=1, resamples=20, permutations=20)
FILLED = {*EXTRACTED, "profiles", "neighbours", *MAPPED, "findings"}
EMPTY = {"plants", "unmeasured"}
"""Nothing was planted in them, and all techniques apply to a decoder."""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    folder = tmp_path_factory.mktemp("registry")
    shutil.copy(PROJECT / "models.toml", folder)
    for kin in KIN_BY_CLASS.values():
        make(kin, folder / "inbox" / kin.of[0])
    return Warehouse(
        root=str(folder / "warehouse"),
        concepts=str(write_library(folder / "concepts")),
        models=str(folder / "models.toml"),
    )


@pytest.fixture(scope="module")
def outcome(places: Warehouse) -> Outcome:
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
        leave_charts_blank(patch)
        quiet = LineProgress(lambda _: None)
        return run_models(instance, places, chosen_models(places, SLUGS), FEW, quiet, umap=False, untrained=False)


@pytest.mark.parametrize("slug", SLUGS)
def test_small_kin_of_each_model_of_the_registry_goes_through_the_whole_pipeline(
    places: Warehouse, outcome: Outcome, slug: str
) -> None:
    assert outcome.failed_checks == ()
    store, entry = places.store, places.registry()[slug]
    (row,) = store.read("models", model=slug).to_pylist()
    assert (row["source"], row["dtype"], row["layers"]) == (entry.hub_id, entry.dtype, LAYERS)
    assert {name for name in FILLED if not _rows(store, name, slug)} == EMPTY
    layers = {layer for layer, _ in store.layers("lesions", model=slug, concept="colours")}
    assert layers == set(range(LAYERS))


def _rows(store: Store, name: str, slug: str) -> int:
    return sum(store.read(name, **keys).num_rows for keys in store.partitions(name) if keys.get("model", slug) == slug)


def test_the_page_shows_each_of_them(places: Warehouse, outcome: Outcome) -> None:
    (page,) = Path(places.root).glob("charts/**/atlas.html")
    text = page.read_text(encoding="utf-8")
    assert all(slug in text for slug in SLUGS)
