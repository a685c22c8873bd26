"""`vesalius doctor`: each check sees the fault that it is for, says what to do, and nothing else is changed."""

import json
import os
import shutil
import sqlite3
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_library import write_library
from typer.testing import CliRunner

from dagster_project.cli import app
from dagster_project.doctor import kept, machine, sources
from dagster_project.doctor.report import Finding, guarded
from warehouse.catalog import catalog_path
from warehouse.errors import InputError
from warehouse.store import Store


def only(findings: object) -> Finding:
    """The one thing that was found."""
    (found,) = findings  # type: ignore[misc]
    return found  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from warehouse_fixture import build_warehouse

    from warehouse.catalog import build_catalog

    root = tmp_path_factory.mktemp("sound") / "data"
    build_warehouse(root)
    build_catalog(root)
    return root


@pytest.fixture
def root(sound: Path, tmp_path: Path) -> Path:
    """A sound warehouse of one's own, to break."""
    return Path(shutil.copytree(sound, tmp_path / "data"))


# The machine


def test_an_old_python_fails() -> None:
    assert only(machine.python((3, 10, 4))).verdict == "fail"
    assert only(machine.python((3, 11, 0))).verdict == "ok"


def test_a_package_that_is_missing_or_too_old_fails_with_its_name() -> None:
    assert only(machine.packages()).verdict == "ok"
    missing = only(machine.packages(["surely-no-such-package>=1"]))
    assert (missing.verdict, "surely-no-such-package" in missing.found) == ("fail", True)
    old = only(machine.packages(["numpy>=999"]))
    assert old.verdict == "fail"
    assert ">=999" in old.found
    assert "requirements.lock" in old.remedy


def test_a_package_of_another_platform_or_extra_is_not_asked_for() -> None:
    assert only(machine.packages(["no-such-package; python_version < '3'", "none; extra == 'gcs'"])).verdict == "ok"


def test_more_threads_than_processors_and_spinning_ones_are_warned_of() -> None:
    assert only(machine.threads({}, 2)).verdict == "ok"
    assert only(machine.threads({"OMP_NUM_THREADS": "2"}, 2)).verdict == "ok"
    assert only(machine.threads({"OMP_NUM_THREADS": "8"}, 2)).verdict == "warn"
    assert only(machine.threads({"OMP_NUM_THREADS": "many"}, 2)).verdict == "warn"
    assert only(machine.threads({"OMP_WAIT_POLICY": "active"}, 2)).verdict == "warn"


def test_a_full_disk_fails_before_it_is_full(tmp_path: Path) -> None:
    place = tmp_path / "not" / "there" / "yet"
    verdicts = [only(machine.disk(place, free)).verdict for free in (10**8, 10**9, 10**11)]
    assert verdicts == ["fail", "warn", "ok"]
    assert str(tmp_path) in only(machine.disk(place)).found


def test_little_memory_is_warned_of() -> None:
    assert only(machine.memory(10**9)).verdict == "warn"
    assert only(machine.memory(10**10)).verdict == "ok"


# What was kept


def test_a_sound_warehouse_passes_every_check(root: Path) -> None:
    store = Store(root)
    found = [*kept.reachable(store), *kept.partitions(store), *kept.leftovers(root)]
    assert {one.verdict for one in found} == {"ok"}, found


def test_no_warehouse_is_a_hint_and_a_file_in_its_place_a_fault(tmp_path: Path) -> None:
    assert only(kept.reachable(Store(tmp_path / "none"))).verdict == "warn"
    (tmp_path / "file").write_text("")
    assert only(kept.reachable(Store(tmp_path / "file"))).verdict == "fail"


def test_a_torn_file_fails_and_is_named(root: Path) -> None:
    victim = next((root / "terms").rglob("*.parquet"))
    victim.write_bytes(victim.read_bytes()[:-7])
    found = only(kept.partitions(Store(root)))
    assert found.verdict == "fail"
    assert f"terms/{victim.parent.name.removeprefix('concept=')}" in found.found


def test_a_foreign_parquet_file_fails(root: Path) -> None:
    victim = next((root / "terms").rglob("*.parquet"))
    pq.write_table(pa.table({"x": [1]}), victim)
    assert only(kept.partitions(Store(root))).verdict == "fail"


