"""The page `docs/own-technique.md` is true: its blocks, applied to a copy of the code, give a table for SQL."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "own-technique.md"
BLOCKS = re.compile(r"\*\*`(?P<file>[\w/]+\.py)`\*\*\n\n```(?P<language>python|diff)\n(?P<text>.*?)```", re.DOTALL)

PROGRAM = """
import json, sys
from pathlib import Path
import dagster as dg
import numpy as np
from warehouse_fixture import LAYERS, TEMPLATES, TERMS, build_warehouse, vector
from dagster_project.defs.partitions import MODELS
from dagster_project.defs.resources import Settings, Warehouse
from dagster_project.definitions import build_defs
from warehouse.catalog import build_catalog
from warehouse.query import run_query

root = Path(sys.argv[1])
store = build_warehouse(root)
places = Warehouse.from_environment(root=str(root))
assets = [each for each in build_defs(places).assets if dg.AssetKey("drifts") in each.keys]
written = []
with dg.DagsterInstance.ephemeral() as instance:
    instance.add_dynamic_partitions(MODELS.name, ["planted"])
    for _ in range(2):
        done = dg.materialize(
            assets,
            instance=instance,
            partition_key="planted",
            resources={"warehouse": places, "settings": Settings(concepts=["drugs"], resamples=50)},
        )
        (made,) = done.asset_materializations_for_node("drifts")
        written.append(made.metadata["files_written"].value)
build_catalog(root)
rows = run_query(root, "SELECT layer, value, low, high, n FROM drifts ORDER BY layer").to_pylist()

def slow(layer):
    asking = [name for name, kind, _, held_out, _ in TEMPLATES["drugs"] if kind == "asking" and not held_out]
    turned = []
    for term in TERMS["drugs"]:
        for template in asking:
            at = [vector("planted", "drugs", each, "last", template, term) for each in (layer - 1, layer)]
            one, other = (each.astype(float) for each in at)
            turned.append(1 - one @ other / np.linalg.norm(one) / np.linalg.norm(other))
    return float(np.mean(turned))

comments = run_query(root, "SELECT comment FROM duckdb_columns() WHERE table_name = 'drifts' AND column_name = 'value'")
print(json.dumps({
    "rows": rows,
    "slow": [slow(layer) for layer in range(LAYERS["planted"])],
    "written": written,
    "comment": comments["comment"][0].as_py(),
}))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code as it is after a reader did what the page says."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("analyses", "warehouse", "dagster_project"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "data"))
    for name in ("extract", "sql", "models.toml"):
        (folder / name).symlink_to(ROOT / name)
    blocks = list(BLOCKS.finditer(PAGE.read_text(encoding="utf-8")))
    assert [block["language"] for block in blocks] == ["python", "diff", "diff", "diff", "diff"]
    for block in blocks:
        if block["language"] == "python":
            (folder / block["file"]).write_text(block["text"], encoding="utf-8")
        else:
            _apply(folder / block["file"], block["text"])
    return folder


def _apply(file: Path, diff: str) -> None:
    """Put the lines that a diff adds where the lines around them stand; each hunk has one place."""
    text = file.read_text(encoding="utf-8")
    for hunk in re.split(r"^@@[^\n]*\n", diff, flags=re.MULTILINE)[1:]:
        lines = hunk.splitlines()
        before = "".join(line[1:] + "\n" for line in lines if line[:1] == " ")
        after = "".join(line[1:] + "\n" for line in lines)
        assert text.count(before) == 1, f"{file}: the page shows lines that stand here {text.count(before)} times"
        text = text.replace(before, after)
    file.write_text(text, encoding="utf-8")


def test_the_blocks_of_the_page_make_a_table_that_sql_can_ask(copy: Path, tmp_path: Path) -> None:
    environment = os.environ | {
        "PYTHONPATH": f"{copy}{os.pathsep}{ROOT / 'tests'}",
        "DAGSTER_HOME": str(tmp_path / "home"),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "warehouse")],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert [row["layer"] for row in found["rows"]] == [0, 1, 2]
    assert [row["value"] for row in found["rows"]] == pytest.approx(found["slow"], abs=1e-6)
    assert all(row["low"] <= row["value"] <= row["high"] and row["n"] == 5 for row in found["rows"])
    assert found["written"] == [1, 0], "a second run should find it current"
    assert found["comment"].startswith("1 - cosine")


def test_the_blocks_of_the_page_are_in_the_style_of_the_house(copy: Path) -> None:
    ruff = Path(sys.executable).with_name("ruff")
    for words in (["check"], ["format", "--check", "--diff"]):
        done = subprocess.run(
            [
                ruff,
                *words,
                "--no-cache",
                "--config",
                ROOT / "pyproject.toml",
                "analyses/drift.py",
                "dagster_project/defs",
                "warehouse",
            ],
            cwd=copy,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
