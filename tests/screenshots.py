"""Takes the pictures of `docs/tour.md`: the way of `test_browser`, through the warehouse of the models that come along.

`make screenshots` does it, after `make atlas`: nothing is measured that is current. Each picture is what a user sees;
nothing is drawn into it.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from browsing import (
    browser,
    choose_partition,
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
from playwright.sync_api import Page, expect

from dagster_project.defs.resources import PROJECT
from dagster_project.instance import prepare_home

IMAGES = PROJECT / "docs" / "images"


def main() -> None:
    """Start the UI on a home of its own, walk, and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="planted", help="the model that is measured by clicking")
    parser.add_argument("--folder", type=Path, default=IMAGES, help="where the pictures go")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vesalius-home-") as home:
        os.environ["DAGSTER_HOME"] = home
        have_patience(prepare_home())
        with ui({}) as address, browser(1280, 800) as context:
            _walk(context.new_page(), address, chosen.model, chosen.folder)


def _walk(page: Page, address: str, model: str, folder: Path) -> None:
    def picture(name: str) -> None:
        path = folder / f"dagster-{name}.png"
        page.wait_for_load_state("networkidle")  # Icons come late.
        page.screenshot(path=path, animations="disabled")
        sys.stdout.write(f"{path}\n")

    launch(page, open_group(page, address, "library"))
    _succeed(page)

    open_group(page, address, "extraction").click()
    button = choose_partition(page, model)
    picture("materialize")
    launch(page, button)
    _succeed(page)
    picture("run")

    open_asset(page, address, "validity_chart")
    launch(page, materialize(page))
    _succeed(page)

    open_graph(page, address)
    picture("graph")
    open_asset(page, address, "activations")
    expect(metadata(page, "rows")).to_be_visible()
    metadata(page, "folder").scroll_into_view_if_needed()
    picture("asset")
    open_asset(page, address, "activations", "checks")
    page.get_by_text("Passed").first.wait_for()
    picture("checks")
    open_asset(page, address, "validity_chart")
    open_chart(page, "validity_chart")
    picture("chart")


def _succeed(page: Page) -> None:
    said = wait_for_end(page)
    assert said == "Success", f"The run at {page.url} ended as {said}."


if __name__ == "__main__":
    main()
