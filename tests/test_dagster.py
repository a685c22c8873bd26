"""The assets land what they say, do nothing twice, and report what went wrong; runs survive being killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from landings import Landed, land, leave_charts_blank, unrun
from tiny_models import LAYERS, save_tiny

import extract.extraction
from dagster_project.definitions import build_defs
from dagster_project.defs import analyses, charts, extraction, library, maps, references
from dagster_project.defs.jobs import ATLAS, LIBRARY, MEASURE
from dagster_project.defs.partitions import MODELS, register_models
from dagster_project.defs.resources import Settings, Warehouse
from dagster_project.instance import PROCESS_TAG, fail_dead_runs, open_instance, this_process
from dagster_project.landing import CONTRACT, column_schema
from dagster_project.running import Outcome, chosen_models, own_error, run_models
from dagster_project.summary import summarize
from extract.job import measuring
from extract.job.progress import LineProgress
from extract.models import add_model
from extract.tokenization import Tokenized
from warehouse import fingerprints
from warehouse.errors import (
    InputError,
    ModelError,
    StoreError,
    StoreUnreachableError,
    TableError,
    TransientError,
)
from warehouse.tables import table

TINY = Settings(resamples=20, permutations=20)
PROMPTS = {"colours": 24, "numbers": 24}
ASKED, ANSWERED = 16, 12
FORWARDS = {"colours": 24 + ASKED + ANSWERED * (LAYERS + 1), "numbers": 24}
"""Prompts that go through the model: all in the sweep, those that ask once more for gradients, some for answers."""
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny-qwen", "qwen3")


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Landed:
    return land(tmp_path_factory.mktemp("landed"), folder, TINY)


@pytest.fixture
def places(tmp_path: Path, folder: Path) -> Warehouse:
    return unrun(tmp_path, folder)


@pytest.fixture
def finished(tmp_path: Path, landed: Landed) -> Warehouse:
    """Those places after a whole run."""
    return landed.copied(tmp_path)


@pytest.fixture
def blank_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_charts_blank(monkeypatch)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        register_models(found, ["tiny"])
        yield found


@pytest.fixture
def run(instance: dg.DagsterInstance, blank_charts: None) -> Callable[..., Outcome]:
    """Another run, with charts left blank as in the first."""

    def run(places: Warehouse, settings: Settings = TINY) -> Outcome:
        return run_all(instance, places, settings)

    return run


def run_all(instance: dg.DagsterInstance, places: Warehouse, settings: Settings = TINY, umap: bool = False) -> Outcome:
    entries = chosen_models(places, ["tiny"])
    quiet = LineProgress(lambda _: None)
    return run_models(instance, places, entries, settings, quiet, umap=umap, untrained=False)


def execute(
    places: Warehouse, instance: dg.DagsterInstance, job: str, *assets: str, **settings: object
) -> dg.ExecuteInProcessResult:
    """One job, or some of its assets, as the UI would run it."""
    config: dict[str, Any] = dict(QUIET)
    if job != ATLAS:
        config["resources"] = {"settings": {"config": {"resamples": 20, "permutations": 20, **settings}}}
    return (
        build_defs(places)
        .resolve_job_def(job)
        .execute_in_process(
            instance=instance,
            partition_key="tiny" if job == MEASURE else None,
            asset_selection=[dg.AssetKey(name) for name in assets] or None,
            run_config=config,
            raise_on_error=False,
        )
    )


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """What a run reported of an asset."""
    (event,) = [one for one in result.get_asset_materialization_events() if one.asset_key == dg.AssetKey(asset)]
    return {name: value.value for name, value in event.materialization.metadata.items()}


def files(places: Warehouse) -> dict[str, int]:
    """Every file of the warehouse's tables with the time of its last change."""
    return {str(path): path.stat().st_mtime_ns for path in Path(places.root).rglob("part-0.parquet")}


# The code location


CONCLUDED = (*analyses.PROFILED, *maps.TABLES, "findings")
"""What is concluded from what was measured, pictures apart."""


