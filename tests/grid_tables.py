"""Tables of a made-up concept with terms in given templates, for tests of what is measured on ages and stages."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from warehouse.tables import table

Row = dict[str, Any]
TEMPLATES = (("a1", "asking", False), ("a2", "asking", False), ("a3", "asking", True), ("n1", "neutral", False))
"""Name, kind, held out."""


def tables(terms: Mapping[str, str], labels: Sequence[Row]) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Prompts, terms (with the variant of each) and labels."""
    prompts = [
        {
            "template": name,
            "term": term,
            "template_kind": kind,
            "labelling": None,
            "held_out": held_out,
            "text": term,
            "answer": None,
            "term_start": 0,
            "term_end": len(term),
        }
        for name, kind, held_out in TEMPLATES
        for term in terms
    ]
    spelled = [{"term": term, "spelling": term, "variant": variant, "source": "-"} for term, variant in terms.items()]
    filled = [{"answer_in_spelling": False, **label} for label in labels]
    return tuple(
        pa.Table.from_pylist(rows, schema=table(name).schema())
        for name, rows in (("prompts", prompts), ("terms", spelled), ("labels", filled))
    )


def activations(layer: int, terms: Sequence[str], vectors: Mapping[str, NDArray[np.floating]]) -> pa.Table:
    """One layer at the last token: the vectors of all terms in each template, shape (terms, width)."""
    names = [name for name, _, _ in TEMPLATES]
    width = vectors[names[0]].shape[1]
    flat = np.concatenate([vectors[name] for name in names]).astype(np.float32).ravel()
    columns = {
        "layer": pa.array([layer] * (len(names) * len(terms)), pa.int16()),
        "position": pa.array(["last"] * (len(names) * len(terms))),
        "template": pa.array([name for name in names for _ in terms]),
        "term": pa.array([*terms] * len(names)),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(flat), width),
    }
    schema = table("activations").schema(width)
    return pa.table([columns[name] for name in schema.names], schema=schema)
