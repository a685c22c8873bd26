"""Options that several commands take in the same words. A warehouse may be a URL, so it is text and never a `Path`."""

from typing import Annotated

import typer

WarehouseOption = Annotated[
    str | None,
    typer.Option(
        "--warehouse",
        help="Folder of the warehouse, or its URL: s3://bucket/prefix. Default: VESALIUS_WAREHOUSE, or warehouse/data.",
    ),
]
