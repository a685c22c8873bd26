"""`vesalius chart`: one chart as a file for a paper, drawn from what the warehouse holds now.

Which charts there are is in `chart_list`; how a chart becomes a figure, in `analyses.figures`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dagster_project.chart_list import CHARTS, Chart, Subject, Tables
from dagster_project.commands.completing import chart_names, concept_names, model_slugs
from dagster_project.commands.options import JsonOption, WarehouseOption
from dagster_project.commands.output import print_json
from warehouse.errors import InputError

if TYPE_CHECKING:
    from warehouse.store import Store


def chart(
    *,
    name: Annotated[
        str | None, typer.Argument(help="What to draw; --list names all.", autocompletion=chart_names)
    ] = None,
    model: Annotated[
        str | None,
        typer.Argument(help="Of which model. Charts of all models take none, or one.", autocompletion=model_slugs),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The file: .svg, .pdf, .png, .json (Vega-Lite), .html. Default: NAME.svg here."),
    ] = None,
    concept: Annotated[
        str | None, typer.Option(help="Of which concept, for umap and marks.", autocompletion=concept_names)
    ] = None,
    labelling: Annotated[
        str | None, typer.Option(help="What umap colours terms by. Default: the concept's first.")
    ] = None,
    width: Annotated[
        str | None, typer.Option(help="On paper, like 180mm, 7in, 510pt. Default: the chart's own.")
    ] = None,
    font_size: Annotated[
        float | None, typer.Option(min=1, help="Points of the letters on the axes, on paper; others in proportion.")
    ] = None,
    font: Annotated[str, typer.Option(help="A font that comes before ours (Arial, Helvetica).")] = "",
    dpi: Annotated[int, typer.Option(min=36, max=2400, help="Pixels an inch, of a PNG.")] = 300,
    listed: Annotated[bool, typer.Option("--list", help="Name the charts and what each shows.")] = False,
    as_json: JsonOption = False,
    warehouse: WarehouseOption = None,
) -> None:
    """Draw one chart into a file fit for a paper: SVG with text as text, PDF, PNG, JSON or HTML."""
    from analyses.figures import PRINTED, SUFFIXES, Look, figure, read_length
    from dagster_project.defs.resources import Warehouse
    from warehouse.atomic import disk_errors, replacing

    if listed:
        _list(as_json=as_json)
        return
    if name is None or name not in CHARTS:
        asked = "Name a chart" if name is None else f"There is no chart {name!r}"
        raise InputError(f"{asked}; there are: {', '.join(CHARTS)} (`vesalius chart --list`).")
    path = out or Path("-".join(filter(None, (name, model, concept))) + ".svg")
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in SUFFIXES:
        raise InputError(f"--out {path} names no format of charts: end it in .{', .'.join(SUFFIXES)}.")
    if width is not None and suffix not in PRINTED:
        raise InputError(f"--width is for {', '.join(PRINTED)}; a {suffix} file has no size on paper.")
    look = Look(None if width is None else read_length(width), font_size, font, dpi)
    store = Warehouse.from_environment(root=warehouse).store
    tables, subject = read_chart(store, CHARTS[name], model, concept, labelling)
    content = figure(CHARTS[name].draw(tables, subject), suffix, look)
    with replacing(path.expanduser().absolute()) as temporary, disk_errors(path):
        temporary.write_bytes(content)
    typer.echo(str(path))


def read_chart(
    store: "Store", wanted: Chart, model: str | None, concept: str | None, labelling: str | None
) -> tuple[Tables, Subject]:
    """The tables of a chart, and what it is drawn of.

    Raises:
        InputError: the chart needs a model or a concept or takes none, or the warehouse has nothing of what is named.
    """
    from dagster_project.gathering import gather, partitions_of
    from warehouse.tables import table

    first = wanted.reads[0]
    if model is None and wanted.scope != "all":
        raise InputError(f"{wanted.name} is a chart of one model: name it. {_there(_models(store, first))}")
    with_models = [name for name in wanted.reads if "model" in table(name).partitions]
    if model is not None and not with_models:
        raise InputError(f"{wanted.name} is no chart of a model: leave {model!r} out.")
    if model is not None and model not in (known := _models(store, with_models[0])):
        raise InputError(f"{model!r} has no {with_models[0]} in {store.root}. {_there(known)}")
    if wanted.scope == "concept":
        known = sorted({keys["concept"] for keys in partitions_of(store, first, model) if "concept" in keys})
        if concept not in known:
            asked = "is a chart of one concept: give --concept" if concept is None else f"knows no concept {concept!r}"
            raise InputError(f"{wanted.name} {asked}. {_there(known)}")
    elif concept is not None:
        raise InputError(f"{wanted.name} is no chart of one concept: leave --concept out.")
    tables = {}
    for name in wanted.reads:
        found = partitions_of(store, name, model)
        tables[name] = gather(
            store, name, [keys for keys in found if concept is None or keys.get("concept", concept) == concept]
        )
    return tables, Subject(model or "", concept or "", labelling or _first_labelling(tables))


def _first_labelling(tables: Tables) -> str:
    labels = tables.get("labels")
    return "" if labels is None or not labels.num_rows else str(labels["labelling"][0].as_py())


def _models(store: "Store", name: str) -> list[str]:
    from dagster_project.gathering import partitions_of

    return sorted({keys["model"] for keys in partitions_of(store, name) if "model" in keys})


def _there(names: list[str]) -> str:
    return f"There are: {', '.join(names)}." if names else "There is none: run a model first (`vesalius run`)."


def _of(chart: Chart) -> str:
    from warehouse.tables import table

    if chart.scope == "all" and any("model" in table(name).partitions for name in chart.reads):
        return "all models, or one"
    return {"all": "the project", "model": "one model", "concept": "one model and concept"}[chart.scope]


def _list(*, as_json: bool) -> None:
    from dagster_project.terminal import console, plain_table

    if as_json:
        print_json(
            [
                {"name": each.name, "of": _of(each), "shows": each.shows, "reads": list(each.reads)}
                for each in CHARTS.values()
            ]
        )
        return
    rows = [(one.name, _of(one), one.shows) for one in CHARTS.values()]
    console().print(plain_table(("chart", "of", "shows"), rows))
