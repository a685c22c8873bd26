"""Options that several commands take in the same words. A warehouse may be a URL, so it is text and never a `Path`."""

from typing import Annotated

import typer

from extract.job.options import ConceptsOption, WarehouseOption

__all__ = ["ConceptsOption", "JsonOption", "WarehouseOption", "names_of"]

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output, for scripts.")]


def names_of(written: str) -> list[str]:
    """The names in a text with commas between."""
    return [name.strip() for name in written.split(",") if name.strip()]
