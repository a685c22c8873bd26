"""The command line as a whole: its help, exit codes, completions, documentation, and what goes to which stream."""

import io
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tiny_library import write_library
from typer.testing import CliRunner

from dagster_project import terminal
from dagster_project.chart_list import CHARTS
from dagster_project.cli import app
from dagster_project.cli_page import all_commands, cli_page
from dagster_project.commands import completing, manual
from dagster_project.defs.resources import PROJECT
from extract.job.progress import LineProgress, TerminalProgress, for_console
from warehouse.exit_codes import ExitCode
from warehouse.sql_files import named_queries

VESALIUS = str(Path(sys.executable).with_name("vesalius"))
COMMANDS = dict(all_commands(app))
BOX = str.maketrans(dict.fromkeys("│╭╮╰╯─", " "))


def helped(*words: str) -> str:
    """The help of a command as words between single spaces, without frames."""
    done = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80", "NO_COLOR": "1"})
    assert done.exit_code == 0, done.output
    return " ".join(done.stdout.translate(BOX).split())


# Help


def test_help_is_a_manual_with_panels_a_beginning_places_variables_and_exit_codes() -> None:
    said = helped()
    for panel in (manual.MEASURE, manual.READ, manual.MODELS, manual.JUDGE, manual.MAINTAIN):
        assert panel in said
    for name, _ in (*manual.BEGIN, *manual.PLACES, *manual.VARIABLES):
        assert name in said
    for code in ExitCode:
        assert f"{int(code)} {code.meaning}" in said


def test_help_fits_eighty_columns_and_prints_nothing_invisible() -> None:
    done = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80", "NO_COLOR": "1"})
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\b" not in done.stdout


def test_the_commands_of_the_beginning_are_commands() -> None:
    for typed, _ in manual.BEGIN:
        parse(typed)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_purpose_in_one_line_and_says_each_option(name: str) -> None:
    command = COMMANDS[name]
    purpose = command.help.split("\n\n")[0]
    assert purpose.endswith(".")
    assert purpose[0].isupper()
    for one in command.params:
        assert one.name == "help" or one.help, f"{name}: {one.name} is not explained"


@pytest.mark.parametrize("name", [name for name in COMMANDS if len(name.split()) == 2])
def test_every_command_has_a_panel_and_an_example_that_it_takes(name: str) -> None:
    command = COMMANDS[name]
    assert command.rich_help_panel
    example = re.match(r"Example: (.+)", command.epilog)
    assert example is not None
    assert example[1].startswith(name)
    parse(example[1])
    assert example[1] in helped(*name.split()[1:])


def parse(typed: str) -> None:
    """Read a line as the command would, and do nothing; a line that it would refuse raises."""
    words = typed.split()[1:]
    name = next(each for each in sorted(COMMANDS, key=len, reverse=True) if f"{typed} ".startswith(f"{each} "))
    rest = words[len(name.split()) - 1 :]
    COMMANDS[name].make_context(name, rest)


# Exit codes


def test_exit_codes_are_what_shells_expect() -> None:
    assert {code.name: int(code) for code in ExitCode} == {"OK": 0, "FAILED": 1, "INPUT": 2, "INTERRUPTED": 130}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--version"], ExitCode.OK),
        (["--help"], ExitCode.OK),
        (["no-such-command"], ExitCode.INPUT),
        (["models", "--no-such-option"], ExitCode.INPUT),
        (["recommend"], ExitCode.INPUT),
        (["chart", "no-such-chart"], ExitCode.INPUT),
        (["concepts", "check", "/no/such/folder"], ExitCode.INPUT),
    ],
)
def test_a_process_ends_with_the_code_that_is_documented(words: list[str], code: ExitCode) -> None:
    done = subprocess.run([VESALIUS, *words], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert (done.stdout == "") == (code is not ExitCode.OK)
    assert "Traceback" not in done.stderr


# Documentation


def test_the_page_of_the_commands_follows_them() -> None:
    written = (PROJECT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == "\n".join(cli_page(app)) + "\n", "run `vesalius docs`"


def test_the_page_names_every_command_every_option_and_every_code() -> None:
    page = "\n".join(cli_page(app))
    for name, command in COMMANDS.items():
        assert f"### {name}\n" in page
        for one in command.params:
            assert one.name == "help" or f"`{one.opts[0] if one.opts[0].startswith('-') else one.name.upper()}`" in page
    for code in ExitCode:
        assert f"| {int(code)} | {code.meaning} |" in page


# Completion


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "models.toml").write_text('[models.registered]\npath = "x"\n[models."re.2"]\npath = "y"\n')
    (tmp_path / "inbox" / "dropped").mkdir(parents=True)
    for model in ("measured", "measured.untrained"):
        (tmp_path / "data" / "models" / f"model={model}").mkdir(parents=True)
    write_library(tmp_path / "concepts")
    monkeypatch.setenv("VESALIUS_MODELS", str(tmp_path / "models.toml"))
    monkeypatch.setenv("VESALIUS_WAREHOUSE", str(tmp_path / "data"))
    monkeypatch.setenv("VESALIUS_CONCEPTS", str(tmp_path / "concepts"))
    monkeypatch.delenv("VESALIUS_INBOX", raising=False)
    return tmp_path


def completed(*words: str) -> list[str]:
    """What bash is offered for the last word."""
    asked = {"_VESALIUS_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run([VESALIUS], env={**os.environ, **asked}, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.split()


def test_models_of_registry_inbox_and_warehouse_are_offered_and_no_twins(places: Path) -> None:
    assert completing.model_slugs("") == ["dropped", "measured", "re.2", "registered"]
    assert completing.model_slugs("re") == ["re.2", "registered"]


def test_concepts_charts_and_queries_are_offered(places: Path) -> None:
    assert completing.concept_names("") == ["colours", "numbers"]
    assert completing.chart_names("") == sorted(CHARTS)
    assert completing.query_names("") == sorted(named_queries())


def test_what_cannot_be_read_offers_nothing(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (places / "models.toml").write_text("this is = = no TOML")
    monkeypatch.setenv("VESALIUS_CONCEPTS", str(places / "none"))
    monkeypatch.setenv("VESALIUS_WAREHOUSE", "s3://bucket/prefix")
    assert completing.model_slugs("") == ["dropped"]
    assert completing.concept_names("") == []


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["chart", "kn"], ["knowledge-map"]),
        (["chart", "findings", "m"], ["measured"]),
        (["run", "--model", "dr"], ["dropped"]),
        (["recommend", "measured", "--concept", "c"], ["colours"]),
        (["sql", "largest"], ["largest-steps"]),
        (["est"], ["estimate"]),
    ],
)
def test_a_shell_is_offered_what_fits(places: Path, words: list[str], offered: list[str]) -> None:
    assert completed("vesalius", *words) == offered


