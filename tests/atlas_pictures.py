"""Takes the pictures of the atlas in the README and in `docs/atlas.md`, from the page that `make atlas` made.

`make screenshots` does it. Each picture is a part of the page as a reader sees it; nothing is drawn into it.
"""

import argparse
import sys
from pathlib import Path

from browsing import browser
from playwright.sync_api import Page

from dagster_project.atlas_page import PAGE
from dagster_project.defs.resources import PROJECT, Warehouse

IMAGES = PROJECT / "docs" / "images"
_MARGIN = 10
_DRUGS = "#model=planted&concept=drugs&labelling=specialty&layer=6"
_STAGES = "#model=reference&concept=progression&labelling=stage&layer=3"
_PICTURES = {
    "map": (1180, "light", _DRUGS, ("#map-panel", "#profile-lesions")),
    "terms": (1180, "light", f"{_DRUGS}&term=metformin", ("#picture-panel", "[data-panel='terms']")),
    "prompts": (1180, "light", f"{_DRUGS}&term=acitretin", ("[data-panel='term']",)),
    "compare": (1180, "light", f"{_DRUGS}&beside=reference", ("#compare",)),
    "stages": (1180, "dark", _STAGES, ("#picture-panel",)),
    "narrow": (390, "dark", _DRUGS, ("#map-panel",)),
}
"""Of each picture: the window's width, the theme, the address, and the parts of the page from the first to the last."""


def main() -> None:
    """Open the page, go where each picture is taken, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=IMAGES, help="where the pictures go")
    folder = parser.parse_args().folder
    address = (Path(str(Warehouse.from_environment().charts)) / PAGE).as_uri()
    for name, (width, theme, place, parts) in _PICTURES.items():
        with browser(width, 900) as context:
            page = context.new_page()
            page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
            page.goto(address + place)
            page.locator('html[data-ready="1"]').wait_for(state="attached")
            # What nobody has seen may not be drawn yet.
            page.locator(parts[-1]).first.scroll_into_view_if_needed()
            page.wait_for_timeout(2000)
            # The row of choices stays at the top of the window: from the top of the page it covers nothing.
            page.evaluate("scrollTo(0, 0)")
            path = folder / f"atlas-{name}.png"
            page.screenshot(path=path, full_page=True, clip=_frame(page, parts, width))
            sys.stdout.write(f"{path}\n")


def _frame(page: Page, parts: tuple[str, ...], width: int) -> dict[str, float]:
    boxes = [page.locator(part).first.bounding_box() for part in parts]
    top = min(box["y"] for box in boxes if box) + float(page.evaluate("scrollY"))
    bottom = max(box["y"] + box["height"] for box in boxes if box) + float(page.evaluate("scrollY"))
    return {"x": 0.0, "y": top - _MARGIN, "width": float(width), "height": bottom - top + 2 * _MARGIN}


if __name__ == "__main__":
    main()
