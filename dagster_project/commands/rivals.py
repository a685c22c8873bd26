"""`vesalius rivals`: silhouettes of a model by layer, beside what its rivals give alone: spelling, length and the like.

The numbers are those of `profiles` and `rivals`; `vesalius sql left-over-rivals` has them as a table.
"""

from pathlib import Path
from typing import Annotated

import typer

from dagster_project.commands.completing import model_slugs
from dagster_project.commands.options import JsonOption, WarehouseOption
from dagster_project.commands.output import print_json
from warehouse.errors import InputError


def rivals(
    model: Annotated[str, typer.Argument(help="A model's slug.", autocompletion=model_slugs)],
    *,
    out: Annotated[Path | None, typer.Option(help="Path without suffix. Default: with the charts.")] = None,
    template_kind: Annotated[str, typer.Option(help="asking or neutral.")] = "asking",
    position: Annotated[str, typer.Option(help="last, term or mean.")] = "last",
    warehouse: WarehouseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw how a model's layers sort terms, beside what spelling, length, frequency and embeddings alone give."""
    import polars as pl

    from analyses.charts import save
    from analyses.rival_charts import rivals_chart
    from dagster_project.defs.resources import Warehouse
    from dagster_project.gathering import gather
    from dagster_project.pictures import files_of

    places = Warehouse.from_environment(root=warehouse)
    found = {}
    for name in ("profiles", "rivals"):
        partitions = [keys for keys in places.store.partitions(name) if keys["model"] == model]
        if not partitions:
            raise InputError(f"{model!r} has no {name} in {places.root}: run the model first (`vesalius run`).")
        found[name] = pl.DataFrame(gather(places.store, name, partitions))
    stem = out or places.charts / f"rivals-{model}"
    save(rivals_chart(found["profiles"], found["rivals"], model, template_kind=template_kind, position=position), stem)
    files = files_of(stem)
    if as_json:
        print_json({"model": model, "files": files})
        return
    typer.echo(str(files["png"]))