def test_the_assets_are_the_tables_of_the_stages_and_three_things_to_look_at() -> None:
    graph = build_defs().resolve_asset_graph()
    groups = {node.key.to_user_string(): node.group_name for node in graph.asset_nodes}
    assert groups == {
        **dict.fromkeys(["concepts", "terms", "frequencies", "labels", "prompts", "pairs"], "library"),
        **dict.fromkeys(["models", "plants", "unmeasured", "tokens", "pair_tokens", "activations"], "extraction"),
        **dict.fromkeys(["contributions", "first_tokens", "lesions", "patches", "saliency"], "extraction"),
        **dict.fromkeys(["responses", "judgements"], "extraction"),
        **dict.fromkeys(["published", "validation", "edits"], "library"),
        **dict.fromkeys(
            ["projections", "neighbours", "profiles", "profile_draws", "rivals", "jumps", "stage_circles"], "analyses"
        ),
        **dict.fromkeys(["marks", "regions", "knowledge_map", "localisations", "stability", "findings"], "maps"),
        **dict.fromkeys(["umap_pictures", "profile_map", "catalog", "atlas", *charts.FILES], "atlas"),
    }
    assert all(node.description and node.kinds for node in graph.asset_nodes)


def test_a_model_is_a_partition_of_what_is_made_of_it() -> None:
    graph = build_defs().resolve_asset_graph()
    partitioned = {node.key.to_user_string() for node in graph.asset_nodes if node.partitions_def == MODELS}
    pictures = {"umap_pictures", "model_map_chart", "findings_chart", "stability_chart"}
    assert partitioned == {*extraction.TABLES, "judgements", "projections", "neighbours", *CONCLUDED, *pictures}


def test_every_table_has_a_contract_check_and_the_catalog_the_checks_in_sql() -> None:
    graph = build_defs().resolve_asset_graph()
    checks = {(key.asset_key.to_user_string(), key.name) for key in graph.asset_check_keys}
    tables = [
        *library.TABLES,
        *references.TABLES,
        *extraction.TABLES,
        "judgements",
        "projections",
        "neighbours",
        *CONCLUDED,
    ]
    assert {asset for asset, name in checks if name == CONTRACT} == set(tables)
    assert ("catalog", "tokens_missing") in checks


def test_steps_are_spawned_and_only_the_extraction_waits_for_the_pool() -> None:
    defs = build_defs()
    assert extraction.extraction.op.pool == "gpu"
    assert defs.executor is not None


def test_the_column_schema_comes_from_the_registry() -> None:
    shown = column_schema(table("activations"))
    assert [column.name for column in shown.columns] == [column.name for column in table("activations").all_columns]
    assert shown.columns[0].constraints.other == ["partition"]
    assert shown.columns[-1].type == "vector of float"


def test_loading_the_definitions_brings_neither_torch_nor_umap() -> None:
    heavy = "{'torch', 'transformers', 'umap', 'numba', 'sklearn', 'altair'}"
    code = f"import sys, dagster_project.definitions; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# What is done, and what is not done again


def test_a_run_reports_rows_bytes_time_forwards_and_columns(places: Warehouse, instance: dg.DagsterInstance) -> None:
    assert execute(places, instance, LIBRARY).success
    found = metadata(execute(places, instance, MEASURE, *extraction.TABLES), "activations")
    rows = sum(PROMPTS.values()) * 3 * (LAYERS + 1)
    assert (found["rows"], found["forwards"], found["files_written"]) == (rows, sum(PROMPTS.values()), 2)
    assert found["bytes"] > 0
    assert found["seconds"] > 0
    assert found["dagster/column_schema"] == column_schema(table("activations"))


