"""`--json`: one document on standard output and nothing else there, with finite numbers; every command that has it."""

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from effect_rows import filled
from tiny_library import write_library
from tiny_models import save_tiny
from typer.testing import CliRunner
from warehouse_fixture import build_warehouse

from analyses.findings import findings
from dagster_project.cli import app
from dagster_project.cli_page import all_commands
from dagster_project.commands.output import as_json
from warehouse.catalog import build_catalog

FEW = ("--resamples", "20", "--permutations", "20", "--no-umap", "--no-untrained")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up warehouse, a library, a registry, a small model."""
    folder = tmp_path_factory.mktemp("json")
    store = build_warehouse(folder / "warehouse")
    store.write("findings", findings("planted", {}), fingerprint="planted", model="planted")
    spelled = {"rival": "spelling", "metric": "silhouette_cosine", "labelling": "specialty", "value": 0.1, "n": 9}
    rivals = filled("rivals", [spelled | {"template_kind": "asking", "variant": ""}])
    store.write("rivals", rivals, fingerprint="planted", model="planted", concept="drugs")
    build_catalog(folder / "warehouse")
    write_library(folder / "concepts")
    save_tiny(folder / "tiny", "qwen3")
    (folder / "models.toml").write_text(f'[models.tiny]\npath = "{folder / "tiny"}"\n')
    return folder


@pytest.fixture
def settled(world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAGSTER_HOME", str(world / "home"))
    monkeypatch.setenv("VESALIUS_WAREHOUSE", str(world / "warehouse"))
    monkeypatch.setenv("VESALIUS_CONCEPTS", str(world / "concepts"))
    monkeypatch.setenv("VESALIUS_MODELS", str(world / "models.toml"))
    return world


def document(*words: object, code: int = 0) -> Any:
    """The one document that a command printed."""
    done = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert done.exit_code == code, done.output

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(done.stdout, parse_constant=refuse)


Asked = Callable[[Path, Path], tuple[Any, ...]]
ASKED: dict[str, tuple[Asked, Callable[[Any], bool]]] = {
    "vesalius add": (
        lambda world, out: ("add", world / "tiny", "--slug", "again"),
        lambda said: (said["model"], said["state"]) == ("again", "landed"),
    ),
    "vesalius models": (lambda world, out: ("models",), lambda said: said[0]["model"] == "tiny"),
    "vesalius findings": (lambda world, out: ("findings",), lambda said: "planted" in {one["model"] for one in said}),
    "vesalius recommend": (
        lambda world, out: ("recommend", "planted", "--concept", "drugs", "--for", "editing"),
        lambda said: said["concept"] == "drugs",
    ),
    "vesalius estimate": (
        lambda world, out: ("estimate", world / "tiny", "--no-time"),
        lambda said: said["fits"] and said["seconds"] is None,
    ),
    "vesalius verify": (
        lambda world, out: ("verify", world / "tiny", "--warehouse", out / "verified"),
        lambda said: said["failed"] == 0 and len(said["checks"]) > 3,
    ),
    "vesalius sql": (
        lambda world, out: ("sql", "SELECT 'nan'::FLOAT AS x, 'infinity'::FLOAT AS y, [1.5, NULL] AS z, now() AS t"),
        lambda said: (said[0]["x"], said[0]["y"], said[0]["z"]) == (None, None, [1.5, None]),
    ),
    "vesalius rivals": (
        lambda world, out: ("rivals", "planted", "--out", out / "beside"),
        lambda said: said["model"] == "planted" and all(Path(file).is_file() for file in said["files"].values()),
    ),
    "vesalius chart": (lambda world, out: ("chart", "--list"), lambda said: len(said) > 5),
    "vesalius concepts check": (lambda world, out: ("concepts", "check"), lambda said: said["is_sound"]),
    "vesalius concepts list": (
        lambda world, out: ("concepts", "list"),
        lambda said: [one["concept"] for one in said] == ["colours", "numbers"],
    ),
    "vesalius doctor": (lambda world, out: ("doctor",), lambda said: all(one["verdict"] != "fail" for one in said)),
    "vesalius export": (
        lambda world, out: ("export", out / "shared", "--table", "terms"),
        lambda said: said["rows"] > 0 and Path(said["folder"]).is_dir(),
    ),
    "vesalius import": (
        lambda world, out: ("import", world / "warehouse", "--warehouse", out / "copy"),
        lambda said: len(said["new"]) > 3 and said["kept"] == [],
    ),
    "vesalius run": (
        lambda world, out: ("run", "--model", world / "tiny", "--warehouse", out / "run", "--only", "numbers", *FEW),
        lambda said: said["files_written"] > 0 and {line["concept"] for line in said["lines"]} == {"numbers"},
    ),
}


@pytest.mark.parametrize("name", ASKED)
def test_a_command_prints_one_document_and_nothing_else(settled: Path, tmp_path: Path, name: str) -> None:
    words, holds = ASKED[name]
    said = document(*words(settled, tmp_path))
    assert holds(said), said


def test_every_command_that_has_json_is_tried_here() -> None:
    have = {name for name, command in all_commands(app) if any("--json" in one.opts for one in command.params)}
    assert have == set(ASKED)


def test_a_negative_verdict_is_in_the_document_and_in_the_code(settled: Path, tmp_path: Path) -> None:
    folder = write_library(tmp_path / "concepts")
    terms = folder / "colours" / "terms.csv"
    terms.write_text(terms.read_text() + "tomato,red,x\n")
    said = document("concepts", "check", folder, code=2)
    assert not said["is_sound"]
    assert "colours/terms.csv:10" in said["faults"][0]


def test_an_estimate_that_does_not_fit_is_a_document_with_its_code(settled: Path) -> None:
    said = document("estimate", settled / "tiny", "--no-time", "--disk", "1KB", code=2)
    assert not said["fits"]
    assert said["why_not"]


def test_an_error_leaves_standard_output_empty(settled: Path) -> None:
    for words in (
        ["findings", "nobody"],
        ["recommend", "nobody", "--concept", "x", "--for", "editing"],
        ["sql", "SELEC"],
    ):
        done = CliRunner().invoke(app, [*words, "--json"])
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith("error: ")


def test_a_document_has_no_number_that_json_has_not() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    value = {"a": [math.nan, math.inf, 1.5], "b": {"c": (-math.inf, True, None)}, "d": at, "e": Path("x")}
    assert json.loads(as_json(value)) == {
        "a": [None, None, 1.5],
        "b": {"c": [None, True, None]},
        "d": "2026-01-02T03:04:05+00:00",
        "e": "x",
    }
