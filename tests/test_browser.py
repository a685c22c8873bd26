"""Dagster as a user meets it: a model is measured by clicking, and the pages of a real browser show what came of it."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright (it brings no browser)")

from browsing import (
    browser,
    choose_partition,
    chromium,
    have_patience,
    launch,
    materialize,
    metadata,
    open_asset,
    open_chart,
    open_graph,
    open_group,
    ui,
    wait_for_end,
)
from playwright.sync_api import BrowserContext, Page, Request, expect
from tiny_library import write_library
from tiny_models import LAYERS, save_tiny

from dagster_project.definitions import build_defs
from dagster_project.defs.jobs import LIBRARY
from dagster_project.defs.resources import Warehouse
from dagster_project.instance import open_instance
from extract.models import add_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="needs a Chromium: apt-get install chromium, or VESALIUS_CHROMIUM"),
]

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
PROMPTS = 48
"""Of the tiny library: three templates of eight terms, two of twelve."""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """One registered model, and a library of two concepts; the warehouse is empty."""
    folder = tmp_path_factory.mktemp("places")
    add_model(folder / "models.toml", save_tiny(folder / "tiny", "qwen3"), "tiny")
    concepts = write_library(folder / "concepts")
    return Warehouse(root=str(folder / "warehouse"), concepts=str(concepts), models=str(folder / "models.toml"))


@pytest.fixture(scope="module")
def address(places: Warehouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The UI on a fresh home, where nothing ran but the job that writes the library."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        with open_instance() as instance:
            assert (
                build_defs(places)
                .resolve_job_def(LIBRARY)
                .execute_in_process(instance=instance, run_config=QUIET)
                .success
            )
    have_patience(home)
    with ui({**places.environment, "DAGSTER_HOME": str(home)}) as address:
        yield address


@pytest.fixture(scope="module")
def asked() -> list[str]:
    """Every address that a page asked for."""
    return []


@pytest.fixture(scope="module")
def context(address: str, asked: list[str]) -> Iterator[BrowserContext]:
    def note(request: Request) -> None:
        asked.append(request.url)

    with browser() as context:
        context.on("request", note)
        yield context


@pytest.fixture(scope="module")
def page(context: BrowserContext, asked: list[str]) -> Page:
    page = context.new_page()
    page.on("websocket", lambda socket: asked.append(socket.url))
    return page


def test_a_model_is_measured_by_clicking_and_shows_its_numbers_checks_and_charts(
    page: Page, address: str, places: Warehouse, asked: list[str]
) -> None:
    open_graph(page, address)
    for group in ("library", "extraction", "analyses", "maps", "atlas"):
        expect(page.get_by_text(group, exact=True).first).to_be_visible()

    open_asset(page, address, "validity_chart")
    launch(page, materialize(page))
    of_chart = page.url
    open_group(page, address, "extraction").click()
    launch(page, choose_partition(page, "tiny"))
    assert wait_for_end(page) == "Success"
    page.goto(of_chart)
    assert wait_for_end(page) == "Success"

    open_asset(page, address, "activations")
    tables = [places.store.read("activations", model="tiny", concept=name) for name in ("colours", "numbers")]
    rows = sum(table.num_rows for table in tables)
    assert rows == PROMPTS * 3 * (LAYERS + 1)
    expect(metadata(page, "rows")).to_have_text(str(rows))
    expect(metadata(page, "forwards")).to_have_text(str(PROMPTS))
    expect(metadata(page, "fingerprint")).to_have_text(re.compile(r"^[0-9a-f]{16,}$"))

    open_asset(page, address, "activations", "checks")
    expect(page.get_by_text("contract").first).to_be_visible()
    expect(page.get_by_text("Passed").first).to_be_visible()

    open_asset(page, address, "validity_chart")
    size = open_chart(page, "validity_chart").evaluate("image => [image.naturalWidth, image.naturalHeight]")
    assert min(size) > 100

    places_asked = {urlsplit(url.removeprefix("blob:")).netloc for url in asked if not url.startswith("data:")}
    assert places_asked == {urlsplit(address).netloc}
    assert not [url for url in asked if "telemetry" in url]
