"""A model lands once: when it is whole and at rest, and again when it or the library changed, and not otherwise."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest
from dagster._core.storage.tags import PARTITION_NAME_TAG, RUN_KEY_TAG
from tiny_library import write_library
from tiny_models import save_tiny

from analyses.findings import READ_OF_ALL
from dagster_project import arrivals, settled
from dagster_project.arrivals import Memory, Seen, SeenLibrary, look, look_at_library
from dagster_project.definitions import build_defs
from dagster_project.defs.jobs import LAND
from dagster_project.defs.partitions import MODELS, register_models
from dagster_project.defs.requests import RESTARTS, last_settings
from dagster_project.defs.resources import Warehouse
from dagster_project.defs.schedules import nightly_atlas
from dagster_project.defs.sensors import new_models
from dagster_project.instance import PROCESS_TAG, this_process
from extract.inbox import read_inbox
from extract.job.extracting import OF_TWINS
from extract.models import ModelEntry, add_model, load_registry, model_fingerprint
from warehouse.tables import table

FOREVER = float("inf")
HOUR = 3600


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture
def entry(tmp_path: Path, folder: Path) -> ModelEntry:
    return ModelEntry("tiny", Path(shutil.copytree(folder, tmp_path / "tiny")))


@pytest.fixture
def places(tmp_path: Path) -> Warehouse:
    return Warehouse(
        root=str(tmp_path / "warehouse"),
        concepts=str(write_library(tmp_path / "concepts")),
        models=str(tmp_path / "models.toml"),
    )


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Shift the time that looks are taken at; at first an hour after the files were written."""
    shift = [float(HOUR)]
    now = time.time
    monkeypatch.setattr(arrivals.time, "time", lambda: now() + shift[0])
    return lambda seconds: shift.__setitem__(0, seconds)


class Ticks:
    """The sensor, tick after tick, as the daemon would evaluate it."""

    def __init__(self, places: Warehouse, instance: dg.DagsterInstance) -> None:
        self._places, self._instance = places, instance
        self.cursor: str | None = None
        self.reason = ""

    def __call__(self) -> list[dg.RunRequest]:
        with dg.build_sensor_context(
            instance=self._instance, cursor=self.cursor, resources={"warehouse": self._places}
        ) as context:
            found = new_models(context)
        assert isinstance(found, dg.SensorResult)
        for wanted in found.dynamic_partitions_requests or []:
            self._instance.add_dynamic_partitions(str(MODELS.name), list(wanted.partition_keys))
        self.cursor = found.cursor
        self.reason = found.skip_reason.skip_message if found.skip_reason else ""
        return list(found.run_requests or [])

    def slugs(self) -> list[str]:
        return [str(request.partition_key) for request in self()]


@pytest.fixture
def tick(places: Warehouse, instance: dg.DagsterInstance) -> Ticks:
    return Ticks(places, instance)


@pytest.fixture
def inbox(places: Warehouse) -> Path:
    places.inbox_folder.mkdir()
    return places.inbox_folder


def change_weights(folder: Path) -> None:
    """Another value in the last weight, as a new revision would have."""
    file = folder / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def finished(
    instance: dg.DagsterInstance, slug: str, status: dg.DagsterRunStatus, tags: dict[str, str], **settings: object
) -> None:
    """A run of a model that is over."""
    config = {"resources": {"settings": {"config": settings}}}
    labelled = {PARTITION_NAME_TAG: slug, **tags}
    instance.add_run(dg.DagsterRun(job_name=LAND, run_id=str(uuid4()), run_config=config, tags=labelled, status=status))


# A look at a folder


def test_a_folder_that_is_whole_and_at_rest_has_landed_with_the_fingerprint_of_its_model(entry: ModelEntry) -> None:
    sight = look(entry, None, FOREVER)
    assert sight.waiting == ""
    assert sight.seen.fingerprint == model_fingerprint(entry)