def test_a_second_run_loads_no_model_and_passes_no_prompt(
    run: Callable[..., Outcome], landed: Landed, finished: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert landed.outcome.forwards == sum(FORWARDS.values())
    before = files(finished)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("there is nothing to do")

    monkeypatch.setattr(measuring, "load_model", never)
    monkeypatch.setattr("analyses.profiles.activation_profiles", never)
    assert run(finished) == Outcome(forwards=0, files_written=0, failed_checks=())
    assert files(finished) == before


def test_another_version_of_one_concept_costs_its_prompts_alone(
    run: Callable[..., Outcome], finished: Warehouse
) -> None:
    before = files(finished)
    terms = Path(finished.concepts) / "colours" / "terms.csv"
    terms.write_text(terms.read_text() + "ruby,red,a picture book\n")
    assert run(finished).forwards == FORWARDS["colours"] + 3 + 2
    changed = {path for path, time in files(finished).items() if before[path] != time}
    # A control: what is read against it is read again.
    against = {path for path in before if Path(path).relative_to(finished.root).parts[0] in CONCLUDED}
    assert changed == {path for path in before if "concept=colours" in path} | against


def test_other_weights_mean_other_activations_but_the_same_library(
    tmp_path: Path, run: Callable[..., Outcome], finished: Warehouse
) -> None:
    other = save_tiny(tmp_path / "tiny", "llama")
    Path(finished.models).write_text(f'[models.tiny]\npath = "{other}"\n')
    before = files(finished)
    assert run(finished).forwards == sum(FORWARDS.values())
    kept = {path for path, time in files(finished).items() if before[path] == time}
    untouched = {Path(path).relative_to(finished.root).parts[0] for path in kept}
    assert untouched == {*library.TABLES, *references.TABLES, "plants", "unmeasured"}


def test_a_model_that_only_moved_keeps_the_time_at_which_it_landed(
    run: Callable[..., Outcome], finished: Warehouse, folder: Path, tmp_path: Path
) -> None:
    landed = finished.store.read("models", model="tiny")["landed_at"]
    moved = tmp_path / "elsewhere"
    moved.symlink_to(folder)
    real = tmp_path / "copy"
    real.mkdir()
    for file in folder.iterdir():
        (real / file.name).write_bytes(file.read_bytes())
    Path(finished.models).write_text(f'[models.tiny]\npath = "{real}"\n')
    assert run(finished).forwards == 0
    row = finished.store.read("models", model="tiny")
    assert row["source"].to_pylist() == [str(real)]
    assert row["landed_at"].equals(landed)


def test_contributions_are_kept_on_request_and_left_alone_by_runs_that_do_not_ask(
    run: Callable[..., Outcome], finished: Warehouse
) -> None:
    assert not finished.store.partitions("contributions")
    run(finished, TINY.model_copy(update={"contributions": True}))
    found = finished.store.read("contributions", model="tiny", concept="numbers")
    assert found.num_rows == PROMPTS["numbers"] * 3 * 2 * LAYERS
    assert run(finished) == Outcome(forwards=0, files_written=0, failed_checks=())
    assert finished.store.read("contributions", model="tiny", concept="numbers").equals(found)


def test_another_choice_of_lesions_costs_a_sweep_of_the_sample_alone(
    run: Callable[..., Outcome], finished: Warehouse
) -> None:
    before = files(finished)
    run(
        finished,
        TINY.model_copy(update={"lesions": ["mean:mlp", "identity"], "sites": ["attn_out:term", "resid:token"]}),
    )
    changed = {
        Path(path).relative_to(finished.root).parts[0] for path, time in files(finished).items() if before[path] != time
    }
    assert changed == {"lesions", "patches", *CONCLUDED}
    lesions = finished.store.read("lesions", model="tiny", concept="colours")
    assert set(lesions["part"].to_pylist()) == {"layer", "mlp"}


def test_a_run_can_be_narrowed_to_a_concept(run: Callable[..., Outcome], places: Warehouse) -> None:
    outcome = run(places, TINY.model_copy(update={"concepts": ["numbers"]}))
    assert outcome.forwards == PROMPTS["numbers"]
    assert places.store.partitions("profiles") == [{"model": "tiny", "concept": "numbers"}]
    assert places.store.partitions("prompts") == [{"concept": "numbers"}]


def test_the_launchpad_can_narrow_and_set_draws(places: Warehouse, instance: dg.DagsterInstance) -> None:
    assert execute(places, instance, LIBRARY, concepts=["colours"]).success
    result = execute(
        places, instance, MEASURE, *extraction.TABLES, *analyses.PROFILED, concepts=["colours"], resamples=10, seed=7
    )
    assert result.success
    drawn = places.store.footer("profiles", model="tiny", concept="colours")
    assert execute(places, instance, MEASURE, *analyses.PROFILED, concepts=["colours"], resamples=11, seed=7).success
    assert places.store.footer("profiles", model="tiny", concept="colours") != drawn


def test_neighbours_land_without_umap_and_anew_when_activations_change(
    run: Callable[..., Outcome], finished: Warehouse, instance: dg.DagsterInstance
) -> None:
    store = finished.store
    assert store.partitions("projections") == []
    keys = {"model": "tiny", "concept": "colours"}
    found = store.read("neighbours", **keys)
    assert set(found["layer"].to_pylist()) == set(range(LAYERS))
    kept = store.footer("neighbours", **keys)
    again = metadata(execute(finished, instance, MEASURE, "neighbours", seed=7), "neighbours")
    assert (again["files_written"], store.footer("neighbours", **keys)) == (0, kept)
    run(finished, TINY.model_copy(update={"dtype": "bfloat16"}))
    assert not store.read("neighbours", **keys).equals(found)


def test_everything_lands_and_is_drawn_in_one_process(places: Warehouse, instance: dg.DagsterInstance) -> None:
    outcome = run_all(instance, places, umap=True)
    assert outcome.failed_checks == ()
    assert places.store.read("projections", model="tiny", concept="numbers")["template_kind"][0].as_py() == "neutral"
    result = execute(places, instance, ATLAS)
    found = metadata(result, "profile_map")
    assert found["charts_drawn"] == 0
    assert found["profile_map"].startswith("![profile_map](data:image/png;base64,")
    assert len(found["profile_map"]) < 700_000
    assert all(Path(found[f"profile_map_{suffix}"]).is_file() for suffix in ("json", "html", "png"))
    page = metadata(result, "atlas")
    assert (page["models"], page["pages_built"]) == (1, 0)
    assert page["knowledge_map"].startswith("![knowledge_map](data:image/png;base64,")
    assert Path(page["path"]).stat().st_size == page["bytes"]
    assert 'data-of="tiny"' in Path(page["path"]).read_text(encoding="utf-8")
    pictures = metadata(execute(places, instance, MEASURE, "umap_pictures"), "umap_pictures")
    assert (pictures["charts"], pictures["charts_drawn"]) == (2, 0)
    lines = summarize(places.store, ["tiny"], ["colours", "numbers"])
    assert [(line.concept, line.labelling, line.metric) for line in lines] == [
        ("colours", "colour", "silhouette"),
        ("numbers", "size", "R²"),
    ]


# What goes wrong


def test_rows_that_break_the_contract_are_not_committed_and_the_check_says_so(
    places: Warehouse, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert execute(places, instance, LIBRARY).success
    right = extract.extraction.split

    def twice(*given: Any) -> Tokenized:
        found = right(*given)
        return Tokenized(found.indices, pa.concat_tables([found.table, found.table]))

    monkeypatch.setattr(extract.extraction, "split", twice)
    result = execute(places, instance, MEASURE, *extraction.TABLES)
    assert not result.success
    assert places.store.partitions("models")
    assert not places.store.partitions("tokens")
    (failed,) = [one for one in result.get_asset_check_evaluations() if not one.passed]
    assert (failed.asset_key, failed.check_name) == (dg.AssetKey("tokens"), CONTRACT)
    assert "a key identifies one row" in (failed.description or "")


def test_what_does_not_fit_across_tables_is_found_by_a_check_in_sql(
    landed: Landed, finished: Warehouse, instance: dg.DagsterInstance, blank_charts: None
) -> None:
    assert landed.outcome.failed_checks == ()
    terms = Path(finished.concepts) / "colours" / "terms.csv"
    terms.write_text(terms.read_text() + "ruby,red,a picture book\n")
    assert execute(finished, instance, LIBRARY).success
    result = execute(finished, instance, ATLAS)
    failed = {one.check_name: one for one in result.get_asset_check_evaluations() if not one.passed}
    assert failed["tokens_missing"].metadata["rows_at_fault"].value == 3
    assert "| tiny | colours | colour-is | ruby |" in failed["tokens_missing"].metadata["first_rows"].value


@pytest.mark.parametrize(
    ("error", "calls"), [(ModelError("no such weights"), 1), (TransientError("the disk blinked"), 2)]
)
def test_only_transient_errors_are_tried_again(
    places: Warehouse, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, error: Exception, calls: int
) -> None:
    assert execute(places, instance, LIBRARY).success
    right, seen = measuring.load_model, []

    def load(*given: Any, **more: Any) -> Any:
        seen.append(given)
        if len(seen) == 1:
            raise error
        return right(*given, **more)

    monkeypatch.setattr(measuring, "load_model", load)
    assert execute(places, instance, MEASURE, *extraction.TABLES).success == (calls == 2)
    assert len(seen) == calls


def test_an_error_of_ours_gets_out_of_its_wrapping() -> None:
    error = TableError("wrong rows")
    failure = dg.Failure("wrong rows")
    failure.__cause__ = error
    assert own_error(failure) is error
    assert own_error(ValueError("a bug")) is None


def test_an_error_that_stayed_through_all_tries_gets_out_too(instance: dg.DagsterInstance) -> None:
    error = StoreUnreachableError("Can't read s3://bucket/x just now.")

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=1))
    def reading() -> None:
        raise error

    with pytest.raises(Exception, match="Exceeded max_retries") as caught:
        dg.materialize([reading], instance=instance)
    assert own_error(caught.value) is error


