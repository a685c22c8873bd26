"""`vesalius chart` and `vesalius open`: every chart of the list as a file, and one clear message for each mistake."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result
from warehouse_fixture import build_warehouse

from analyses.findings import findings
from dagster_project.chart_list import CHARTS
from dagster_project.cli import app
from dagster_project.defs import charts
from dagster_project.defs.partitions import MODELS
from warehouse.tables import TABLES

DRAWN = {
    "knowledge-map": (),
    "paper-map": (),
    "profile-map": (),
    "published": (),
    "findings": ("planted",),
    "rivals": ("planted",),
    "marks": ("planted", "--concept", "drugs"),
    "umap": ("planted", "--concept", "drugs"),
}
"""Charts that the small warehouse has something for."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("charts") / "data"
    store = build_warehouse(root)
    store.write("findings", findings("planted", {}), fingerprint="planted", model="planted")
    return root


def draw(root: Path, *words: object) -> Result:
    return CliRunner().invoke(app, ["chart", *map(str, words), "--warehouse", str(root)])


def said(result: Result) -> str:
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    return result.stderr


@pytest.mark.parametrize("name", DRAWN)
def test_a_chart_is_drawn_as_a_vector_file(root: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "figures" / f"{name}.svg"
    result = draw(root, name, *DRAWN[name], "--out", out)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(out)
    assert out.read_text(encoding="utf-8").startswith("<svg")
    assert [path.name for path in out.parent.iterdir()] == [out.name]


@pytest.mark.parametrize("suffix", ["pdf", "png", "json", "html", "SVG"])
def test_the_suffix_is_the_format(root: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"map.{suffix}"
    assert draw(root, "knowledge-map", "--out", out).exit_code == 0
    starts = {"pdf": b"%PDF", "png": b"\x89PNG", "json": b"{", "html": b"<!DOCTYPE html>", "SVG": b"<svg"}
    assert out.read_bytes().lstrip().startswith(starts[suffix])


def test_a_map_of_one_model_shows_that_model_alone(root: Path, tmp_path: Path) -> None:
    both, one = tmp_path / "both.json", tmp_path / "one.json"
    draw(root, "profile-map", "--out", both)
    draw(root, "profile-map", "planted", "--out", one)
    assert "0042" in both.read_text()
    assert "0042" not in one.read_text()


def test_a_file_is_named_after_the_chart_where_none_is_given(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert draw(root, "findings", "planted").stdout.strip() == "findings-planted.svg"
    assert (tmp_path / "findings-planted.svg").is_file()


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ([], "Name a chart; there are: knowledge-map"),
        (["knowledge-mop"], "There is no chart 'knowledge-mop'; there are: knowledge-map"),
        (["findings"], "findings is a chart of one model: name it. There are: 0042, planted"),
        (["findings", "plonted"], "'plonted' has no findings"),
        (["validity", "planted"], "validity is no chart of a model"),
        (["umap", "planted"], "give --concept. There are: "),
        (["umap", "planted", "--concept", "drogs"], "knows no concept 'drogs'. There are: "),
        (["findings", "planted", "--concept", "drugs"], "no chart of one concept"),
        (["umap", "planted", "--concept", "drugs", "--labelling", "colour"], "specialty"),
        (["knowledge-map", "--out", "map.gif"], ".svg, .pdf, .png, .json, .html"),
        (["knowledge-map", "--out", "map.json", "--width", "9cm"], "--width is for svg, pdf, png"),
        (["knowledge-map", "--width", "wide"], "'wide' is no width"),
    ],
)
def test_a_mistake_names_what_there_is(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], answer: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert answer in said(draw(root, *words))
    assert list(tmp_path.iterdir()) == []


def test_an_empty_warehouse_says_to_run_a_model_first(tmp_path: Path) -> None:
    assert "run a model first" in said(draw(tmp_path / "none", "findings", "planted"))


def test_a_full_disk_leaves_the_last_good_figure(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "map.svg"
    out.write_text("the last one")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = draw(root, "knowledge-map", "--out", out)
    assert result.exit_code == 1
    assert "No space left" in result.stderr
    assert out.read_text() == "the last one"
    assert [path.name for path in tmp_path.iterdir()] == ["map.svg"]


# The list


def test_the_list_is_what_the_assets_are_made_from() -> None:
    assets = {chart.asset for chart in CHARTS.values() if chart.asset}
    assert assets == {*charts.FILES, "umap_pictures"} - {"model_map_chart"}
    made = [*charts.OF_ALL, *charts.OF_MODEL]
    for asset in made:
        (chart,) = [one for one in CHARTS.values() if one.name == charts.FILES[asset.key.to_user_string()]]
        assert {key.to_user_string() for key in asset.asset_deps[asset.key]} == set(chart.reads)
        assert (asset.partitions_def == MODELS) == (asset in charts.OF_MODEL)


def test_every_chart_reads_tables_of_the_registry_and_says_what_it_shows() -> None:
    for name, chart in CHARTS.items():
        assert name == chart.name
        assert set(chart.reads) <= set(TABLES)
        assert chart.shows.endswith(".")


def test_the_list_is_printed_and_is_json_too(root: Path) -> None:
    printed = draw(root, "--list").stdout
    assert all(name in printed for name in CHARTS)
    listed = json.loads(draw(root, "--list", "--json").stdout)
    assert [one["name"] for one in listed] == list(CHARTS)
    assert {one["of"] for one in listed} == {"all models, or one", "the project", "one model", "one model and concept"}


# The page


def test_the_page_is_opened_in_a_browser_or_only_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    page = tmp_path / "charts" / "atlas.html"
    page.parent.mkdir()
    page.write_text("<!doctype html>")
    words = ["open", "--warehouse", str(tmp_path)]
    assert CliRunner().invoke(app, [*words, "--no-browser"]).stdout.strip() == str(page)
    assert opened == []
    assert CliRunner().invoke(app, words).exit_code == 0
    assert opened == [page.as_uri()]


def test_a_machine_without_a_browser_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webbrowser.open", lambda _: False)
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts" / "atlas.html").write_text("")
    result = CliRunner().invoke(app, ["open", "--warehouse", str(tmp_path)])
    assert (result.exit_code, "open the file yourself" in result.stderr) == (0, True)


def test_no_page_yet_says_what_draws_it(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["open", "--warehouse", str(tmp_path)])
    assert result.exit_code == 2
    assert "vesalius run" in result.stderr
