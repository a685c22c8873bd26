"""Runs that tests share: a small model that landed once, to begin from, and charts that are not drawn.

What a chart looks like is tested in `test_charts` and its like; that a run draws them, in `test_dagster`.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from tiny_library import write_library

from dagster_project.defs.partitions import MODELS
from dagster_project.defs.resources import Settings, Warehouse
from dagster_project.running import Outcome, chosen_models, run_models
from extract.job.progress import LineProgress
from extract.models import add_model


def leave_charts_blank(patch: pytest.MonkeyPatch) -> None:
    """Charts are made and their files written, but nothing is drawn: that takes longer than a small model."""
    patch.setattr("vl_convert.vegalite_to_png", lambda *_, **__: b"png")
    patch.setattr("vl_convert.vegalite_to_html", lambda *_, **__: "html")


@dataclass(frozen=True)
class Landed:
    """A finished run of the model `tiny` over the small library, in a folder of its own, and what it told."""

    folder: Path
    outcome: Outcome
    lines: tuple[str, ...]
    models: frozenset[str]

    def copied(self, folder: Path) -> Warehouse:
        """The places of another copy, with every file as old as it was; the folder may hold other things already."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return _places(folder)


def land(folder: Path, model: Path, settings: Settings, *, untrained: bool | None = False) -> Landed:
    """Run the model as `tiny`, from an empty warehouse on and without UMAP; charts are left blank."""
    places, lines = unrun(folder, model), list[str]()
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
        leave_charts_blank(patch)
        told = LineProgress(lines.append)
        entries = chosen_models(places, ["tiny"])
        outcome = run_models(instance, places, entries, settings, told, umap=False, untrained=untrained)
        assert MODELS.name is not None
        registered = frozenset(instance.get_dynamic_partitions(MODELS.name))
    return Landed(folder, outcome, tuple(lines), registered)


def unrun(folder: Path, model: Path) -> Warehouse:
    """An empty warehouse beside the small library, and a registry that knows the model as `tiny`."""
    add_model(folder / "models.toml", model, "tiny")
    write_library(folder / "concepts")
    return _places(folder)


def _places(folder: Path) -> Warehouse:
    return Warehouse(
        root=str(folder / "warehouse"), concepts=str(folder / "concepts"), models=str(folder / "models.toml")
    )
