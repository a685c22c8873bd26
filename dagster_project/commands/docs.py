"""`vesalius docs`: the pages that are generated, each from what it tells of. A test says when one is stale."""

import typer


def docs() -> None:
    """Write the generated pages anew: tables, commands, claims, definitions, validity results, architectures."""
    from analyses.claims_page import claims_page
    from analyses.validity_summary import results_page
    from dagster_project.cli import app
    from dagster_project.cli_page import cli_page
    from dagster_project.definitions import build_defs
    from dagster_project.defs.resources import PROJECT
    from dagster_project.inventory import inventory
    from extract.capabilities import architectures_markdown
    from warehouse.atomic import replacing
    from warehouse.reference import markdown

    pages = {
        "tables": markdown(),
        "findings": claims_page(),
        "cli": cli_page(app),
        "dagster": inventory(build_defs()),
        "validity-results": results_page(),
        "architectures": architectures_markdown(),
    }
    for name, lines in pages.items():
        path = PROJECT / "docs" / f"{name}.md"
        with replacing(path) as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
        typer.echo(str(path))
