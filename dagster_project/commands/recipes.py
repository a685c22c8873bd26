"""`vesalius recipes`: the results in `docs/sql.md`, from the warehouse at hand. For who works on the project.

What a recipe is and how the page is put together is in `dagster_project.recipes`.
"""

import typer

from dagster_project.commands.options import WarehouseOption


def recipes(warehouse: WarehouseOption = None) -> None:
    """Run the recipes of docs/sql.md and write their results into the page."""
    from dagster_project.defs.resources import PROJECT, Warehouse
    from dagster_project.recipes import refreshed
    from warehouse.atomic import replacing
    from warehouse.query import ask, connect

    page = PROJECT / "docs" / "sql.md"
    with connect(Warehouse.from_environment(root=warehouse).place) as connection:
        text = refreshed(page.read_text(encoding="utf-8"), lambda sql: ask(connection, sql))
    with replacing(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    typer.echo(str(page))