def test_a_model_that_is_not_there_is_told_before_anything_runs(places: Warehouse) -> None:
    with pytest.raises(ModelError, match="nothing-here"):
        chosen_models(places, ["tiny", "nothing-here"])
    assert not Path(places.root).exists()


def test_another_folder_of_the_same_name_does_not_overwrite_what_landed(
    places: Warehouse, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    first, second = save_tiny(tmp_path / "a" / "mine"), save_tiny(tmp_path / "b" / "mine")
    with pytest.raises(InputError, match="both be called 'mine'"):
        chosen_models(places, [str(first), str(second)])
    quiet = LineProgress(lambda _: None)
    run_models(instance, places, chosen_models(places, [str(first)]), TINY, quiet, untrained=False, only=["models"])
    with pytest.raises(InputError, match=r"holds 'mine' from .*/a/mine"):
        chosen_models(places, [str(second)])


def test_an_asset_says_what_to_materialize_first(places: Warehouse, instance: dg.DagsterInstance) -> None:
    result = execute(places, instance, MEASURE, *extraction.TABLES)
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "materialize the asset `prompts` first" in str(failure.step_failure_data.user_failure_data)


# What a file depends on


def test_the_version_of_the_extraction_is_the_one_that_its_module_tells() -> None:
    assert fingerprints.VERSIONS["extraction"] == extract.extraction.EXTRACTION_VERSION


def test_a_fingerprint_changes_with_each_of_its_inputs() -> None:
    made = [
        fingerprints.library("terms", "a"),
        fingerprints.library("labels", "a"),
        fingerprints.library("terms", "b"),
        fingerprints.tokens("m", "p"),
        fingerprints.tokens("m", "q"),
        fingerprints.activations("m", "p", None),
        fingerprints.first_tokens("m", "p", None),
        fingerprints.activations("m", "p", "bfloat16"),
        fingerprints.activations("n", "p", None),
        fingerprints.projections("a", "p", "t", "asking", 0),
        fingerprints.projections("a", "p", "t", "neutral", 0),
        fingerprints.projections("a", "p", "t", "asking", 1),
        fingerprints.neighbours("a", "p", "t", "asking"),
        fingerprints.neighbours("b", "p", "t", "asking"),
        fingerprints.neighbours("a", "q", "t", "asking"),
        fingerprints.neighbours("a", "p", "u", "asking"),
        fingerprints.neighbours("a", "p", "t", "neutral"),
        fingerprints.profiles("profiles", {"projections": "x"}, 0, 10, 10),
        fingerprints.profiles("profiles", {"projections": None}, 0, 10, 10),
        fingerprints.profiles("profiles", {"projections": "x"}, 0, 11, 10),
        fingerprints.profiles("profiles", {"projections": "x"}, 0, 10, 11),
        fingerprints.profiles("profile_draws", {"projections": "x"}, 0, 10, 10),
        fingerprints.maps("marks", {"profiles": "x"}, "c"),
        fingerprints.maps("marks", {"profiles": "x"}, "d"),
        fingerprints.findings({"marks": "x"}),
        fingerprints.findings({"marks": "y"}),
        fingerprints.reference("published", "x"),
        fingerprints.reference("published", "y"),
    ]
    assert len(set(made)) == len(made)


# The instance on disk


_KILLED = """
import os, signal, sys
from pathlib import Path
import extract.extraction
from dagster_project.defs.resources import Settings, Warehouse
from dagster_project.instance import open_instance
from extract.job.progress import LineProgress
from dagster_project.running import chosen_models, run_models

right = extract.extraction.run_sweep

def until_the_second_concept(loaded, machine, subject, wanted, write, **more):
    def killing(name, rows):
        write(name, rows)
        if rows["layer"][0].as_py() == 1 and "counted" in subject.prompts["text"][0].as_py():
            os.kill(os.getpid(), signal.SIGKILL)

    right(loaded, machine, subject, wanted, killing, **more)

extract.extraction.run_sweep = until_the_second_concept
root, concepts, models = sys.argv[1:]
places = Warehouse(root=root, concepts=concepts, models=models)
with open_instance() as instance:
    run_models(instance, places, chosen_models(places, ["tiny"]), Settings(resamples=20, permutations=20),
               LineProgress(lambda _: None), umap=False, untrained=False)
"""


@pytest.mark.slow
def test_a_run_of_two_models_leaves_nothing_for_the_next_and_another_revision_of_one_leaves_the_other(
    places: Warehouse, instance: dg.DagsterInstance, tmp_path: Path, blank_charts: None
) -> None:
    add_model(Path(places.models), save_tiny(tmp_path / "other", "qwen2"), "other")
    quiet = LineProgress(lambda _: None)

    def run() -> Outcome:
        entries = chosen_models(places, ["tiny", "other"])
        return run_models(instance, places, entries, TINY, quiet, umap=False, untrained=False)

    run()
    assert (again := run()).files_written == again.forwards == 0
    before, weights = files(places), tmp_path / "other" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-2] ^= 1
    weights.write_bytes(content)
    assert run().forwards == sum(FORWARDS.values())
    changed = {name for name, at in files(places).items() if before.get(name) != at}
    # Findings hold a model against all others.
    assert {name for name in changed if "model=other" not in name} == {str(places.store.path("findings", model="tiny"))}
    assert run().files_written == 0


