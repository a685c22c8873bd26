"""The example notebook goes from a warehouse to a figure, as a script and cell by cell."""

import subprocess
import sys
from pathlib import Path
from runpy import run_path

import polars as pl
import pytest

from warehouse.query import run_query

NOTEBOOK = Path(__file__).parents[1] / "examples" / "where_is_it_kept.py"


def test_as_a_script_it_writes_the_figure(small: Path, tmp_path: Path) -> None:
    options = ["--warehouse", str(small), "--model", "planted", "--out", "figure.svg"]
    done = subprocess.run(
        [sys.executable, NOTEBOOK, "--", *options],
        cwd=tmp_path,
        env={"PYTHONPATH": str(NOTEBOOK.parents[1]), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "drugs by specialty in planted" in (tmp_path / "figure.svg").read_text(encoding="utf-8")


def test_its_figure_shows_what_the_macros_give(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VESALIUS_WAREHOUSE", str(small))
    monkeypatch.setattr(sys, "argv", [str(NOTEBOOK)])
    _, found = run_path(str(NOTEBOOK))["app"].run()
    assert found["models"]["model"].to_list() == ["0042", "planted"]
    expected = pl.DataFrame(run_query(small, "FROM layer_profile('0042', 'drugs', 'specialty')"))
    assert found["profile"].equals(expected)
    shown = found["figure"].to_dict()["datasets"].values()
    layers = [[row["layer"] for row in rows] for rows in shown]
    assert [-1, 0, 1] in layers
    assert found["neighbours"].height == 4
