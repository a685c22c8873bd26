"""Pages work in a real browser without a network. Debian's chromium draws them; continuous integration installs it."""

import functools
import re
import shutil
import subprocess
from pathlib import Path

import altair as alt
import polars as pl
import pytest

from analyses import charts

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")


def browse(page: Path, profile: Path) -> subprocess.CompletedProcess[str]:
    """The page as the browser has it after its scripts ran, and what the browser logged."""
    assert CHROMIUM is not None
    options = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
    offline = ["--disable-component-update", "--proxy-server=127.0.0.1:9", "--enable-logging=stderr", "--v=0"]
    waiting = ["--virtual-time-budget=8000", "--dump-dom", f"--user-data-dir={profile}", page.as_uri()]
    command = [CHROMIUM, *options.split(), *offline, *waiting]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@functools.cache
def example() -> alt.Chart:
    rows = pl.DataFrame({"layer": [0, 1, 2], "value": [0.1, 0.4, 0.2]})
    return alt.Chart(rows, title="One rise").mark_line().encode(x="layer:O", y="value:Q")


def test_a_saved_chart_draws_itself_without_a_network(tmp_path: Path) -> None:
    files = charts.save(example(), tmp_path / "chart")
    done = browse(files["html"], tmp_path / "profile")
    assert re.search(r"<(canvas|svg)[ >]", done.stdout), "nothing was drawn"
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert complaints == []


def test_a_saved_chart_names_no_address_to_load_from(tmp_path: Path) -> None:
    text = charts.save(example(), tmp_path / "chart")["html"].read_text(encoding="utf-8")
    assert not re.search(r"""<(script|link)[^>]*\b(src|href)\s*=""", text)
