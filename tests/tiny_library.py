"""A concept library of a few terms, written on the spot: a labelling of two labels, and a continuous one."""

from pathlib import Path

COLOURS = """\
title = "Colours"
role = "control"
description = "Things and how they look."

[[labellings]]
name = "colour"
kind = "categorical"
description = "The colour of the thing."
minimum_terms = 3

[[templates]]
name = "neutral-saw"
kind = "neutral"
text = "Yesterday she saw the {term} in town"

[[templates]]
name = "colour-is"
kind = "asking"
labelling = "colour"
text = "The colour of the {term} is"

[[templates]]
name = "colour-painted"
kind = "asking"
labelling = "colour"
text = "He painted the {term} in a bright"
"""

COLOUR_TERMS = {"tomato": "red", "cherry": "red", "brick": "red", "blood": "red"} | {
    "grass": "green",
    "leaf": "green",
    "frog": "green",
    "pea": "green",
}

NUMBERS = """\
title = "Numbers"
role = "medical"
description = "Small numbers."

[[labellings]]
name = "size"
kind = "continuous"
unit = "pieces"
description = "The number itself."

[[templates]]
name = "neutral-counted"
kind = "neutral"
text = "They counted {term} of them"

[[templates]]
name = "neutral-ordered"
kind = "neutral"
text = "We ordered {term} more of them"
"""


def write_library(folder: Path) -> Path:
    """Two concepts: `colours` with 8 terms and 3 templates, `numbers` with 12 terms and 2."""
    colours = "".join(f"{term},{colour},a picture book\n" for term, colour in COLOUR_TERMS.items())
    numbers = "".join(f"{number},{number},arithmetic\n" for number in range(1, 13))
    write_concept(folder, "colours", COLOURS, "term,colour,source\n" + colours)
    write_concept(folder, "numbers", NUMBERS, "term,size,source\n" + numbers)
    return folder


def write_concept(folder: Path, name: str, toml: str, terms: str) -> None:
    """One concept from the text of its two files."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "concept.toml").write_text(toml, encoding="utf-8")
    (folder / name / "terms.csv").write_text(terms, encoding="utf-8")
