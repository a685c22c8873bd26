"""`vesalius findings`: what was found in each model, claim by claim, with estimate, interval and verdict.

It shows what the table `findings` holds; how a claim is tested is in `analyses.claims`. Nothing is measured here.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from dagster_project.commands.completing import model_slugs
from dagster_project.commands.options import JsonOption, WarehouseOption
from dagster_project.commands.output import print_json
from warehouse.errors import InputError

if TYPE_CHECKING:
    import polars as pl

    from warehouse.store import Store


def findings(
    model: Annotated[
        str | None, typer.Argument(help="A model's slug. Default: all that have findings.", autocompletion=model_slugs)
    ] = None,
    as_json: JsonOption = False,
    warehouse: WarehouseOption = None,
) -> None:
    """Show the findings: the paper's claims and ours, each supported, refuted or undecided, and why."""
    from dagster_project.defs.resources import Warehouse
    from dagster_project.terminal import console, plain_table

    rows = read_findings(Warehouse.from_environment(root=warehouse).store, model)
    if as_json:
        print_json(rows.to_dicts())
        return
    out = console()
    for (name,), found in rows.group_by("model", maintain_order=True):
        counts = ", ".join(
            f"{found.filter(verdict=verdict).height} {verdict}" for verdict in ("supported", "refuted", "undecided")
        )
        out.print(f"{name}: {found.height} claims, {counts}")
        out.print()
        out.print(plain_table(("claim", "by", "verdict", "estimate (95%)", "what was found"), _lines(found)))
        out.print()


def read_findings(store: "Store", model: str | None) -> "pl.DataFrame":
    """The rows of `findings`, of one model or of all, with `model` in front, in the order of the claims.

    Raises:
        InputError: the model has no findings, or no model has.
    """
    import polars as pl

    from analyses.findings import in_order

    known = [keys["model"] for keys in store.partitions("findings")]
    wanted = known if model is None else [model]
    if not wanted or not set(wanted) <= set(known):
        whose = "No model has findings" if model is None else f"{model!r} has no findings"
        there = f"; {', '.join(known)} have" if known else ""
        raise InputError(f"{whose} in {store.root}{there}: run the model first (`vesalius run`).")
    frames = [
        in_order(store.read("findings", model=name)).select(pl.lit(name).alias("model"), pl.all()) for name in wanted
    ]
    return pl.concat(frames)


def _lines(rows: "pl.DataFrame") -> list[list[str]]:
    lines = []
    for row in rows.iter_rows(named=True):
        estimate = "" if row["estimate"] is None else f"{row['estimate']:.2f}"
        if estimate and row["low"] is not None and row["high"] is not None:
            estimate += f" ({row['low']:.2f} … {row['high']:.2f})"
        by = "paper" if row["claimed_by"] == "the paper" else "ours"
        lines.append([row["title"], by, row["verdict"], estimate, row["sentence"]])
    return lines
