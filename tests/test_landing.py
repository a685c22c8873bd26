"""What a landed model's run does: all of it once, then only what a change touches; and two at once tear nothing."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.storage.tags import GRPC_INFO_TAG, PARTITION_NAME_TAG
from tiny_library import write_library
from tiny_models import LAYERS, save_tiny

from dagster_project.definitions import build_defs
from dagster_project.defs.jobs import LAND
from dagster_project.defs.library import TABLES as LIBRARY
from dagster_project.defs.partitions import register_models
from dagster_project.defs.requests import request
from dagster_project.defs.resources import PROJECT, Warehouse
from dagster_project.instance import fail_dead_runs, open_instance
from dagster_project.inventory import inventory
from extract.job.extracting import OF_TWINS
from extract.job.extracting import TABLES as EXTRACTED
from extract.models import add_model
from warehouse.tables import TABLES

DRAWS = {"resamples": 20, "permutations": 20}
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
COLOURS, NUMBERS = 24 + 16 + 12 * (LAYERS + 1), 24
"""Prompts of each concept that go through a tiny model: the sweep, and of colours gradients and answers too."""

MEASURED = [*LIBRARY, *EXTRACTED, "catalog"]
"""All but what takes long to compile or to draw, which other tests make."""


@pytest.fixture
def places(tmp_path: Path) -> Warehouse:
    add_model(tmp_path / "models.toml", save_tiny(tmp_path / "tiny"), "tiny")
    return Warehouse(
        root=str(tmp_path / "warehouse"),
        concepts=str(write_library(tmp_path / "concepts")),
        models=str(tmp_path / "models.toml"),
    )


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        register_models(found, ["tiny", "tiny.untrained"])
        yield found


def definitions(places: Warehouse) -> dg.Definitions:
    """The code location, resolved once a test."""
    return _resolved(places.root, places.concepts, places.models)


@cache
def _resolved(root: str, concepts: str, models: str) -> dg.Definitions:
    return build_defs(Warehouse(root=root, concepts=concepts, models=models))


def land(
    places: Warehouse, instance: dg.DagsterInstance, slug: str = "tiny", *, only: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Execute what the sensor would request, or these assets of it; the metadata of each asset."""
    wanted, job = request(slug, DRAWS, "key"), definitions(places).resolve_job_def(LAND)
    made = wanted.asset_selection or job.asset_layer.executable_asset_keys
    result = job.execute_in_process(
        instance=instance,
        partition_key=wanted.partition_key,
        run_config={**QUIET, **wanted.run_config},
        asset_selection=[key for key in made if key.to_user_string() in only],
        tags=dict(wanted.tags),
    )
    return {
        event.asset_key.to_user_string(): {name: value.value for name, value in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
        if event.asset_key is not None
    }


def total(made: dict[str, dict[str, Any]], name: str) -> int:
    return sum(metadata.get(name, 0) for metadata in made.values())


def test_a_landed_model_is_measured_once_and_a_change_costs_what_depends_on_it_alone(
    places: Warehouse, instance: dg.DagsterInstance
) -> None:
    twin = land(places, instance, "tiny.untrained", only=MEASURED)
    assert set(twin) == {*LIBRARY, *OF_TWINS}
    first = land(places, instance, only=MEASURED)
    assert total(first, "forwards") == COLOURS + NUMBERS
    assert {"prompts", "lesions", "saliency", "catalog"} < first.keys()
    assert status(places, instance, "tokens") == StaleStatus.FRESH

    again = land(places, instance, only=MEASURED)
    assert (total(again, "forwards"), total(again, "files_written")) == (0, 0)

    terms = Path(places.concepts) / "colours" / "terms.csv"
    terms.write_text(terms.read_text() + "ruby,red,a picture book\n")
    execute_library(places, instance)
    assert status(places, instance, "tokens") == StaleStatus.STALE
    assert status(places, instance, "models") == StaleStatus.FRESH
    changed = land(places, instance, only=MEASURED)
    assert total(changed, "forwards") == COLOURS + 3 + 2
    assert changed["activations"]["files_current"] == 1
    assert status(places, instance, "tokens") == StaleStatus.FRESH

    save_tiny(Path(places.registry()["tiny"].path), "llama", texts=("Another revision",))
    other = land(places, instance, only=MEASURED)
    assert total(other, "forwards") == COLOURS + 3 + 2 + NUMBERS
    assert other["activations"]["files_current"] == 0
    assert {other[name]["files_written"] for name in (*LIBRARY, "plants")} == {0}


def execute_library(places: Warehouse, instance: dg.DagsterInstance) -> None:
    library = definitions(places).resolve_job_def("write_library")
    assert library.execute_in_process(instance=instance, run_config=QUIET).success


def status(places: Warehouse, instance: dg.DagsterInstance, asset: str) -> StaleStatus:
    """What Dagster itself says of the model's partition, by the data versions that runs reported."""
    graph = definitions(places).resolve_asset_graph()
    return CachingStaleStatusResolver(instance, graph, _loading(instance)).get_status(dg.AssetKey(asset), "tiny")


def _loading(instance: dg.DagsterInstance) -> Any:
    from dagster._core.loader import LoadingContextForTest

    return LoadingContextForTest(instance)


_RUN = """
import sys, time
from pathlib import Path
from dagster_project.defs.resources import Settings, Warehouse
from dagster_project.instance import open_instance
from extract.job.progress import LineProgress
from dagster_project.running import chosen_models, run_models
from extract.job.extracting import TABLES
import extract.extraction

root, concepts, models, ready, go = sys.argv[1:]
places = Warehouse(root=root, concepts=concepts, models=models)
Path(ready).touch()
while not Path(go).exists():
    time.sleep(0.01)
with open_instance() as instance:
    made = run_models(instance, places, chosen_models(places, ["tiny"]), Settings(resamples=20, permutations=20),
                      LineProgress(lambda _: None), untrained=False, only=TABLES)
print(made.failed_checks)
"""


def test_two_runs_of_one_model_at_once_leave_every_file_whole(
    places: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    with open_instance() as shared:
        register_models(shared, ["tiny"])
    go = tmp_path / "go"
    given = [places.root, places.concepts, places.models]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _RUN, *given, str(tmp_path / f"ready-{i}"), str(go)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    while not all((tmp_path / f"ready-{i}").exists() for i in range(2)):
        assert all(process.poll() is None for process in running)
        time.sleep(0.05)
    go.touch()
    for process in running:
        shown, wrong = process.communicate()
        assert (process.returncode, shown.strip()) == (0, "()"), wrong
    assert not list(Path(places.root).rglob("*.tmp"))
    found = 0
    for name in TABLES:
        for keys in places.store.partitions(name):
            footer = places.store.footer(name, **keys)
            assert footer is not None
            assert places.store.read(name, **keys).num_rows == footer.rows
            found += 1
    assert found > 20
    with dg.DagsterInstance.ephemeral() as after:
        register_models(after, ["tiny"])
        again = land(places, after, only=EXTRACTED)
    assert (total(again, "forwards"), total(again, "files_written")) == (0, 0)


def test_a_run_whose_code_server_is_gone_gives_its_place_free(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        for number, address in enumerate([f'{{"host": "localhost", "socket": "{tmp_path}/gone"}}', '{"port": 4000}']):
            tags = {GRPC_INFO_TAG: address, PARTITION_NAME_TAG: "tiny"}
            status = dg.DagsterRunStatus.STARTED
            instance.add_run(dg.DagsterRun(job_name=LAND, run_id=f"{number:036}", tags=tags, status=status))
        assert fail_dead_runs(instance) == [f"{0:036}"]


def test_the_page_of_definitions_is_what_dagster_resolves() -> None:
    page = (PROJECT / "docs" / "dagster.md").read_text(encoding="utf-8").splitlines()
    assert page == inventory(build_defs()), "`vesalius docs` writes it anew"


def test_nothing_runs_by_itself_until_someone_switches_it_on() -> None:
    repository = build_defs().get_repository_def()
    (sensor,), (schedule,) = repository.sensor_defs, repository.schedule_defs
    assert (sensor.name, sensor.default_status) == ("new_models", dg.DefaultSensorStatus.STOPPED)
    assert (schedule.name, schedule.default_status) == ("nightly_atlas", dg.DefaultScheduleStatus.STOPPED)
    assert sensor.job_name == schedule.job_name == LAND
