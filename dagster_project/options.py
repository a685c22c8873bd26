"""Options that several commands take in the same words. A warehouse may be a URL, so it is text and never a `Path`."""

from extract.job.command import ConceptsOption, WarehouseOption

__all__ = ["ConceptsOption", "WarehouseOption"]