def test_what_did_not_change_is_neither_inspected_nor_hashed_again(
    entry: ModelEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = look(entry, None, FOREVER)

    def never(*_: object) -> None:
        raise AssertionError("a file was read")

    for name in ("completeness", "hash_of", "model_fingerprint"):
        monkeypatch.setattr(arrivals, name, never)
    assert look(entry, first.seen, FOREVER) == first


def test_a_folder_with_a_file_of_just_now_is_still_being_written(
    entry: ModelEntry, clock: Callable[[float], None]
) -> None:
    clock(3)
    assert "still being written: its newest file is 3 s old" in look(entry, None, FOREVER).waiting
    clock(arrivals.QUIET + 1)
    assert look(entry, None, FOREVER).waiting == ""


def test_a_copy_that_keeps_old_times_is_still_being_written_while_it_changes(
    entry: ModelEntry, clock: Callable[[float], None]
) -> None:
    for file in entry.path.iterdir():
        os.utime(file, (0, 0))
    clock(0)
    assert "still being written" in look(entry, None, FOREVER).waiting


def test_a_folder_that_changed_since_the_last_look_waits_for_the_next(entry: ModelEntry) -> None:
    first = look(entry, None, FOREVER)
    change_weights(entry.path)
    second = look(entry, first.seen, FOREVER)
    assert "changed since the last look" in second.waiting
    assert second.seen.fingerprint == ""
    third = look(entry, second.seen, FOREVER)
    assert third.waiting == ""
    assert third.seen.fingerprint not in {"", first.seen.fingerprint}


def test_half_a_model_has_not_landed_and_says_what_is_missing(entry: ModelEntry) -> None:
    weights = entry.path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    assert "model.safetensors is not whole" in look(entry, None, FOREVER).waiting
    weights.unlink()
    assert look(entry, None, FOREVER).is_there
    assert not look(replace(entry, path=entry.path / "nowhere"), None, FOREVER).is_there


def test_hashing_stops_when_its_time_is_over_and_goes_on_at_the_next_look(
    entry: ModelEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: set[Path] = set()
    monkeypatch.setattr(arrivals, "hash_of", hashed.add)
    moments = iter([0.0, 0.0, 2.0])
    monkeypatch.setattr(arrivals.time, "monotonic", lambda: next(moments, 0.0))
    first = look(entry, None, until=1.0)
    assert first.waiting.startswith("being hashed: 2 of ")
    assert len(hashed) == 2
    assert look(entry, first.seen, until=1.0).waiting == ""


def test_another_setting_in_the_registry_is_another_state_of_the_model(entry: ModelEntry) -> None:
    seen = look(entry, None, FOREVER).seen
    other = replace(entry, dtype="bfloat16")
    waiting = look(other, seen, FOREVER)
    assert look(other, waiting.seen, FOREVER).seen.fingerprint != seen.fingerprint


def test_the_library_is_read_again_only_after_a_change_and_tells_its_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_library(tmp_path / "concepts")
    first = look_at_library(folder, SeenLibrary())
    assert first.fingerprint
    terms = folder / "colours" / "terms.csv"
    terms.write_text(terms.read_text() + "ruby,red,a picture book\n")
    second = look_at_library(folder, first)
    assert second.fingerprint not in {"", first.fingerprint}
    with monkeypatch.context() as patched:
        patched.setattr(arrivals, "load_library", lambda _: pytest.fail("it was read"))
        assert look_at_library(folder, second) == second
    terms.write_text(terms.read_text() + "ruby,red,a picture book\n")
    assert "ruby" in look_at_library(folder, second).fault


def test_what_is_remembered_comes_back_and_what_cannot_be_read_is_forgotten() -> None:
    memory = Memory(SeenLibrary("l", "f"), {"tiny": Seen("a", "b", ("b", "f"), 2)})
    assert Memory.read(memory.write()) == memory
    for text in (None, "", "42", "{}", '{"library": {}, "models": {"tiny": {"other": 1}}}'):
        assert Memory.read(text) == Memory()


# The inbox


def test_a_folder_of_the_inbox_is_a_model_of_its_own_or_the_one_that_waits_for_it(
    tmp_path: Path, folder: Path, places: Warehouse, inbox: Path
) -> None:
    shutil.copytree(folder, inbox / "Some Model")
    shutil.copytree(folder, inbox / "big")
    shutil.copytree(folder, inbox / "Small-IT")
    (tmp_path / "models.toml").write_text(
        '[models.big]\npath = "not-here"\ndtype = "bfloat16"\n[models.hubs]\nhub_id = "owner/Small-IT"\n'
    )
    found = places.registry()
    assert sorted(found) == ["big", "hubs", "some-model"]
    assert found["hubs"].path == inbox / "Small-IT"
    elsewhere = places.model_copy(update={"models": str(tmp_path / "registry" / "models.toml"), "inbox": str(inbox)})
    (tmp_path / "registry").mkdir()
    shutil.copy(tmp_path / "models.toml", elsewhere.models)
    assert elsewhere.registry()["hubs"].path == inbox / "Small-IT"
    assert found["some-model"].path == inbox / "Some Model"
    assert (found["big"].path, found["big"].dtype) == (inbox / "big", "bfloat16")
    assert places.model("some-model", None) == found["some-model"]


def test_half_a_model_in_the_inbox_is_not_registered(places: Warehouse, inbox: Path, folder: Path) -> None:
    shutil.copytree(folder, inbox / "half")
    (inbox / "half" / "model.safetensors").unlink()
    assert places.registry() == {}
    assert list(read_inbox(inbox, {}).entries) == ["half"]


def test_folders_that_can_be_no_model_are_named_and_stop_no_other(
    tmp_path: Path, places: Warehouse, inbox: Path, folder: Path
) -> None:
    add_model(tmp_path / "models.toml", folder, "known")
    for name in ("good", "known", "???", "a.untrained", "Twice", "twice", ".hidden"):
        shutil.copytree(folder, inbox / name)
    found = read_inbox(inbox, load_registry(tmp_path / "models.toml"))
    assert sorted(found.entries) == ["good", "twice"]
    assert sorted(found.faults) == ["???", "a.untrained", "known", "twice"]
    assert "is registered" in found.faults["known"]
    assert "rename one" in found.faults["twice"]


def test_a_folder_of_the_inbox_that_the_registry_names_is_that_model_alone(
    tmp_path: Path, places: Warehouse, inbox: Path, folder: Path
) -> None:
    shutil.copytree(folder, inbox / "tiny-llama")
    add_model(tmp_path / "models.toml", inbox / "tiny-llama", "mine")
    assert list(places.registry()) == ["mine"]


def test_the_inbox_lies_beside_the_registry_unless_the_environment_names_another(
    places: Warehouse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert places.inbox_folder == tmp_path / "inbox"
    monkeypatch.setenv("VESALIUS_INBOX", str(tmp_path / "elsewhere"))
    found = Warehouse.from_environment(models=tmp_path / "models.toml")
    assert found.inbox_folder == tmp_path / "elsewhere"
    assert found.environment["VESALIUS_INBOX"] == str(tmp_path / "elsewhere")


# The sensor


def test_a_model_that_lands_gets_its_partition_and_one_run_its_twin_first(
    tick: Ticks, inbox: Path, folder: Path, instance: dg.DagsterInstance
) -> None:
    assert tick() == []
    assert tick.reason == "No model has landed."
    shutil.copytree(folder, inbox / "tiny")
    twin, model = tick()
    assert (twin.partition_key, model.partition_key) == ("tiny.untrained", "tiny")
    assert instance.get_dynamic_partitions("models") == ["tiny.untrained", "tiny"]
    assert model.asset_selection is None
    assert set(OF_TWINS) < {key.to_user_string() for key in twin.asset_selection or []}
    assert RESTARTS.items() <= model.tags.items()
    assert tick() == []
    assert tick.reason == "Nothing new: 1 landed, each with its run requested."


def test_a_model_that_is_copied_in_slowly_lands_when_it_is_whole(
    tick: Ticks, inbox: Path, folder: Path, clock: Callable[[float], None]
) -> None:
    target = inbox / "tiny"
    target.mkdir()
    clock(0)
    for file in sorted(folder.iterdir(), key=lambda file: file.name == "config.json"):
        half = file.read_bytes()[: file.stat().st_size // 2]
        (target / file.name).write_bytes(half)
        assert tick() == []
        (target / file.name).write_bytes(file.read_bytes())
        assert tick() == []
    assert "tiny: still being written" in tick.reason
    clock(HOUR)
    assert tick.slugs() == ["tiny.untrained", "tiny"]
    assert tick() == []


def test_a_changed_revision_or_library_requests_again_and_nothing_else_does(
    tick: Ticks, inbox: Path, folder: Path, places: Warehouse
) -> None:
    target = Path(shutil.copytree(folder, inbox / "tiny"))
    first = tick()
    (target / "README.md").write_text("A card says nothing of the weights.")
    (target / "model.safetensors").touch()
    assert [tick(), tick()] == [[], []]
    original = (target / "model.safetensors").read_bytes()
    change_weights(target)
    assert tick() == []
    (second,) = tick()
    assert second.partition_key == "tiny"
    terms = Path(places.concepts) / "colours" / "terms.csv"
    terms.write_text(terms.read_text() + "ruby,red,a picture book\n")
    third = tick()
    assert [one.partition_key for one in third] == ["tiny.untrained", "tiny"]
    # Back to the first revision: the warehouse holds the second one's numbers, so it is another request.
    (target / "model.safetensors").write_bytes(original)
    assert tick() == []
    (fourth,) = tick()
    keys = [str(one.run_key) for one in (*first, second, *third, fourth)]
    assert len(set(keys)) == len(keys)
    assert [tick(), tick()] == [[], []]


def test_a_forgotten_cursor_gives_the_same_run_keys(tick: Ticks, inbox: Path, folder: Path) -> None:
    shutil.copytree(folder, inbox / "tiny")
    first = [request.run_key for request in tick()]
    tick.cursor = None
    assert [request.run_key for request in tick()] == first


def test_a_bad_folder_stops_no_other_and_is_told(tick: Ticks, inbox: Path, folder: Path) -> None:
    shutil.copytree(folder, inbox / "good")
    shutil.copytree(folder, inbox / "torn")
    (inbox / "torn" / "model.safetensors").write_bytes(b"nothing of the kind")
    shutil.copytree(folder, inbox / "no.tokens")
    for file in (inbox / "no.tokens").glob("tokenizer*"):
        file.unlink()
    (inbox / "???").mkdir()
    assert tick.slugs() == ["good.untrained", "good"]
    assert tick() == []
    assert "torn: model.safetensors is not whole" in tick.reason
    assert "no.tokens: there is no tokenizer" in tick.reason
    assert "inbox/???: " in tick.reason


def test_known_models_without_weights_are_counted_not_listed(tick: Ticks, tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text("".join(f'[models.m{i}]\npath = "m{i}"\n' for i in range(3)))
    assert tick() == []
    assert tick.reason == "No model has landed. 3 known, with no weights on this machine."


def test_a_registry_or_a_library_with_a_fault_requests_nothing_and_says_why(
    tick: Ticks, inbox: Path, folder: Path, places: Warehouse, tmp_path: Path
) -> None:
    shutil.copytree(folder, inbox / "tiny")
    terms = Path(places.concepts) / "colours" / "terms.csv"
    sound = terms.read_text()
    terms.write_text(sound + "tomato,red,twice\n")
    assert tick() == []
    assert "the concept library has a fault" in tick.reason
    (tmp_path / "models.toml").write_text("[models.x]\n")
    assert tick() == []
    assert "models.toml" in tick.reason
    (tmp_path / "models.toml").unlink()
    terms.write_text(sound)
    assert tick.slugs() == ["tiny.untrained", "tiny"]


def test_a_run_that_failed_is_told_and_not_requested_again(
    tick: Ticks, inbox: Path, folder: Path, instance: dg.DagsterInstance
) -> None:
    target = Path(shutil.copytree(folder, inbox / "tiny"))
    _, model = tick()
    finished(instance, "tiny", dg.DagsterRunStatus.FAILURE, {RUN_KEY_TAG: str(model.run_key)})
    assert tick() == []
    assert "tiny: its run failed, and is not requested again until" in tick.reason
    change_weights(target)
    assert [tick.slugs(), tick.slugs()] == [[], ["tiny"]]


def test_a_run_that_was_killed_with_its_process_makes_room_at_the_next_tick(
    tick: Ticks, instance: dg.DagsterInstance
) -> None:
    host, process, began = this_process().rsplit(":", 2)
    for tag in (this_process(), f"{host}:{process}:{int(began) - 1}"):
        finished(instance, "tiny", dg.DagsterRunStatus.STARTED, {PROCESS_TAG: tag})
    tick()
    left = {run.tags[PROCESS_TAG]: run.status for run in instance.get_runs()}
    assert left.pop(this_process()) == dg.DagsterRunStatus.STARTED
    assert list(left.values()) == [dg.DagsterRunStatus.FAILURE]


def test_a_request_measures_as_the_last_run_of_the_model_did(
    tick: Ticks, inbox: Path, folder: Path, instance: dg.DagsterInstance
) -> None:
    finished(instance, "tiny", dg.DagsterRunStatus.SUCCESS, {}, sample=500, model_folder="elsewhere", gone=1)
    finished(instance, "tiny", dg.DagsterRunStatus.FAILURE, {}, sample=7)
    assert last_settings(instance, "tiny") == {"sample": 500, "model_folder": "elsewhere"}
    shutil.copytree(folder, inbox / "tiny")
    twin, model = tick()
    assert model.run_config == {"resources": {"settings": {"config": {"sample": 500}}}}
    assert twin.run_config == {"resources": {"settings": {"config": {}}}}


# The schedule


@pytest.fixture
def kept() -> Iterator[dg.DagsterInstance]:
    """An instance on disk: a schedule opens its own."""
    with dg.instance_for_test() as found:
        yield found


def nightly(places: Warehouse, instance: dg.DagsterInstance) -> list[dg.RunRequest] | str:
    # The context enters an instance of its own. Left to the garbage collector it would leave before or after others,
    # and Dagster would hand what is gone to the next test.
    with dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=datetime(2026, 1, 2, 2, tzinfo=UTC),
        resources={"warehouse": places},
    ) as context:
        found = nightly_atlas(context)
    return str(found.skip_message) if isinstance(found, dg.SkipReason) else list(found)


def test_the_night_runs_every_partition_that_is_there_twins_first(
    places: Warehouse, inbox: Path, folder: Path, kept: dg.DagsterInstance
) -> None:
    assert "There is no model yet" in nightly(places, kept)
    for name in ("one", "busy", "broken"):
        shutil.copytree(folder, inbox / name)
    register_models(kept, ["one", "one.untrained", "busy", "broken", "gone", "unregistered"])
    finished(kept, "one", dg.DagsterRunStatus.SUCCESS, {}, sample=500)
    finished(kept, "unregistered", dg.DagsterRunStatus.SUCCESS, {}, model_folder=str(folder))
    finished(kept, "busy", dg.DagsterRunStatus.STARTED, {})
    finished(kept, "broken", dg.DagsterRunStatus.FAILURE, {})
    requests = nightly(places, kept)
    assert [one.partition_key for one in requests] == ["one.untrained", "one", "unregistered"]
    assert requests[1].run_config == {"resources": {"settings": {"config": {"sample": 500}}}}
    assert requests[2].run_config == {"resources": {"settings": {"config": {"model_folder": str(folder)}}}}
    assert len({one.run_key for one in requests}) == len(requests)


def test_a_night_with_nothing_to_run_says_why(
    places: Warehouse, inbox: Path, folder: Path, kept: dg.DagsterInstance
) -> None:
    shutil.copytree(folder, inbox / "broken")
    register_models(kept, ["broken", "gone"])
    finished(kept, "broken", dg.DagsterRunStatus.FAILURE, {})
    reason = nightly(places, kept)
    assert "broken: its last run failed" in reason
    assert "gone: its weights are not there" in reason


def ran_as(instance: dg.DagsterInstance, wanted: dg.RunRequest, written: int) -> None:
    """A run as it was requested, which succeeded and wrote so many files."""

    @dg.asset
    def profiles() -> dg.MaterializeResult[object]:
        return dg.MaterializeResult(metadata={"files_written": written})

    tags = {**wanted.tags, PARTITION_NAME_TAG: str(wanted.partition_key)}
    assert dg.materialize([profiles], instance=instance, tags=tags).success


def slugs(requests: list[dg.RunRequest] | str) -> list[str | None]:
    assert isinstance(requests, list), requests
    return [one.partition_key for one in requests]


def test_once_a_night_found_all_of_a_model_current_the_next_ones_look_at_the_atlas_alone(
    places: Warehouse, inbox: Path, folder: Path, kept: dg.DagsterInstance
) -> None:
    for name in ("one", "two"):
        shutil.copytree(folder, inbox / name)
    register_models(kept, ["one", "two"])
    one, two = nightly(places, kept)
    assert isinstance(one, dg.RunRequest)
    assert isinstance(two, dg.RunRequest)
    ran_as(kept, one, written=0)
    ran_as(kept, two, written=3)
    assert slugs(nightly(places, kept)) == ["two"], "what wrote something may have more to write"
    ran_as(kept, two, written=0)
    (atlas,) = nightly(places, kept)
    assert isinstance(atlas, dg.RunRequest)
    assert atlas.partition_key is None
    job = build_defs(places).resolve_job_def(LAND)
    made = {key.to_user_string() for key in atlas.asset_selection or []}
    assert {"atlas", "catalog"} <= made <= {key.to_user_string() for key in job.asset_layer.executable_asset_keys}


def test_what_runs_write_into_the_default_warehouse_is_none_of_our_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settled, "PROJECT", tmp_path)
    for name in ("tables.py", "exchange/words.py", "__pycache__/tables.pyc", "data/models/model=one/part-0.parquet"):
        file = tmp_path / "warehouse" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    files = {path.name for path in settled._own_files("warehouse") if path.is_file()}
    assert files == {"tables.py", "words.py"}


def test_what_findings_read_of_all_models_is_said_twice_alike() -> None:
    of_models = {name for name in READ_OF_ALL if "model" in table(name).partitions}
    assert set(settled._READ_OF_ALL) == of_models


@pytest.mark.parametrize(
    ("what", "again"),
    [
        ("its weights", ["one"]),
        ("a concept", ["one", "two"]),
        ("a table of its own", ["one"]),
        ("a chart of its own", ["one"]),
        ("a chart of all", ["one", "two"]),
        ("profiles of a third", ["one", "two"]),
        ("a table of the twin", ["one"]),
        ("our code", ["one", "two"]),
        ("the judge", ["one", "two"]),
        ("neighbours of a third", []),
    ],
)
def test_a_night_runs_a_model_again_once_anything_that_its_run_reads_has_changed(
    what: str,
    again: list[str],
    places: Warehouse,
    inbox: Path,
    folder: Path,
    kept: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("one", "two"):
        shutil.copytree(folder, inbox / name)
    register_models(kept, ["one", "two"])
    house = Path(places.root)
    stored = {
        "a table of its own": house / "neighbours" / "model=one" / "concept=colours" / "part-0.parquet",
        "a chart of its own": house / "charts" / "one" / "map.png",
        "a chart of all": house / "charts" / "atlas.html",
        "a table of the twin": house / "activations" / "model=one.untrained" / "concept=colours" / "part-0.parquet",
        "profiles of a third": house / "profiles" / "model=three" / "concept=colours" / "part-0.parquet",
        "neighbours of a third": house / "neighbours" / "model=three" / "concept=colours" / "part-0.parquet",
    }
    for file in stored.values():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"rows")
    for wanted in nightly(places, kept):
        assert isinstance(wanted, dg.RunRequest)
        ran_as(kept, wanted, written=0)
    assert slugs(nightly(places, kept)) == [None]
    if what in stored:
        stored[what].unlink()
    elif what == "its weights":
        change_weights(inbox / "one")
    elif what == "a concept":
        terms = Path(places.concepts) / "colours" / "terms.csv"
        terms.write_text(terms.read_text() + "ruby,red,a picture book\n")
    elif what == "our code":
        monkeypatch.setattr("dagster_project.settled._CODE", ("analyses",))
    else:
        monkeypatch.setenv("VESALIUS_JUDGE_MODEL", "another")
    assert slugs(nightly(places, kept)) == (again or [None])
