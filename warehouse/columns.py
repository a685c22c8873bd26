"""Columns that several tables share, and short ways to write the others: a quantity has one name everywhere.

The tables are in `library_tables`, `extraction_tables` and `analysis_tables`.
"""

import pyarrow as pa

from warehouse.schema import Column

TEXT, FLAG, REAL = pa.string(), pa.bool_(), pa.float64()
LAYER_TYPE, COUNT, BIG = pa.int16(), pa.int32(), pa.int64()

TEMPLATE_KINDS = ("neutral", "asking")
POSITIONS = ("last", "term", "mean")
LABEL_KINDS = ("categorical", "ordinal", "continuous")

TERM = Column("term", TEXT, "The term, unique in its concept.")
TEMPLATE = Column("template", TEXT, "The template's name, unique in its concept.")
LABELLING = Column("labelling", TEXT, "The labelling: a way to sort the concept's terms.")
LAYER = Column(
    "layer",
    LAYER_TYPE,
    "The decoder layer, 0 to L-1: the residual stream after it; -1 is the embedding output.",
    minimum=-1,
)
BLOCK = Column("layer", LAYER_TYPE, "The decoder layer, 0 to L-1.", minimum=0)
POSITION = Column(
    "position",
    TEXT,
    "Where the prompt is read: its last token (of a masked language model the blank), the last token of the term, or "
    "the mean over its tokens but the first (of an encoder over its own text).",
    allowed=POSITIONS,
)
TEMPLATE_KIND = Column("template_kind", TEXT, "Which templates were read.", allowed=TEMPLATE_KINDS)
VARIANT = Column("variant", TEXT, "Empty for main terms; otherwise the name of the control spelling they belong to.")
PROMPT_KEYS = (TEMPLATE, TERM)


def real(name: str, doc: str, unit: str | None = None, nullable: bool = False, **bounds: float) -> Column:
    """A column of real numbers."""
    return Column(name, REAL, doc, unit=unit, nullable=nullable, **bounds)  # type: ignore[arg-type]


def count(name: str, doc: str, unit: str, minimum: int = 0, nullable: bool = False) -> Column:
    """A column of whole numbers that count something."""
    return Column(name, COUNT, doc, unit=unit, minimum=minimum, nullable=nullable)
