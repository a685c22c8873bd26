"""Dagster's UI in a real browser: the server that `vesalius ui` starts, and what a user clicks in it.

What the pages must show is said in `test_browser`; `screenshots` takes the pictures of `docs/tour.md` on the same way.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urljoin

import psutil
from playwright.sync_api import BrowserContext, Locator, Page, Response, expect, sync_playwright

PATIENCE = 600.0
"""Seconds to wait for anything that is worth waiting for: a busy machine is slow, not wrong."""

_QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--force-prefers-reduced-motion",
)


def chromium() -> str | None:
    """The browser that VESALIUS_CHROMIUM names, or one that the system has; none is ever downloaded."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("VESALIUS_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


def have_patience(home: Path) -> None:
    """Let a Dagster home whose settings are written wait longer than three minutes for the definitions to load."""
    with (home / "dagster.yaml").open("a", encoding="utf-8") as settings:
        settings.write(f"code_servers:\n  local_startup_timeout: {PATIENCE:.0f}\n")


@contextmanager
def ui(environment: Mapping[str, str]) -> Iterator[str]:
    """The address of `vesalius ui`, on a free port of this machine, until the block ends.

    Args:
        environment: where Dagster's home, the warehouse, the concepts and the models are.

    Raises:
        AssertionError: it does not come up; with what it printed.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = subprocess.Popen(
        [Path(sys.executable).with_name("vesalius"), "ui", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
        start_new_session=True,
    )
    said: list[str] = []
    ended = threading.Event()
    listener = threading.Thread(target=_listen, args=(process, said, ended), daemon=True)
    listener.start()
    address = f"http://127.0.0.1:{port}"
    try:
        began = time.monotonic()
        while not _answers(address):
            is_lost = ended.wait(0.2) or time.monotonic() - began > PATIENCE
            assert not is_lost, "The UI did not come up:\n" + "".join(said)
        yield address
    finally:
        _end(process)
        listener.join(10)


@contextmanager
def browser(width: int = 1440, height: int = 900) -> Iterator[BrowserContext]:
    """A fresh, headless browser; it is closed when the block ends."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium(), args=_QUIET)
        try:
            context = found.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce")
            context.set_default_timeout(PATIENCE * 1000)
            expect.set_options(timeout=PATIENCE * 1000)
            yield context
        finally:
            found.close()


def open_graph(page: Page, address: str) -> None:
    """The graph of all assets, its groups as boxes."""
    page.goto(f"{address}/asset-groups")
    page.get_by_text("extraction", exact=True).first.wait_for()


def open_group(page: Page, address: str, group: str) -> Locator:
    """The graph of one group; the button that materializes it, ready to be clicked."""
    page.goto(f"{address}/locations/vesalius/asset-groups/{group}/lineage")
    return materialize(page)


def materialize(page: Page) -> Locator:
    """The button that materializes what the page is about."""
    return page.locator("button").filter(has_text=re.compile("^Materialize")).first


def open_asset(page: Page, address: str, asset: str, view: str = "overview") -> None:
    """A tab of an asset's page."""
    page.goto(f"{address}/assets/{asset}?view={view}")
    page.get_by_role("tab", name="Overview").first.wait_for()


def choose_partition(page: Page, partition: str) -> Locator:
    """In the dialog that asks for partitions, choose one alone; the button that launches."""
    page.get_by_text("Select a partition or create one").click()
    # The name stands there twice: once whole, and once as it fits.
    written = re.compile(rf"^\s*({re.escape(partition)}\s*)+$")
    page.locator("label").filter(has_text=written).first.click()
    return page.get_by_role("button", name="Launch 1 run")


def launch(page: Page, button: Locator) -> None:
    """Click the button that launches, and go to the page of the run: the notice with its link is gone in seconds."""
    with page.expect_response(_is_launch) as answer:
        button.click()
    launched = answer.value.json()["data"]["launchPipelineExecution"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    page.goto(urljoin(page.url, f"/runs/{launched['run']['id']}"))


def wait_for_end(page: Page) -> str:
    """Wait on the page of a run until it is over; the word that the page has for it."""
    over = page.get_by_text(re.compile(r"^(Success|Failure|Canceled)$")).first
    over.wait_for()
    return over.inner_text()


def metadata(page: Page, label: str) -> Locator:
    """What an asset's page shows of its last materialization under a label."""
    row = page.locator("tr", has=page.get_by_text(label, exact=True))
    return row.locator("td").last


def open_chart(page: Page, label: str) -> Locator:
    """Open the picture that stands behind the link of a label; it is drawn when this returns."""
    metadata(page, label).get_by_text("[Show Markdown]").click()
    picture = page.get_by_role("dialog").locator("img")
    picture.wait_for()
    picture.evaluate("image => image.decode()")
    return picture


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/server_info", timeout=PATIENCE):
            return True
    except urllib.error.URLError:
        return False


def _is_launch(answer: Response) -> bool:
    return "/graphql" in answer.url and "launchPipelineExecution" in (answer.request.post_data or "")


def _listen(process: subprocess.Popen[str], said: list[str], ended: threading.Event) -> None:
    """Keep what the server prints, and tell when it has ended."""
    assert process.stdout is not None
    said.extend(process.stdout)
    ended.set()


def _end(process: subprocess.Popen[str]) -> None:
    """End the server and all that it started: politely, then not."""
    try:
        server = psutil.Process(process.pid)
        family = [server, *server.children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    _, alive = psutil.wait_procs(family, timeout=20)
    for one in alive:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait(20)
