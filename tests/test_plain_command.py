"""`python -m extract` does what Dagster's assets do, under the same fingerprints, and reports to it through Pipes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import dagster as dg
import psutil
import pytest
from tiny_library import write_library
from tiny_models import save_tiny
from typer.testing import CliRunner, Result

from dagster_project.definitions import build_defs
from dagster_project.defs.jobs import MEASURE
from dagster_project.defs.partitions import register_models
from dagster_project.defs.resources import Settings, Warehouse
from extract.job.command import app
from extract.job.extracting import TABLES
from extract.job.plan import Plan
from extract.job.shards import shard_store
from extract.models import add_model
from extract.shards import Shard
from warehouse.places import ObjectPlace
from warehouse.store import Store

ROOT = Path(__file__).parents[1]
FEW = ["--sample=6", "--held-out=0", "--answers=2", "--new-tokens=2"]
SETTINGS = {"sample": 6, "held_out": 0, "answers": 2, "new_tokens": 2}
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", "qwen3")


@pytest.fixture
def places(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    add_model(tmp_path / "models.toml", folder, "tiny")
    found = Warehouse(
        root=str(tmp_path / "warehouse"),
        concepts=str(write_library(tmp_path / "concepts")),
        models=str(tmp_path / "models.toml"),
    )
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def extract(places: Warehouse) -> Callable[..., Result]:
    def extract(*words: str) -> Result:
        return CliRunner().invoke(app, [*words])

    return extract


def measure(defs: dg.Definitions, *assets: str) -> dg.ExecuteInProcessResult:
    """Assets of the model `tiny`, as the UI would run them."""
    with dg.DagsterInstance.ephemeral() as instance:
        register_models(instance, ["tiny"])
        return defs.resolve_job_def(MEASURE).execute_in_process(
            instance=instance,
            partition_key="tiny",
            asset_selection=[dg.AssetKey(name) for name in assets],
            run_config={**QUIET, "resources": {"settings": {"config": SETTINGS}}},
            raise_on_error=False,
        )


def reported(result: dg.ExecuteInProcessResult, name: str) -> dict[str, object]:
    """How often each asset reported a number."""
    return {
        event.asset_key.to_user_string(): event.materialization.metadata[name].value
        for event in result.get_asset_materialization_events()
        if event.asset_key is not None
    }


def test_the_plain_command_and_dagster_measure_the_same_unless_told_otherwise() -> None:
    assert Settings().plan == Plan()


def test_after_the_plain_command_dagster_finds_everything_current(
    extract: Callable[..., Result], places: Warehouse
) -> None:
    done = extract("run", "--model=tiny", "--json", *FEW)
    assert done.exit_code == 0, done.output
    numbers = json.loads(done.stdout)["tables"]
    assert [*numbers] == [*TABLES]
    assert numbers["activations"]["files_written"] == 2
    result = measure(build_defs(places), *TABLES)
    assert result.success
    assert set(reported(result, "files_written").values()) == {0}
    assert set(reported(result, "forwards").values()) == {0}
    again = extract("run", "--model=tiny", "--json", *FEW)
    assert {each["files_written"] for each in json.loads(again.stdout)["tables"].values()} == {0}


def test_a_process_that_pipes_started_reports_what_it_committed(
    places: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deploy.pipes import extraction_elsewhere

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    build = build_defs(places, extracted=extraction_elsewhere, resources={"pipes": dg.PipesSubprocessClient()})
    assert extract_library(places)
    result = measure(build, "models", "tokens", "activations")
    assert result.success
    rows = reported(result, "rows")
    assert rows["models"] == 1
    found = Store(Path(places.root)).read("activations", model="tiny", concept="colours").num_rows
    other = Store(Path(places.root)).read("activations", model="tiny", concept="numbers").num_rows
    assert rows["activations"] == found + other
    checks = {each.asset_key.to_user_string(): each.passed for each in result.get_asset_check_evaluations()}
    assert checks == {"models": True, "tokens": True, "activations": True}


def extract_library(places: Warehouse) -> bool:
    """Dagster would have written the library before."""
    from extract.job.extracting import write_library as write_tables

    write_tables(places.store, places.library([]))
    return True


def test_the_command_is_a_module_that_can_be_run(places: Warehouse) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "extract", "run", "--model=tiny", "--tables=nothing"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: 'nothing' is no table that this model is run for")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--model=nobody"], "No model 'nobody'"),
        (["run", "--model=tiny", "--only=ghosts"], "ghosts"),
        (["run", "--model=tiny", "--shard=3/2"], "is no shard"),
        (["run", "--model=tiny", "--lesions=none"], "is no lesion"),
        (["run", "--model=tiny", "--memory=much"], "is no amount of memory"),
        (["run", "--model=tiny", "--memory=24"], "is no amount of memory: write it with its unit"),
        (["run", "--model=tiny", "--placement=there"], "is no placement of weights: take one of none, auto, offload"),
        (["run", "--model=tiny", "--warehouse=ftp://there/house"], "is no place for a warehouse"),
        (["run", "--model=tiny", "--dtype=float16"], "is no type that models are run in"),
        (["merge", "--model=tiny", "--shards=2"], "Table prompts has nothing"),
    ],
)
def test_a_mistake_of_the_user_ends_with_code_2_and_one_message(
    extract: Callable[..., Result], words: list[str], said: str
) -> None:
    result = extract(*words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("error:") == 1


def test_a_folder_of_the_same_name_does_not_overwrite_what_landed(
    extract: Callable[..., Result], folder: Path, tmp_path: Path
) -> None:
    for place in ("one", "other"):
        shutil.copytree(folder, tmp_path / place / "alike")
    assert extract("run", f"--model={tmp_path / 'one' / 'alike'}", "--tables=tokens").exit_code == 0
    result = extract("run", f"--model={tmp_path / 'other' / 'alike'}", "--tables=tokens")
    assert result.exit_code == 2
    assert "The warehouse holds 'alike' from" in result.stderr


def test_two_shards_by_command_are_one_partition_after_the_merge(
    extract: Callable[..., Result], anywhere: Path | ObjectPlace
) -> None:
    """On a disk and in an object store."""
    store = Store(anywhere / "house")
    words = ["--model=tiny", f"--warehouse={store.root}", "--only=colours", "--tables=lesions", *FEW]
    for number in (1, 2):
        done = extract("run", f"--shard={number}/2", *words)
        assert done.exit_code == 0, done.output
    assert store.partitions("lesions") == []
    waiting = [shard_store(store, Shard(number, 2)) for number in (1, 2)]
    assert all(each.partitions("lesions") for each in waiting)
    merged = extract("merge", "--shards=2", "--json", "--token-budget=512", "--placement=none", *words)
    assert merged.exit_code == 0, merged.stderr
    assert json.loads(merged.stdout)["tables"]["lesions"]["files_written"] == 1
    assert store.partitions("lesions") == [{"model": "tiny", "concept": "colours"}]
    assert not any(each.partitions("lesions") for each in waiting)


def test_a_model_that_was_put_in_the_inbox_is_known_by_its_slug(
    extract: Callable[..., Result], places: Warehouse, folder: Path
) -> None:
    shutil.copytree(folder, places.inbox_folder / "newcomer")
    done = extract("run", "--model=newcomer", "--tables=plants")
    assert done.exit_code == 0, done.stderr
    assert places.store.partitions("models") == [{"model": "newcomer"}]


def test_a_model_that_can_not_fit_is_refused_before_it_is_loaded(
    extract: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000, total=1000, percent=1.0))
    refused = extract("run", "--model=tiny", "--tables=models")
    assert refused.exit_code == 2
    assert "main memory has" in refused.stderr
    assert extract("run", "--model=tiny", "--tables=models", "--even-if-it-may-not-fit").exit_code == 0


def test_pipes_starts_the_command_with_all_that_the_settings_say(places: Warehouse) -> None:
    from deploy.pipes import command

    said = Settings(placement="offload", offload_folder="/layers", even_if_it_may_not_fit=True, contributions=True)
    context = SimpleNamespace(partition_key="tiny", selected_asset_keys={dg.AssetKey("models")})
    words = command(cast("dg.AssetExecutionContext", context), places, said, "python")
    assert {"--placement=offload", "--offload=/layers", "--even-if-it-may-not-fit", "--contributions"} <= {*words}


@pytest.mark.slow
def test_two_workers_of_ray_and_a_merge_give_what_one_run_gives(places: Warehouse, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    words = ["--model=tiny", "--only=colours", "--tables=activations", *FEW]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for command in (
        [sys.executable, "deploy/ray_extract.py", "--shards=2", "--", *words],
        [sys.executable, "-m", "extract", "run", *words, f"--warehouse={tmp_path / 'whole'}"],
    ):
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    keys = {"model": "tiny", "concept": "colours"}
    shared, whole = Store(Path(places.root)), Store(tmp_path / "whole")
    assert shared.read("activations", **keys).equals(whole.read("activations", **keys))
    assert shared.footer("activations", **keys) == whole.footer("activations", **keys)