def test_a_killed_run_goes_on_where_it_stopped(
    places: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blank_charts: None
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, places.root, places.concepts, places.models], check=False, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL
    first = places.store.path("activations", model="tiny", concept="colours")
    before = first.stat().st_mtime_ns
    assert list(Path(places.root).rglob("*.tmp"))
    assert not places.store.path("activations", model="tiny", concept="numbers").exists()
    with open_instance() as instance:
        (stuck,) = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        entries = chosen_models(places, ["tiny"])
        quiet = LineProgress(lambda _: None)
        outcome = run_models(instance, places, entries, TINY, quiet, umap=False, untrained=False)
        assert instance.get_run_by_id(stuck.run_id).status == dg.DagsterRunStatus.FAILURE
        assert instance.get_dynamic_partitions("models") == ["tiny"]
        (landed,) = [
            record.asset_materialization
            for record in instance.fetch_materializations(dg.AssetKey("activations"), limit=5).records
        ]
    assert outcome.forwards == sum(FORWARDS.values()) - PROMPTS["colours"]
    assert landed.metadata["files_current"].value == 1
    assert first.stat().st_mtime_ns == before
    assert not list(Path(places.root).rglob("*.tmp"))


def test_only_runs_of_dead_processes_are_marked_as_failed() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        host, process, began = this_process().rsplit(":", 2)
        tags = {
            "alive": this_process(),
            "its number is another process's now": f"{host}:{process}:{int(began) - 1}",
            "elsewhere": f"another-{host}:{process}:1",
            "not ours": "",
        }
        ids = {
            name: instance.create_run_for_job(
                build_defs().resolve_job_def(LIBRARY),
                tags={PROCESS_TAG: tag} if tag else {},
                status=dg.DagsterRunStatus.STARTED,
            ).run_id
            for name, tag in tags.items()
        }
        assert fail_dead_runs(instance) == [ids["its number is another process's now"]]


def test_the_home_has_no_telemetry_and_keeps_settings_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with open_instance() as instance:
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    with open_instance():
        assert (home / "dagster.yaml").read_text() == "telemetry:\n  enabled: false\n"


def test_a_home_that_cannot_be_written_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", f"/proc/{os.getpid()}/home")
    with pytest.raises(StoreError, match="DAGSTER_HOME"):
        open_instance()
