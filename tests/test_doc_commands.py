"""Every command and statement in the documentation: run on a small warehouse, or at least read as its program would.

A command that can't be run here stands in `NOT_RUN` with the reason; its line is parsed all the same, so that a page
that names an option which is gone fails. Programs that aren't ours stand in `NOT_OURS`; files they name must be there.
"""

import importlib.util
import re
import shutil
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from doc_commands import PAGES, ROOT, SHELLS, Block, Command, UsageError, applications, blocks, commands, parse
from tiny_models import save_tiny
from typer.testing import CliRunner, Result
from warehouse_fixture import build_warehouse

from dagster_project.cli import app
from dagster_project.defs.jobs import JOBS
from warehouse.catalog import build_catalog
from warehouse.query import run_query

NOT_RUN = {
    r"vesalius run\b": "runs a model over the library; `test_cli`, `test_planted` and `test_plain_command` do",
    r"vesalius validate\b": "trains planted models; `test_validating` does",
    r"vesalius reference train\b": "trains a model for minutes; `test_reference` trains smaller ones",
    r"vesalius verify\b": "takes a model apart for minutes; `test_verification` does",
    r"vesalius docs\b": "writes pages of the repository; tests tell whether each is what would be written",
    r"vesalius ui\b": "serves until it is interrupted; `test_browser` starts it",
    r"vesalius open\b": "opens a browser",
    r"vesalius add .*--download": "fetches from a hub; `test_hub` does, from one on 127.0.0.1",
    r"vesalius add (?!path/to)": "names a model that a reader has and this machine has not",
    r"vesalius estimate\b": "counts a run of the whole library for a minute; `test_estimation` has a smaller one",
    r"vesalius rivals\b": "draws the table `rivals`, which is empty in the small warehouse; `test_rival_charts` does",
    r"vesalius \S+ .*s3://": "needs a bucket; `test_object_storage` has one",
    r"vesalius .*\bminilm\b": "needs the extra `minilm`; `test_encoders` makes encoders of its own",
    r"vesalius (export|import|merge)\b": "moves whole warehouses; they have tests of their own",
    r"python -m extract\b": "runs a model over the library; `test_plain_command` does",
}
"""Commands of ours that are parsed and not run, and why."""

NOT_OURS = {
    "cd": "moves the reader's shell",
    "cp": "copies files of the reader's",
    "dg": "Dagster's command: `test_dagster` launches the same jobs and assets",
    "docker": "needs a container engine",
    "duckdb": "DuckDB's own shell: `test_sql` opens the catalog as it does",
    "export": "sets a variable of the reader's shell",
    "git": "needs a repository and, for some, a network",
    "jupyter": "serves until it is interrupted",
    "kubectl": "needs a cluster",
    "make": "its targets are checked to be there; `make test` is what runs this",
    "marimo": "serves until it is interrupted",
    "npm": "needs a package index",
    "pip": "needs the package index; extras are checked to be there",
    "pytest": "is what runs this; the files that it is given are checked to be there",
    "python": "the script or module is checked to be there",
    "read": "asks the reader for a key",
    "sbatch": "needs a Slurm",
    "transformers": "serves a model; `test_judge` starts it",
    "unzip": "unpacks files of the reader's",
}
"""Programs that are not ours, and why what they are given is not run."""

FOLDERS = (
    "analyses",
    "benchmarks",
    "dagster_project",
    "deploy",
    "docs",
    "examples",
    "extract",
    "sql",
    "tests",
    "warehouse",
)

ALL = [block for page in PAGES for block in blocks(page)]
COMMANDS = [command for block in ALL if block.language in SHELLS for command in commands(block)]
OURS = [command for command in COMMANDS if command.program in applications()]
RUN = [
    command
    for command in OURS
    if command.program == "vesalius" and not any(re.match(pattern, str(command)) for pattern in NOT_RUN)
]
STATEMENTS = [
    (block.place, statement)
    for block in ALL
    if block.language == "sql"
    for statement in re.split(r";\s*\n", block.text)
    if re.sub(r"--[^\n]*", "", statement).strip(" ;\n")
]


def named(command: Command) -> str:
    return f"{command.place} {command}"[:120]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader has at the end of the pages: a warehouse of two models, a model, and a library of one's own."""
    folder = tmp_path_factory.mktemp("world")
    build_warehouse(folder / "warehouse")
    for kept in (folder / "warehouse").glob("*/model=planted"):
        if kept.parent.name != "plants":
            shutil.copytree(kept, kept.with_name("model=reference"))
    build_catalog(folder / "warehouse")
    save_tiny(folder / "path" / "to" / "model")
    concepts = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
    for name, text in re.findall(r"\*\*`(my-concepts/[\w./-]+)`\*\*\n\n```\w+\n(.*?)```", concepts, re.DOTALL):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    shutil.copy(ROOT / "models.toml", folder / "models.toml")
    (folder / "extract").symlink_to(ROOT / "extract")
    return folder