def test_a_completion_takes_less_than_half_a_second_of_a_processor(places: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    completed("vesalius", "chart", "findings", "m")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_the_command_starts_without_heavy_libraries() -> None:
    code = "import sys, dagster_project.cli; print([name for name in sys.modules if '.' not in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = ("torch", "transformers", "dagster", "pyarrow", "polars", "duckdb", "altair", "numpy", "sklearn", "fsspec")
    assert [name for name in heavy if repr(name) in done.stdout] == []


# Terminals and pipes


class Terminal(io.StringIO):
    """Text that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, out: io.StringIO, environment: dict[str, str], table: Any) -> str:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", out)
    terminal.console().print(table, style="red")
    return out.getvalue()


LONG = [["a-model-with-a-rather-long-slug", "Words that go on and on " * 8, "3.25"]]
TABLE = terminal.plain_table(("model", "what was found", "value"), LONG)


def test_a_pipe_has_a_line_a_row_and_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    said = shown(monkeypatch, io.StringIO(), {}, TABLE)
    assert len(said.splitlines()) == 2
    assert "\x1b" not in said


def test_force_color_colours_a_pipe_and_folds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    said = shown(monkeypatch, io.StringIO(), {"FORCE_COLOR": "1"}, TABLE)
    assert "\x1b[31m" in said or "\x1b[1;31m" in said
    assert len(said.splitlines()) == 2


def test_no_color_is_honoured_on_a_terminal_and_over_force_color(monkeypatch: pytest.MonkeyPatch) -> None:
    for more in ({}, {"FORCE_COLOR": "1"}):
        said = shown(monkeypatch, Terminal(), {"NO_COLOR": "1", "COLUMNS": "80", **more}, TABLE)
        assert not re.search(r"\x1b\[[0-9;]*3[0-7]", said)


def test_a_table_fits_a_terminal_of_eighty_columns_and_cuts_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    said = shown(monkeypatch, Terminal(), {"COLUMNS": "80", "NO_COLOR": "1"}, TABLE)
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in said.splitlines()]
    assert max(map(len, lines)) <= 80
    assert LONG[0][0] in said
    assert "…" not in said


@pytest.mark.parametrize(
    ("file", "environment", "kind"),
    [
        (Terminal(), {}, TerminalProgress),
        (Terminal(), {"TERM": "dumb"}, LineProgress),
        (io.StringIO(), {}, LineProgress),
        (io.StringIO(), {"FORCE_COLOR": "1"}, LineProgress),
    ],
)
def test_bars_are_for_terminals_alone(file: io.StringIO, environment: dict[str, str], kind: type) -> None:
    console = Console(file=file, _environ={"TERM": "xterm", **environment})
    assert isinstance(for_console(console), kind)


def test_a_bar_tells_rate_and_time_left() -> None:
    out = Terminal()
    console = Console(file=out, width=120, force_terminal=True, _environ={"TERM": "xterm"})
    with for_console(console).stage("count", 4, "prompts") as advance:
        for _ in range(4):
            advance(1)
    said = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
    assert "4/4 prompts" in said.replace("  ", " ")
    assert "left" in said
