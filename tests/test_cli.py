"""The `vesalius` command: what it prints, what it writes, and one clear message with its code for each mistake."""

import csv
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch
from dagster._core.execution import compute_logs
from landings import leave_charts_blank
from tiny_library import write_concept, write_library
from tiny_models import LAYERS, save_tiny
from typer.testing import CliRunner, Result

from dagster_project import terminal
from dagster_project.cli import app
from dagster_project.defs.partitions import MODELS
from dagster_project.defs.resources import PROJECT
from dagster_project.instance import open_instance
from dagster_project.interrupts import interruptible, keep_interrupts_from_dagster
from warehouse.errors import InputError
from warehouse.exit_codes import ExitCode
from warehouse.versions import CODE_VERSION

VESALIUS = str(Path(sys.executable).with_name("vesalius"))
FEW = ("--resamples", "20", "--permutations", "20", "--no-umap", "--no-untrained")

Invoke = Callable[..., Result]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a library and a warehouse that the model has landed in; for tests that only read."""
    folder = tmp_path_factory.mktemp("world")
    save_tiny(folder / "Tiny Qwen", "qwen3")
    write_library(folder / "concepts")
    with pytest.MonkeyPatch.context() as patch:
        _settle(patch, folder)
        done = CliRunner().invoke(app, ["run", "--model", str(folder / "Tiny Qwen"), *FEW])
    assert done.exit_code == 0, done.output
    (folder / "run.txt").write_text(done.stdout)
    return folder


@pytest.fixture
def vesalius(world: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Runs the command in that world."""
    _settle(monkeypatch, world)
    return lambda *words, **more: CliRunner().invoke(app, [str(word) for word in words], **more)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place of one's own, with a library and no warehouse."""
    write_library(tmp_path / "concepts")
    _settle(monkeypatch, tmp_path)
    return tmp_path


def _settle(patch: pytest.MonkeyPatch, folder: Path) -> None:
    leave_charts_blank(patch)
    patch.setenv("DAGSTER_HOME", str(folder / "home"))
    patch.setenv("VESALIUS_WAREHOUSE", str(folder / "warehouse"))
    patch.setenv("VESALIUS_CONCEPTS", str(folder / "concepts"))
    patch.setenv("VESALIUS_MODELS", str(folder / "models.toml"))


def mistake(result: Result, code: int = 2) -> str:
    """The one message of a command that failed."""
    assert result.exit_code == code, (result.exit_code, result.output, result.exception)
    assert "Traceback" not in result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.stderr.strip().endswith(line)
    return line.removeprefix("error: ")


def landed(folder: Path) -> dict[Path, bytes]:
    """Every file of a warehouse's tables, with its content."""
    return {path: path.read_bytes() for path in sorted((folder / "warehouse").rglob("part-0.parquet"))}


# The command itself