@pytest.fixture
def vesalius(world: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Command], Result]:
    """Runs a command of the pages in that world."""
    monkeypatch.setenv("DAGSTER_HOME", str(world / "home"))
    monkeypatch.setenv("VESALIUS_WAREHOUSE", str(world / "warehouse"))
    monkeypatch.setenv("VESALIUS_MODELS", str(world / "models.toml"))
    monkeypatch.delenv("VESALIUS_CONCEPTS", raising=False)
    monkeypatch.chdir(world)
    return lambda command: CliRunner().invoke(app, command.arguments, input="SELECT 1")


@cache
def extras() -> set[str]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return set(tomllib.load(file)["project"]["optional-dependencies"])


def test_the_pages_show_commands_and_statements() -> None:
    assert len(OURS) > 50
    assert len(RUN) > 20
    assert len(STATEMENTS) > 12
    assert {command.place.partition(":")[0] for command in OURS} >= {"README.md", "docs/tutorial.md"}


@pytest.mark.parametrize("command", OURS, ids=named)
def test_a_command_of_ours_is_one_that_its_program_takes(command: Command) -> None:
    parse(command, applications()[command.program])


@pytest.mark.parametrize("command", RUN, ids=named)
def test_a_command_of_ours_does_what_the_page_says(command: Command, vesalius: Callable[[Command], Result]) -> None:
    done = vesalius(command)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(("place", "statement"), STATEMENTS, ids=[place for place, _ in STATEMENTS])
def test_a_statement_of_the_pages_runs(place: str, statement: str, world: Path) -> None:
    assert run_query(world / "warehouse", statement).num_columns, place


def test_the_python_that_trains_some_layers_runs(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = (each for each in ALL if each.place.startswith("docs/train-layers.md") and each.language == "python")
    monkeypatch.chdir(world)
    names: dict[str, Any] = {}
    exec(compile(block.text, block.place, "exec"), names)
    trained = {name.split(".")[2] for name, weight in names["model"].named_parameters() if weight.requires_grad}
    assert trained == {"6"}


@pytest.mark.parametrize("command", [each for each in COMMANDS if each not in OURS], ids=named)
def test_what_another_program_is_given_is_there(command: Command) -> None:
    program, arguments = command.program, command.arguments
    if program.startswith("python -m "):
        module = program.removeprefix("python -m ")
        assert importlib.util.find_spec(module), f"{command.place}: there is no module {module}"
        return
    assert program in NOT_OURS, f"{command.place}: say in NOT_OURS why {program!r} is not run, or run it"
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert set(arguments) <= set(targets), command.place
    if program == "dg" and "--job" in arguments:
        assert arguments[arguments.index("--job") + 1] in {job.name for job in JOBS}, command.place
    if program == "pip":
        wanted = {one for word in arguments for one in re.findall(r"vesalius\[([\w,]+)\]", word)}
        assert {one for several in wanted for one in several.split(",")} <= extras(), command.place
    for word in arguments:
        if word.partition("/")[0] in FOLDERS and "/" in word and "warehouse/data" not in word:
            assert (ROOT / word).exists(), f"{command.place}: there is no {word}"


UNTESTED = ("docs/own-technique.md",)
"""Pages whose commands need what the page itself makes; they have tests of their own."""


@pytest.mark.parametrize("block", [each for each in ALL if each.language in ("", "text")], ids=lambda each: each.place)
def test_commands_stand_in_blocks_that_are_tested(block: Block) -> None:
    if block.place.startswith(UNTESTED):
        return
    first = block.text.lstrip().partition("\n")[0]
    assert not re.match(r"(\.venv/bin/)?(vesalius|python|make|pip) [a-z-]", first), f"{block.place}: mark it as `sh`"


@pytest.mark.parametrize(
    "line",
    [
        "vesalius sql best-layers --parameter metric=r2_ridge",
        "vesalius findings --as-json",
        "vesalius concept list",
        "vesalius recommend planted --concept drugs",
        "vesalius run --resamples many",
        "python -m extract merge --model planted",
    ],
)
def test_a_line_that_its_program_would_refuse_is_caught(line: str) -> None:
    (command,) = commands(Block(ROOT / "README.md", 1, "sh", line + "\n"))
    with pytest.raises(UsageError):
        parse(command, applications()[command.program])


def test_quotes_comments_joins_and_assignments_are_taken_apart() -> None:
    text = (
        'A=1 vesalius sql "SELECT 1\n  FROM terms" > out.csv  # a note\n'
        "cd x && vesalius models\nids=$(sbatch --parsable a.sh)\nvesalius run \\\n    --model planted\n"
    )
    found = commands(Block(ROOT / "README.md", 1, "sh", text))
    assert [each.words for each in found] == [
        ("vesalius", "sql", "SELECT 1\n  FROM terms"),
        ("cd", "x"),
        ("vesalius", "models"),
        ("sbatch", "--parsable", "a.sh"),
        ("vesalius", "run", "--model", "planted"),
    ]
