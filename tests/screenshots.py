"""Takes the pictures of `docs/tour.md`: the way of `test_browser`, through the warehouse of the models that come along.

`make screenshots` does it, after `make atlas`: a minute or two, for nothing is measured that is current. Each picture
is what a user sees; nothing is drawn into it.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from browsing import (
    browser,
    choose_partition,
    follow_run,
    metadata,
    open_asset,
    open_chart,
    open_graph,
    open_group,
    ui,
    wait_for_end,
)
from playwright.sync_api import Page, expect

from dagster_project.defs.resources import PROJECT

IMAGES = PROJECT / "docs" / "images"


def main() -> None:
    """Start the UI on a home of its own, walk, and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="planted", help="the model that is measured by clicking")
    parser.add_argument("--folder", type=Path, default=IMAGES, help="where the pictures go")
    chosen = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="vesalius-home-") as home,
        browser(1280, 800) as context,
        ui({**os.environ, "DAGSTER_HOME": home}) as address,
    ):
        _walk(context.new_page(), address, chosen.model, chosen.folder)


def _walk(page: Page, address: str, model: str, folder: Path) -> None:
    def picture(name: str) -> None:
        path = folder / f"dagster-{name}.png"
        page.screenshot(path=path, animations="disabled")
        sys.stdout.write(f"{path}\n")

    open_group(page, address, "library").click()
    follow_run(page)
    _succeed(page)

    open_group(page, address, "extraction").click()
    choose_partition(page, model)
    picture("materialize")
    page.get_by_test_id("launch-button").click()
    follow_run(page)
    _succeed(page)
    picture("run")

    for group in ("analyses", "maps"):
        open_group(page, address, group).click()
        choose_partition(page, model).click()
        follow_run(page)
        _succeed(page)

    for asset in ("knowledge_map_chart", "catalog"):
        open_asset(page, address, asset)
        page.get_by_test_id("materialize-button").click()
        follow_run(page)
        _succeed(page)

    open_graph(page, address)
    picture("graph")
    open_asset(page, address, "activations")
    expect(metadata(page, "rows")).to_be_visible()
    picture("asset")
    open_asset(page, address, "catalog", "checks")
    page.get_by_text("Passed").first.wait_for()
    picture("checks")
    open_asset(page, address, "knowledge_map_chart")
    open_chart(page, "knowledge_map_chart")
    picture("chart")


def _succeed(page: Page) -> None:
    said = wait_for_end(page)
    assert said == "Success", f"The run at {page.url} ended as {said}."


if __name__ == "__main__":
    main()
