"""The atlas as a file of the warehouse: who is on it, when it is built anew, how it is committed."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from warehouse_fixture import build_warehouse

from dagster_project import atlas_page
from dagster_project.atlas_page import PAGE, plan_page
from dagster_project.chart_list import CHARTS, Subject
from dagster_project.definitions import build_defs
from dagster_project.defs import charts
from dagster_project.defs.jobs import ATLAS
from dagster_project.defs.resources import Warehouse
from dagster_project.pictures import draw
from warehouse import fingerprints
from warehouse.errors import StoreError
from warehouse.places import ObjectPlace
from warehouse.tables import table
from warehouse.versions import CODE_VERSION

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
Build = Callable[[], dict[str, Any]]
ON_DISK = pytest.mark.parametrize("anywhere", ["disk"], indirect=True)
"""For what has nothing to do with where a warehouse lies: an object store takes seconds a page."""


@pytest.fixture
def places(anywhere: Path | ObjectPlace) -> Warehouse:
    """The small warehouse of two models, on a disk and in an object store."""
    build_warehouse(anywhere / "data")
    return Warehouse(root=str(anywhere / "data"))


@pytest.fixture
def build(places: Warehouse) -> Iterator[Build]:
    """Materializes the atlas; what Dagster is told of it."""
    with dg.DagsterInstance.ephemeral() as instance:
        job = build_defs(places).resolve_job_def(ATLAS)

        def materialize() -> dict[str, Any]:
            done = job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("atlas")], run_config=QUIET)
            (found,) = done.asset_materializations_for_node("atlas")
            return {name: told.value for name, told in found.metadata.items()}

        yield materialize


@ON_DISK
def test_the_page_is_built_once_and_again_when_a_table_or_its_own_files_change(
    places: Warehouse, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build()
    page = places.charts / PAGE
    assert (first["models"], first["pages_built"], first["forwards"]) == (2, 1, 0)
    assert (first["path"], first["bytes"]) == (str(page), len(page.read_bytes()))
    assert first["seconds"] > 0
    assert build()["pages_built"] == 0
    store = places.store
    rows = store.read("findings", model="planted")
    store.write("findings", rows, fingerprint="others", model="planted")
    assert build()["pages_built"] == 1
    # The number of resamples is told by the files of draws, without reading a draw.
    draws = table("profile_draws").schema(321).empty_table()
    store.write("profile_draws", draws, fingerprint="drawn", model="planted", concept="drugs")
    assert build()["pages_built"] == 1
    settings = re.findall(r"<td>planted</td>(?:<td>[^<]*</td>)+", page.read_bytes().decode())
    assert f"<td>321</td><td>\u2013</td><td>{CODE_VERSION}</td>" in "".join(settings)
    monkeypatch.setattr(atlas_page, "page_version", lambda: "of the next release")
    assert build()["pages_built"] == 1
    assert build()["pages_built"] == 0
    page.unlink(missing_ok=False)
    assert build()["pages_built"] == 1


def test_two_builds_are_the_same_to_the_byte(places: Warehouse, build: Build) -> None:
    build()
    page = places.charts / PAGE
    first = page.read_bytes()
    page.unlink(missing_ok=False)
    build()
    assert page.read_bytes() == first


@ON_DISK
def test_models_without_a_map_are_left_out_and_named(places: Warehouse, build: Build) -> None:
    for keys in places.store.partitions("localisations"):
        if keys["model"] == "0042":
            places.store.path("localisations", **keys).unlink(missing_ok=False)
    found = build()
    assert (found["models"], found["models_without_map"]) == (1, "0042")
    page = (places.charts / PAGE).read_text(encoding="utf-8")
    assert 'data-of="planted"' in page
    assert 'data-of="0042"' not in page


def test_without_any_map_there_is_no_page_and_it_says_so(places: Warehouse, build: Build) -> None:
    for keys in places.store.partitions("localisations"):
        places.store.path("localisations", **keys).unlink(missing_ok=False)
    found = build()
    assert (found["models"], found["pages_built"]) == (0, 0)
    assert "vesalius run" in found["nothing_to_show"]
    assert not (places.charts / PAGE).is_file()


@ON_DISK
def test_the_picture_in_the_metadata_is_the_knowledge_map_where_one_was_drawn(places: Warehouse, build: Build) -> None:
    assert "knowledge_map" not in build()
    store, reads = places.store, ("knowledge_map", "localisations", "regions", "plants", "concepts")
    tables = {name: atlas_page.gather(store, name, atlas_page.partitions_of(store, name)) for name in reads}
    draw(places.charts / charts.KNOWLEDGE_MAP, "any", CHARTS["knowledge-map"].draw(tables, Subject()))
    assert build()["knowledge_map"].startswith("![knowledge_map](data:image/png;base64,")


@ON_DISK
def test_charts_that_are_current_are_not_drawn_again(
    places: Warehouse, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    build()
    assert 'data-chart="published_chart"' in (places.charts / PAGE).read_text(encoding="utf-8")
    kept = charts.ON_PAGE["published_chart"]
    stem = places.charts / kept.name
    partitions = {name: atlas_page.partitions_of(places.store, name) for name in kept.reads}
    tables = {name: atlas_page.gather(places.store, name, rows) for name, rows in partitions.items()}
    draw(stem, fingerprints.chart(atlas_page.fingerprints_of(places.store, partitions)), kept.draw(tables, Subject()))

    def never(*_: object) -> None:
        raise AssertionError("it is current")

    monkeypatch.setitem(atlas_page.ON_PAGE, "published_chart", replace(kept, draw=never))
    (places.charts / PAGE).unlink(missing_ok=False)
    assert build()["pages_built"] == 1


@ON_DISK
def test_a_page_that_fails_leaves_the_last_one_and_is_built_anew(
    places: Warehouse, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    build()
    page = places.charts / PAGE
    before, plan = page.read_bytes(), plan_page(places.store)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_bytes", full)
        with pytest.raises(StoreError, match="No space left"):
            atlas_page.save_page(page, plan, b"half")
    assert page.read_bytes() == before
    assert build()["pages_built"] == 1
