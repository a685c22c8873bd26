"""`vesalius export` and `vesalius import`: a warehouse, or a part of it, handed to others and taken from them.

What is written and what is proved is in `warehouse.exchange`; here is what the user types and reads.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dagster_project.commands.completing import concept_names, model_slugs
from dagster_project.commands.options import JsonOption, WarehouseOption
from dagster_project.commands.output import print_json
from warehouse.errors import InputError

if TYPE_CHECKING:
    from warehouse.exchange.exporting import Tell
    from warehouse.exchange.importing import Decision


def export(
    *,
    folder: Annotated[Path, typer.Argument(help="Where to: a folder that is not there yet.")],
    table: Annotated[
        list[str] | None, typer.Option(help="Only this table; again for more. `concepts` and `models` go along.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Only this model, with its untrained twin; again for more.", autocompletion=model_slugs),
    ] = None,
    concept: Annotated[
        list[str] | None, typer.Option(help="Only this concept; again for more.", autocompletion=concept_names)
    ] = None,
    layout: Annotated[
        str, typer.Option(help="warehouse, which can be imported, or datasets, for Hugging Face's package.")
    ] = "warehouse",
    warehouse: WarehouseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a folder that others can read, check and import: Parquet, data dictionary, hashes."""
    from dagster_project.defs.resources import Warehouse
    from dagster_project.terminal import console
    from warehouse.exchange.exporting import export as export_to
    from warehouse.exchange.parts import Choice

    store = Warehouse.from_environment(root=warehouse).store
    choice = Choice(table or [], model or [], concept or [])
    with _shown("Exporting") as tell:
        done = export_to(store, folder, choice, layout, tell)
    if as_json:
        print_json(asdict(done))
        return
    console().print(f"{done.files} files, {done.rows:,} rows, {done.bytes:,} bytes: {done.folder}")


def import_(
    *,
    source: Annotated[str, typer.Argument(help="A folder that `vesalius export` wrote, or another warehouse.")],
    keep: Annotated[bool, typer.Option("--keep", help="Where both have a partition, keep what is here.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Where both have a partition, take the other.")] = False,
    warehouse: WarehouseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring an exported folder or another warehouse into this one: checked first, then all of it or nothing."""
    from dagster_project.defs.resources import Warehouse
    from warehouse.exchange.importing import import_into
    from warehouse.places import place

    if keep and replace:
        raise InputError("--keep and --replace contradict each other: give one of them.")
    found = place(source)
    store = Warehouse.from_environment(root=warehouse).store
    with _shown("Importing") as tell:
        decision = import_into(
            store,
            found.expanduser().resolve() if isinstance(found, Path) else found,
            "keep" if keep else "replace" if replace else None,
            tell,
        )
    if as_json:
        print_json(
            {
                "warehouse": str(store.root),
                "outdated": decision.outdated,
                **{
                    name: [str(each.part) for each in getattr(decision, name)]
                    for name in ("new", "replaced", "same", "kept", "left_out")
                },
            }
        )
        return
    _print_decision(decision, str(store.root))


def _print_decision(decision: "Decision", root: str) -> None:
    from dagster_project.terminal import console

    out = console()
    out.print(
        f"{len(decision.new)} partitions are new, {len(decision.replaced)} were replaced, {len(decision.same)} were "
        f"here already, {len(decision.kept)} were kept as they are: {root}"
    )
    if decision.left_out:
        out.print(
            f"{len(decision.left_out)} stayed out, for they were measured with another version of a concept or model "
            f"that is kept here (first {decision.left_out[0].part})."
        )
    if decision.outdated:
        console(error=True).print(
            f"warning: {len(decision.outdated)} partitions here were measured with a concept or model that was "
            f"replaced (first {decision.outdated[0]}): run their models again."
        )


@contextmanager
def _shown(doing: str) -> "Iterator[Tell]":
    """A bar on standard error while it lasts, for whoever looks."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from dagster_project.terminal import console

    shown = console(error=True)
    columns = (TextColumn(doing), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=shown, transient=True, disable=not shown.file.isatty()) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, all_: bar.update(task, completed=done, total=all_)