@pytest.mark.parametrize(("shift", "verdict"), [(-1, "warn"), (1, "fail")])
def test_schemas_of_other_versions_are_told_apart(root: Path, shift: int, verdict: str) -> None:
    victim = next((root / "terms").rglob("*.parquet"))
    rows = pq.read_table(victim)
    footer = json.loads(pq.read_metadata(victim).metadata[b"vesalius"])
    footer["schema_version"] += shift
    pq.write_table(rows.replace_schema_metadata({b"vesalius": json.dumps(footer)}), victim)
    assert only(kept.partitions(Store(root))).verdict == verdict


def test_temporary_files_are_told_and_left_where_they_are(root: Path) -> None:
    left = root / "terms" / "concept=drugs" / ".part-0.parquet.host.1.abcdef01.tmp"
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_text("half")
    found = only(kept.leftovers(root))
    assert found.verdict == "warn"
    assert left.name in found.found
    assert left.read_text() == "half"


def test_what_is_older_than_the_tables_or_missing_is_to_be_built(root: Path) -> None:
    newest = kept.newest_table(Store(root))
    assert newest is not None
    path = catalog_path(root)
    assert only(kept.built(path, "catalog", newest, "build it")).verdict == "ok"
    os.utime(path, (newest - 60, newest - 60))
    assert only(kept.built(path, "catalog", newest, "build it")).verdict == "warn"
    path.unlink()
    assert only(kept.built(path, "catalog", newest, "build it")).remedy == "build it"
    assert list(kept.built(path, "catalog", None, "build it")) == []


def test_a_damaged_record_of_runs_fails(tmp_path: Path) -> None:
    assert only(kept.dagster_home(tmp_path / "none")).verdict == "ok"
    with sqlite3.connect(tmp_path / "runs.db") as connection:
        connection.execute("CREATE TABLE runs (name TEXT)")
    assert only(kept.dagster_home(tmp_path)).verdict == "ok"
    (tmp_path / "runs.db").write_bytes(b"no database at all" * 100)
    found = only(kept.dagster_home(tmp_path))
    assert found.verdict == "fail"
    assert "runs.db" in found.found


# What is read


def test_an_unsound_library_fails_with_file_and_remedy(tmp_path: Path) -> None:
    write_library(tmp_path / "concepts")
    assert only(sources.library(tmp_path / "concepts")).verdict == "ok"
    next((tmp_path / "concepts").rglob("terms.csv")).write_text("nonsense")
    found = only(sources.library(tmp_path / "concepts"))
    assert found.verdict == "fail"
    assert "terms.csv" in found.found


def test_gated_models_ask_for_a_token_and_nothing_else_does(tmp_path: Path) -> None:
    home = {"HF_HOME": str(tmp_path)}
    assert "gated" in only(sources.hub(home, ["llama"])).found
    assert only(sources.hub(home, [])).found == "No token is needed."
    assert only(sources.hub({**home, "HF_TOKEN": "x"}, ["llama"])).found == "A token is set."
    (tmp_path / "token").write_text("x")
    assert only(sources.hub(home, ["llama"])).found == "A token is set."
    assert "offline" in only(sources.hub({**home, "HF_HUB_OFFLINE": "1"}, ["llama"])).found.lower()


def test_an_error_of_ours_is_a_finding() -> None:
    def look() -> "list[Finding]":
        raise InputError("models.toml is no TOML.")

    found = only(guarded("models", look))  # type: ignore[arg-type]
    assert (found.check, found.verdict, found.found) == ("models", "fail", "models.toml is no TOML.")


# The command


def test_the_command_prints_findings_and_ends_with_one_where_a_run_would_fail(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_library(tmp_path / "concepts")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VESALIUS_WAREHOUSE", str(root))
    monkeypatch.setenv("VESALIUS_CONCEPTS", str(tmp_path / "concepts"))
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    told = CliRunner().invoke(app, ["doctor", "--json"])
    assert told.exit_code == 0, told.output
    assert {"check", "verdict", "found", "remedy"} == set(json.loads(told.stdout)[0])
    (tmp_path / "models.toml").write_text("this is = = no TOML")
    monkeypatch.setenv("VESALIUS_MODELS", str(tmp_path / "models.toml"))
    broken = CliRunner().invoke(app, ["doctor"])
    assert broken.exit_code == 1
    assert "FAIL  models" in broken.stdout
    assert before == {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert not (tmp_path / "home").exists()