def test_help_shows_at_once_and_needs_nothing_heavy() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([VESALIUS, "--help"], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "layer" in done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.5


def test_the_version_is_the_package_s() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout.strip() == f"vesalius {CODE_VERSION}"


def test_an_option_that_does_not_exist_is_the_user_s_mistake() -> None:
    assert CliRunner().invoke(app, ["run", "--modle", "x"]).exit_code == 2


def test_debug_shows_where_an_error_came_from(vesalius: Invoke) -> None:
    result = vesalius("--debug", "run", "--model", "nothing")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert "error: No model 'nothing'" in result.stderr


# Running


def test_a_folder_that_nobody_has_seen_runs_and_is_summed_up(world: Path) -> None:
    said = (world / "run.txt").read_text()
    assert "tiny-qwen" in said
    assert "silhouette" in said
    assert f"{24 + 24 + 16 + 12 * (LAYERS + 1)} prompts went through a model" in said
    for place in ("charts/knowledge-map.html", "catalog.duckdb"):
        assert str(world / "warehouse" / place) in said
        assert (world / "warehouse" / place).is_file()


def test_a_second_run_says_that_there_was_nothing_to_do(vesalius: Invoke, world: Path) -> None:
    before = landed(world)
    result = vesalius("run", "--model", world / "Tiny Qwen", *FEW)
    assert result.exit_code == 0
    assert "no forward pass, no file written" in result.stdout
    assert landed(world) == before


def test_the_ui_knows_of_a_run_and_its_model(vesalius: Invoke) -> None:
    vesalius("models")
    with open_instance() as instance:
        assert MODELS.name
        assert "tiny-qwen" in instance.get_dynamic_partitions(MODELS.name)
        assert "measure_model" in {run.job_name for run in instance.get_runs()}


@pytest.mark.slow
def test_the_command_in_its_own_process_shows_how_far_it_is_and_keeps_dagster_quiet(
    elsewhere: Path, world: Path
) -> None:
    done = subprocess.run(
        [VESALIUS, "run", "--model", world / "Tiny Qwen", "--only", "numbers", "--resamples", "20"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "tiny-qwen.untrained, numbers: activations, first_tokens: 24 prompts" in done.stderr
    assert "tiny-qwen, numbers: activations, first_tokens: 24 prompts" in done.stderr
    assert "tiny-qwen, numbers: UMAP: 5 layers" in done.stderr
    assert "STEP_START" not in done.stderr
    assert "Loading weights" not in done.stderr
    assert "colours" not in done.stdout
    assert (elsewhere / "warehouse" / "charts" / "tiny-qwen" / "umap-numbers.png").is_file()


_INTERRUPTED = """
import os, signal, sys, threading, time
from dagster_project.interrupts import interruptible

def work():
    os.kill(os.getpid(), signal.SIGINT)
    try:
        time.sleep(60)
    except BaseException:
        pass

interruptible(work, lambda: print("goodbye", flush=True))
"""


def test_an_interrupt_does_not_reach_the_helpers_that_show_the_output_of_a_step(tmp_path: Path) -> None:
    kept = compute_logs.execute_posix_tail
    try:
        keep_interrupts_from_dagster()
        (tmp_path / "log").touch()
        with compute_logs.execute_posix_tail(str(tmp_path / "log"), None) as pids:
            assert pids
            for pid in pids:
                (blocked,) = re.findall(r"SigBlk:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
                assert int(blocked, 16) & 1 << signal.SIGINT - 1
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        compute_logs.execute_posix_tail = kept


def test_an_interrupt_ends_the_process_at_once_whatever_it_does() -> None:
    done = subprocess.run([sys.executable, "-c", _INTERRUPTED], capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (ExitCode.INTERRUPTED, "goodbye\n")


def test_what_the_work_returns_or_raises_comes_out() -> None:
    assert interruptible(lambda: 42, lambda: None) == 42
    with pytest.raises(InputError, match="yours"):
        interruptible(lambda: _raise(InputError("yours")), lambda: None)


def _raise(error: Exception) -> None:
    raise error


# Mistakes


def test_a_model_that_is_neither_slug_nor_folder(vesalius: Invoke) -> None:
    assert "No model 'biggest'" in mistake(vesalius("run", "--model", "biggest"))


def test_no_model_at_all(vesalius: Invoke) -> None:
    assert "vesalius add" in mistake(vesalius("run"))


def test_a_folder_without_weights(vesalius: Invoke, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "empty")
    (folder / "model.safetensors").unlink()
    assert "there are no weights" in mistake(vesalius("run", "--model", folder))


def test_a_pickle_instead_of_weights(vesalius: Invoke, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "pickled")
    (folder / "model.safetensors").unlink()
    torch.save({"weights": torch.zeros(1)}, folder / "pytorch_model.bin")
    assert "pickle" in mistake(vesalius("run", "--model", folder))


def test_weights_that_are_cut_off(vesalius: Invoke, world: Path, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "cut")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    before = landed(world)
    assert "model.safetensors is not whole" in mistake(vesalius("run", "--model", folder, *FEW))
    assert landed(world) == before


def test_a_tokenizer_without_a_token_for_padding_is_no_mistake(vesalius: Invoke, world: Path) -> None:
    settings = json.loads((world / "Tiny Qwen" / "tokenizer_config.json").read_text())
    assert settings.get("pad_token") is None


def test_an_unknown_concept(vesalius: Invoke, world: Path) -> None:
    said = mistake(vesalius("run", "--model", world / "Tiny Qwen", "--only", "colours,surgery"))
    assert "'surgery'" in said
    assert "colours, numbers" in said


def test_only_without_a_name(vesalius: Invoke) -> None:
    assert "--only names no concept" in mistake(vesalius("run", "--only", " , "))


def test_a_concept_library_that_is_not_there(vesalius: Invoke, world: Path) -> None:
    assert "does not exist" in mistake(vesalius("run", "--model", world / "Tiny Qwen", "--concepts", "/nowhere"))


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("concept.toml", 'title = "Colours', "This is not TOML"),
        ("concept.toml", 'titel = "Colours"', "is missing"),
        ("terms.csv", "term,colour,source\ntomato,red\n", "2 cells"),
        ("terms.csv", "", "empty"),
    ],
)
def test_a_broken_concept_is_told_with_its_file_and_line(
    elsewhere: Path, world: Path, file: str, text: str, said: str
) -> None:
    (elsewhere / "concepts" / "colours" / file).write_text(text)
    message = mistake(CliRunner().invoke(app, ["run", "--model", str(world / "Tiny Qwen")]))
    assert f"colours/{file}" in message
    assert said in message
    assert not (elsewhere / "warehouse").exists()


def test_a_broken_concept_leaves_what_landed_before(world: Path, elsewhere: Path) -> None:
    words = ["run", "--model", str(world / "Tiny Qwen"), "--only", "numbers", *FEW]
    assert CliRunner().invoke(app, words).exit_code == 0
    before = landed(elsewhere)
    (elsewhere / "concepts" / "numbers" / "terms.csv").write_text("term,size,source\none,1\n")
    mistake(CliRunner().invoke(app, words))
    assert landed(elsewhere) == before


def test_a_term_that_the_tokenizer_makes_empty(elsewhere: Path, world: Path) -> None:
    from extract.job import measuring

    right = measuring.load_model

    def deaf(*given: object, **more: object) -> object:
        loaded = right(*given, **more)  # type: ignore[arg-type]
        loaded.tokenizer.backend_tokenizer.normalizer = __import__("tokenizers").normalizers.Replace("pea", "")
        return loaded

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "load_model", deaf)
        said = mistake(CliRunner().invoke(app, ["run", "--model", str(world / "Tiny Qwen"), *FEW]))
    assert "makes nothing of the term 'pea'" in said
    assert not (elsewhere / "warehouse" / "tokens" / "model=tiny-qwen" / "concept=colours" / "part-0.parquet").exists()


@pytest.mark.parametrize("slug", ["../above", "a/b", "Big", "a..b", "-x"])
def test_a_slug_that_could_leave_its_folder(vesalius: Invoke, world: Path, slug: str) -> None:
    result = vesalius("add", world / "Tiny Qwen", f"--slug={slug}")
    assert "can't be a slug" in mistake(result)
    assert not (world / "models.toml").exists()


def test_a_warehouse_that_cannot_be_written_is_the_machine_s_fault(vesalius: Invoke, world: Path) -> None:
    place = f"/proc/{os.getpid()}/warehouse"
    said = mistake(vesalius("run", "--model", world / "Tiny Qwen", "--warehouse", place, *FEW), code=1)
    assert "Can't write" in said
    assert "--warehouse" in said


def test_a_full_disk_is_the_machine_s_fault_and_the_last_good_file_stays(
    world: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["run", "--model", str(world / "Tiny Qwen"), *FEW]
    assert CliRunner().invoke(app, words).exit_code == 0
    before = landed(elsewhere)
    terms = elsewhere / "concepts" / "colours" / "terms.csv"
    terms.write_text(terms.read_text() + "ruby,red,a picture book\n")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left" in mistake(CliRunner().invoke(app, words), code=1)
    assert landed(elsewhere) == before
    assert not list((elsewhere / "warehouse").rglob("*.tmp"))


def test_an_error_of_dagster_s_wrapping_keeps_its_message_in_a_process_of_its_own(elsewhere: Path) -> None:
    done = subprocess.run([VESALIUS, "run", "--model", "nothing"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: No model 'nothing'")
    assert len(done.stderr.splitlines()) == 1


# Models and concepts


def test_add_registers_a_folder_once_under_a_name(elsewhere: Path, world: Path) -> None:
    (elsewhere / "models.toml").write_text("# mine\n")
    for _ in range(2):
        result = CliRunner().invoke(app, ["add", str(world / "Tiny Qwen"), "--slug", "mine"])
        assert result.exit_code == 0
    text = (elsewhere / "models.toml").read_text()
    assert text.startswith("# mine\n")
    assert text.count("[models.mine]") == 1
    with open_instance() as instance:
        assert instance.get_dynamic_partitions("models") == ["mine"]
    listed = CliRunner().invoke(app, ["models"]).stdout
    assert "mine" in listed
    assert "landed" in listed


def test_the_registry_that_comes_along_names_the_two_embedded_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VESALIUS_MODELS", raising=False)
    listed = CliRunner().invoke(app, ["models"]).stdout
    assert str(PROJECT / "extract" / "embedded" / "reference") in listed
    assert str(PROJECT / "extract" / "embedded" / "planted") in listed


def test_a_sound_library_is_said_to_be_sound(vesalius: Invoke, world: Path) -> None:
    assert "is sound: 2 concepts" in vesalius("concepts", "check", world / "concepts").stdout


def test_every_fault_of_an_unsound_library_is_a_line(vesalius: Invoke, tmp_path: Path) -> None:
    folder = write_library(tmp_path / "concepts")
    terms = folder / "colours" / "terms.csv"
    terms.write_text(terms.read_text() + "tomato,red,x\npea,green,y\n")
    result = vesalius("concepts", "check", folder)
    assert result.exit_code == 2
    assert "colours/terms.csv:10" in result.stderr
    assert "colours/terms.csv:11" in result.stderr


def test_an_unsound_library_is_not_run_and_one_line_says_where_to_look(elsewhere: Path, world: Path) -> None:
    terms = elsewhere / "concepts" / "colours" / "terms.csv"
    terms.write_text(terms.read_text() + "tomato,red,x\npea,green,y\n")
    said = mistake(CliRunner().invoke(app, ["run", "--model", str(world / "Tiny Qwen")]))
    assert "colours/terms.csv:10" in said
    assert "vesalius concepts check" in said


def test_concepts_are_counted(vesalius: Invoke, tmp_path: Path) -> None:
    write_concept(
        tmp_path / "one",
        "days",
        (write_library(tmp_path / "concepts") / "numbers" / "concept.toml").read_text(),
        "term,size,source\n" + "".join(f"{number},{number},calendar\n" for number in range(1, 8)),
    )
    listed = vesalius("concepts", "list", tmp_path / "one").stdout
    assert "days" in listed
    assert "size (7 over 7)" in listed


# SQL


def test_a_statement_is_answered_in_a_table(vesalius: Invoke) -> None:
    said = vesalius("sql", "SELECT concept, count(*) AS many FROM terms GROUP BY ALL ORDER BY ALL").stdout.splitlines()
    assert [line.split() for line in said if line.strip()] == [["concept", "many"], ["colours", "8"], ["numbers", "12"]]


def test_a_named_query_takes_values(vesalius: Invoke) -> None:
    assert "best-layers" in vesalius("sql", "--list").stdout
    assert "tiny-qwen" in vesalius("sql", "best-layers").stdout
    assert "colours" in vesalius("sql", "best-layers", "--param", "metric=silhouette_cosine").stdout
    assert "colours" not in vesalius("sql", "best-layers", "-p", "metric=r2_umap").stdout
    empty = vesalius("sql", "localisations", "-p", "model=nosuch")
    assert "No rows. There is no model 'nosuch'; there are: tiny-qwen" in empty.stderr


def test_rows_are_saved_in_three_formats(vesalius: Invoke, tmp_path: Path) -> None:
    query = "SELECT term, layer, vector FROM activations WHERE concept = 'numbers' ORDER BY ALL LIMIT 500"
    paths = [tmp_path / f"rows.{suffix}" for suffix in ("csv", "json", "parquet")]
    result = vesalius("sql", query, "--csv", paths[0], "--json", paths[1], "--parquet", paths[2])
    assert (result.exit_code, result.stdout) == (0, "")
    rows = pl.read_parquet(paths[2])
    assert rows.shape == (360, 3)
    assert [row["vector"] for row in json.loads(paths[1].read_text())] == rows["vector"].to_list()
    with paths[0].open(newline="") as file:
        assert [json.loads(row["vector"]) for row in csv.DictReader(file)] == rows["vector"].to_list()


def test_csv_goes_to_standard_output_too(vesalius: Invoke) -> None:
    refused = vesalius("sql", "SELECT 1 AS one", "--csv", "/proc/x.csv")
    assert refused.exit_code == ExitCode.FAILED
    assert refused.stderr.startswith("error: Can't write /proc/x.csv")
    assert vesalius("sql", "SELECT 1 AS one, 'a,b' AS two", "--csv", "-").stdout == 'one,two\n1,"a,b"\n'
    assert vesalius("sql", "SELECT 1 AS one", "--csv").stdout == "one\n1\n"
    assert json.loads(vesalius("sql", "SELECT 1 AS one", "--json").stdout) == [{"one": 1}]


def test_columns_of_one_name_are_shown_each_and_refused_where_one_would_be_lost(
    vesalius: Invoke, tmp_path: Path
) -> None:
    query = "SELECT 1 AS one, 2 AS one"
    assert vesalius("sql", query).stdout.split() == ["one", "one", "1", "2"]
    assert vesalius("sql", query, "--csv").stdout == "one,one\n1,2\n"
    for option in ("--json", "--parquet"):
        result = vesalius("sql", query, option, tmp_path / "rows")
        assert result.exit_code == 2
        assert "2 columns are called one" in result.stderr
    assert not list(tmp_path.iterdir())


def test_values_that_only_sql_knows_ask_for_a_cast(vesalius: Invoke, tmp_path: Path) -> None:
    for words in ([], ["--csv"], ["--json"], ["--parquet", tmp_path / "rows"]):
        result = vesalius("sql", "FROM test_all_types()", *words)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "CAST(" in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_statement_comes_from_standard_input(vesalius: Invoke) -> None:
    assert vesalius("sql", input="SELECT 40 + 2 AS answer;\n").stdout.split() == ["answer", "42"]


def test_long_results_are_cut_and_say_so(vesalius: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "MOST_ROWS", 3)
    result = vesalius("sql", "FROM range(10)")
    assert len(result.stdout.split()) == 4
    assert "7 rows more" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["SELECT nothing FROM terms"], "nothing"),
        (["SELEC 1"], "SELEC"),
        (["DROP VIEW terms"], "not allowed"),
        (["best-layer"], "best-layers"),
        (["best-layers", "-p", "metric"], "name=value"),
        (["best-layers", "-p", "metrik=x"], "metrik"),
        (["nearest-terms"], "needs a value for term"),
    ],
)
def test_wrong_sql_is_one_message(vesalius: Invoke, words: list[str], said: str) -> None:
    assert said in mistake(vesalius("sql", *words))


def test_sql_without_a_warehouse_says_what_to_do_first(vesalius: Invoke, tmp_path: Path) -> None:
    assert "vesalius run" in mistake(vesalius("sql", "SELECT 1", "--warehouse", tmp_path))


def test_the_prompt_answers_and_outlives_a_mistake(vesalius: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["SELECT", "7 * 6 AS answer;", "SELECT wrong;", "", ".tables", "model-summary", ".quit"])
    monkeypatch.setattr("builtins.input", lambda _: next(typed))
    monkeypatch.setattr("dagster_project.commands.sql.is_conversation", lambda: True)
    result = vesalius("sql")
    assert result.exit_code == 0
    assert "42" in result.stdout
    assert "wrong" in result.stderr
    assert "activations" in result.stdout
    assert "tiny-qwen" in result.stdout


# The rest


def test_ui_is_dg_dev_on_this_machine_with_the_same_places(
    vesalius: Invoke, world: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    called: list[tuple[Path, list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda *given: called.append(given))
    monkeypatch.chdir(tmp_path)
    assert vesalius("ui", "--port", 4000).exit_code == 0
    ((program, words, environment),) = called
    assert program.name == "dg"
    assert words[1:] == ["dev", "--host", "127.0.0.1", "--port", "4000"]
    assert environment["VESALIUS_WAREHOUSE"] == str(world / "warehouse")
    assert environment["DAGSTER_HOME"] == str(world / "home")
    assert Path.cwd() == PROJECT


def test_docs_are_the_registry_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from dagster_project.defs import resources
    from warehouse.reference import markdown

    monkeypatch.setattr(resources, "PROJECT", tmp_path)
    assert CliRunner().invoke(app, ["docs"]).exit_code == 0
    assert (tmp_path / "docs" / "tables.md").read_text() == "\n".join(markdown()) + "\n"
