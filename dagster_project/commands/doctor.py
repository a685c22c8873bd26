"""`vesalius doctor`: look a set-up over, and say what is wrong and how to mend it. Nothing is changed.

What is checked is in `doctor`; here the places are found and the report is laid out.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from dagster_project.commands.options import ConceptsOption, JsonOption, WarehouseOption
from dagster_project.commands.output import print_json
from warehouse.exit_codes import ExitCode

if TYPE_CHECKING:
    from dagster_project.defs.resources import Warehouse
    from dagster_project.doctor.report import Finding

_SIGNS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


def doctor(
    warehouse: WarehouseOption = None,
    concepts: ConceptsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is wrong with this set-up, and how to mend it. Changes nothing. Code 1 if a run would fail."""
    from dagster_project.defs.resources import Warehouse
    from dagster_project.terminal import console
    from extract.job.libraries import quiet_libraries

    # Libraries are about to be told to ask no network; what the user told them is what counts.
    environment = dict(os.environ)
    quiet_libraries()
    places = Warehouse.from_environment(root=warehouse, concepts=concepts)
    findings = list(examine(places, environment))
    failed = sum(one.verdict == "fail" for one in findings)
    if as_json:
        print_json([asdict(one) for one in findings])
    else:
        out = console()
        for one in findings:
            out.print(f"{_SIGNS[one.verdict]}  {one.check:<10}  {one.found}")
            if one.remedy:
                out.print(f"{'':<18}{one.remedy}")
        warned = sum(one.verdict == "warn" for one in findings)
        out.print()
        out.print(f"{len(findings)} findings: {failed} would make a run fail, {warned} could be better.")
    if failed:
        raise typer.Exit(ExitCode.FAILED)


def examine(places: "Warehouse", environment: Mapping[str, str]) -> "Iterator[Finding]":
    """Everything that is looked at, in order."""
    from dagster_project.atlas_page import PAGE
    from dagster_project.defs.resources import PROJECT
    from dagster_project.doctor import kept, machine, sources
    from dagster_project.doctor.report import guarded
    from warehouse.catalog import catalog_path
    from warehouse.places import local_folder

    store = places.store
    yield from machine.python()
    yield from machine.packages()
    yield from machine.torch_build()
    yield from machine.threads(environment, machine.processors())
    yield from machine.disk(local_folder(places.place))
    yield from machine.memory()
    yield from guarded("concepts", lambda: sources.library(Path(places.concepts)))
    yield from guarded("models", lambda: _models(places, environment))
    yield from guarded("warehouse", lambda: kept.reachable(store))
    yield from guarded("partitions", lambda: kept.partitions(store))
    root = places.place
    if isinstance(root, Path) and root.is_dir():
        newest = kept.newest_table(store)
        again = "vesalius run builds it anew; what is current costs nothing."
        yield from kept.leftovers(root)
        yield from kept.built(catalog_path(root), "catalog", newest, again)
        yield from kept.built(root / "charts" / PAGE, "atlas", newest, again)
    yield from kept.dagster_home(Path(environment.get("DAGSTER_HOME") or PROJECT / ".dagster").expanduser().absolute())


def _models(places: "Warehouse", environment: Mapping[str, str]) -> "Iterator[Finding]":
    from dagster_project.doctor import sources
    from dagster_project.model_states import model_states

    states = model_states(places.registry().values(), places.store)
    yield from sources.registry(states)
    yield from sources.hub(environment, [one.entry.slug for one in states if one.entry.gated and one.state == "known"])
