"""The nearest terms of each term at each layer, in the model's own space: what a picture by UMAP can't be asked.

Here vectors become the `neighbours` table. The points are those that `projection` draws, one a term; how far a picture
keeps them neighbours is measured there. No seed, no resampling: the same activations give the same rows.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from analyses.geometry import Floats
from analyses.projection import Layers, Progress, drawn_terms, readings, term_points
from warehouse.errors import InputError
from warehouse.tables import table

NEAREST = 5
"""Neighbours of a term that are kept."""

_ROUNDING = 1e-6
"""A point this short, against the longest, is what float32 leaves of zero."""

_DIGITS = 12
"""Decimals of a cosine that are kept: two terms at the same place are equally near, whatever the order of a sum."""


def nearest_terms(
    layers: Layers,
    prompts: pa.Table,
    terms: pa.Table,
    *,
    template_kind: str = "asking",
    position: str = "last",
    variant: str = "",
    count: int = NEAREST,
    progress: Progress | None = None,
) -> pa.Table:
    """The nearest terms of each term, at every layer of one model and one concept.

    A term's point is its mean over the templates of that kind, held-out ones left aside, each template centred first
    over the terms: the points of `projection.project`. One product of matrices a layer gives all cosines.

    A point of length zero (or of rounding: a term in the middle of all others) has no direction, and so no cosine:
    such a term has no neighbours and is nobody's. Where all
    prompts of each template have the same vector (the embeddings at the last token) that is every term, and the layer
    has no row.

    Args:
        layers: for each layer, ascending, its activations (`activations` of the registry).
        prompts: the concept's prompts.
        terms: the concept's terms.
        template_kind: which templates are read.
        position: where they are read.
        variant: which terms: empty for the main ones, or a control spelling.
        count: neighbours of a term; fewer where there are fewer others.
        progress: called with each layer when it is done.

    Returns:
        Rows of `neighbours`: layer by layer, terms in their table's order, the nearest first.

    Raises:
        InputError: no term of that variant with a prompt of that kind, less than one neighbour, activations missing.
    """
    if count < 1:
        raise InputError(f"A term needs at least 1 neighbour to be kept; got {count}.")
    of_variant = terms.filter(pc.equal(terms["variant"], variant))["term"].to_pylist()
    names, templates = drawn_terms(prompts, template_kind, of_variant)
    if not names:
        raise InputError(
            f"No term of the variant {variant!r} has a prompt in a template that is {template_kind!r} and not held "
            "out: there are no neighbours to find."
        )
    fixed = {"template_kind": template_kind, "position": position, "variant": variant}

    def found() -> Iterator[pa.Table]:
        with threadpool_limits(limits=1):
            for reading in readings(layers, names):
                points = term_points(reading, position, templates, len(names))
                yield _rows(fixed, reading.layer, names, nearest(points, count))
                if progress is not None:
                    progress(reading.layer)

    return pa.concat_tables([table("neighbours").schema().empty_table(), *found()])


def nearest(points: Floats, count: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """The nearest others of each point by cosine, of equally near ones those that come first.

    Args:
        points: shape (points, width), at least one; those without a length, but for rounding, are left out.
        count: others of each point; fewer where there are fewer.

    Returns:
        The points that have a direction, shape (directed,); for each its nearest others, nearest first, and their
        cosines, both of shape (directed, min(count, directed - 1)).
    """
    lengths = np.linalg.norm(points, axis=1)
    directed = np.flatnonzero(lengths > _ROUNDING * lengths.max())
    unit = points[directed] / lengths[directed, None]
    cosines = np.clip(np.round(unit @ unit.T, _DIGITS), -1.0, 1.0)
    kept = min(count, max(len(directed) - 1, 0))
    left = cosines.copy()
    np.fill_diagonal(left, -np.inf)
    places = np.empty((len(directed), kept), dtype=np.intp)
    for rank in range(kept):
        # The first of the largest: that decides between equally near ones.
        places[:, rank] = left.argmax(axis=1)
        np.put_along_axis(left, places[:, rank, None], -np.inf, axis=1)
    return directed, directed[places], np.take_along_axis(cosines, places, axis=1)


def _rows(
    fixed: dict[str, str], layer: int, names: Sequence[str], found: tuple[NDArray[np.intp], NDArray[np.intp], Floats]
) -> pa.Table:
    """One layer's rows of `neighbours`, from what `nearest` gives."""
    directed, others, cosines = found
    schema = table("neighbours").schema()
    words = pa.array(names, pa.string())
    many, kept = others.shape
    columns = {name: pa.repeat(value, many * kept) for name, value in fixed.items()} | {
        "layer": pa.repeat(pa.scalar(layer, pa.int16()), many * kept),
        "term": words.take(pa.array(np.repeat(directed, kept))),
        "rank": pa.array(np.tile(np.arange(kept, dtype=np.int32), many)),
        "neighbour": words.take(pa.array(others.ravel())),
        "similarity": pa.array(cosines.ravel()),
    }
    return pa.table([columns[name] for name in schema.names], schema=schema)
