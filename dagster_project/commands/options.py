"""Options that several commands take in the same words. A warehouse may be a URL, so it is text and never a `Path`."""

from extract.job.options import ConceptsOption, WarehouseOption

__all__ = ["ConceptsOption", "WarehouseOption", "names_of"]


def names_of(written: str) -> list[str]:
    """The names in a text with commas between."""
    return [name.strip() for name in written.split(",") if name.strip()]
