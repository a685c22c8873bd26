"""Pictures of a concept, layer by layer: one point a term, by UMAP, turned so that the picture changes smoothly.

Here vectors become the `projections` table: which prompts make a term's point, the neighbour graph, the layout in two
dimensions (pictures) and in thirty (the paper's metrics), the alignment from layer to layer, and how far a picture can
be trusted. `Readings`, the view of one layer's activations by position and template, is here too. What is measured in
these coordinates is in `profiles`. UMAP is imported when first used: it brings a compiler along.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes
from sklearn.manifold import trustworthiness
from threadpoolctl import threadpool_limits

from analyses.geometry import Floats, cosine_distances, euclidean_distances
from analyses.resampling import generator
from warehouse.errors import InputError
from warehouse.tables import table

DIMENSIONS = 30
"""Dimensions of the coordinates that metrics are taken in, as in the paper."""

_FRESH_EPOCHS, _EPOCHS = 500, 200
"""Passes over the graph: for a picture that starts anew, and for one from the layer below and the 30 coordinates."""

_FRESH_RATE, _RATE = 1.0, 0.1
"""How far points move at first: anew, and from the layer below. *Measured*: 0.1 halves what moves between layers that
hardly differ, and is as true to the neighbours. The 30 coordinates always start anew: from the layer below, and moved
so little, they lag, and labels that are clear at a layer (silhouette 0.92) appear three layers later."""

_SMALLEST = 4
"""With fewer terms a graph of neighbours says nothing: their principal axes are drawn instead."""

_ROUNDING = 1e-6
"""Vectors whose entries differ by less, relative to the largest, are the same: float32 resolves no more."""

Layers = Iterable[tuple[int, pa.Table]]
Progress = Callable[[int], None]
"""Called with the layer that is done."""


@dataclass(frozen=True)
class Readings:
    """One layer's activations, found by position and template.

    Attributes:
        layer: the layer.
        vectors: shape (rows, width).
        rows: for a position and a template, the row of each term, -1 where there is none.
    """

    layer: int
    vectors: NDArray[np.float32]
    rows: dict[tuple[str, str], NDArray[np.intp]]

    @property
    def positions(self) -> list[str]:
        """The positions that were read."""
        return sorted({position for position, _ in self.rows})

    def of(self, position: str, template: str, terms: NDArray[np.intp]) -> NDArray[np.float32]:
        """The vectors of those terms (by their place in the list that the readings were made with).

        Raises:
            InputError: the layer lacks some of these prompts.
        """
        rows = self.rows.get((position, template))
        missing = len(terms) if rows is None else int((rows[terms] < 0).sum())
        if rows is None or missing:
            raise InputError(
                f"Layer {self.layer} has no activation for {missing} of {len(terms)} terms in template {template!r} at "
                f"position {position!r}: extract this concept again with its present prompts."
            )
        return self.vectors[rows[terms]]


def readings(layers: Layers, terms: Sequence[str]) -> Iterator[Readings]:
    """Each layer's activations, addressed by position, template and the place of a term in `terms`.

    Raises:
        InputError: the layers don't ascend.
    """
    below: int | None = None
    names = pa.array(terms, pa.string())
    for layer, activations in layers:
        if below is not None and layer <= below:
            raise InputError(f"Layers must ascend: {layer} came after {below}.")
        below = layer
        column = activations["vector"].combine_chunks()
        flat = column.flatten().to_numpy(zero_copy_only=False)
        place = pc.index_in(activations["term"], names).combine_chunks().fill_null(-1).to_numpy(zero_copy_only=False)
        cells = {}
        positions = activations["position"].combine_chunks().dictionary_encode()
        templates = activations["template"].combine_chunks().dictionary_encode()
        many = len(templates.dictionary)
        codes = positions.indices.to_numpy().astype(np.intp) * many + templates.indices.to_numpy()
        for code in np.unique(codes):
            found = np.flatnonzero((codes == code) & (place >= 0))
            rows = np.full(len(terms), -1, dtype=np.intp)
            rows[place[found]] = found
            cells[positions.dictionary[code // many].as_py(), templates.dictionary[code % many].as_py()] = rows
        yield Readings(layer, flat.reshape(len(activations), -1), cells)


def covering_templates(prompts: pa.Table, kind: str, terms: Sequence[str], labelling: str | None = None) -> list[str]:
    """The templates of that kind, held-out ones left aside, that have a prompt for each of the terms.

    Of asking templates, those that ask for `labelling` if it is given and any does; all of them otherwise.
    """
    chosen = _shown(prompts, kind, terms)
    if kind == "asking" and labelling is not None:
        asks = pc.fill_null(pc.equal(chosen["labelling"], labelling), False)
        chosen = chosen.filter(asks) if pc.any(asks).as_py() else chosen
    counted = chosen.group_by("template").aggregate([("term", "count_distinct")]).to_pylist()
    return sorted(row["template"] for row in counted if row["term_count_distinct"] == len(terms))


def _shown(prompts: pa.Table, kind: str, terms: Sequence[str]) -> pa.Table:
    """The prompts of those terms in templates of that kind that are not held out."""
    wanted = pc.and_(pc.equal(prompts["template_kind"], kind), pc.invert(prompts["held_out"]))
    return prompts.filter(pc.and_(wanted, pc.is_in(prompts["term"], pa.array(terms, pa.string()))))


def project(
    layers: Layers,
    prompts: pa.Table,
    terms: pa.Table,
    *,
    seed: int = 0,
    template_kind: str = "asking",
    position: str = "last",
    variant: str = "",
    neighbours: int = 15,
    progress: Progress | None = None,
) -> pa.Table:
    """Draw every layer of one model and one concept.

    A term's point is its mean over the templates of that kind, held-out ones left aside, each template centred first
    over the terms. One graph of cosine neighbours a layer serves the layout in 2 and in 30 dimensions. A layer's
    picture starts from that of the layer below and is turned onto it (orthogonal Procrustes): pictures are comparable,
    though only neighbourhoods mean something. The 30 coordinates start from the layer's own principal axes, so that
    what is measured in them is that layer's alone. The same seed gives the same picture on one machine.

    Three cases have no such layout, and are drawn so: terms that all have the same vector (the embeddings at the last
    token: all prompts of a template end in the same token) lie all at zero, with trustworthiness and continuity 1, for
    there is nothing to distort; fewer than 4 terms lie on their principal axes; a concept of fewer than 32 terms has
    coordinates in as many dimensions as terms less two, and zeros behind them.

    Args:
        layers: for each layer, ascending, its activations (`activations` of the registry).
        prompts: the concept's prompts.
        terms: the concept's terms.
        seed: of the layouts.
        template_kind: which templates are read.
        position: where they are read.
        variant: which terms: empty for the main ones, or a control spelling.
        neighbours: neighbours in the graph, the term itself counted in, and in trustworthiness and continuity; fewer
            where there are fewer terms.
        progress: called with each layer when it is done.

    Returns:
        Rows of `projections`: layer by layer, terms in their table's order. A term without a prompt in any of those
        templates is not drawn.

    Raises:
        InputError: no term of that variant with a prompt of that kind, fewer than 2 neighbours, activations missing.
    """
    names = terms.filter(pc.equal(terms["variant"], variant))["term"].to_pylist()
    if neighbours < 2:
        raise InputError(f"UMAP needs at least 2 neighbours, a term itself among them; got {neighbours}.")
    names, templates = drawn_terms(prompts, template_kind, names)
    if not names:
        raise InputError(
            f"No term of the variant {variant!r} has a prompt in a template that is {template_kind!r} and not held "
            "out: nothing can be drawn."
        )
    schema = table("projections").schema(width=DIMENSIONS)
    plane: Floats | None = None
    pictures = []
    with threadpool_limits(limits=1):
        for reading in readings(layers, names):
            points = term_points(reading, position, templates, len(names))
            chance = np.random.RandomState(int(generator(seed, "projection", str(reading.layer)).integers(2**31)))
            distances = cosine_distances(points)
            coordinates = np.zeros((len(names), DIMENSIONS))
            apart = _differ(points)
            if apart:
                graph = _graph(distances, neighbours, chance) if len(names) >= _SMALLEST else None
                plane = _aligned(_layout(points, graph, 2, plane, chance), plane)
                coordinates = _layout(points, graph, DIMENSIONS, None, chance)
            # A layer without any difference is drawn at zero, and the next one still starts from the last real picture.
            drawn = plane if apart and plane is not None else np.zeros((len(names), 2))
            trust, continuity = _faithfulness(distances, drawn, neighbours) if apart else (1.0, 1.0)
            columns = {
                "template_kind": pa.repeat(template_kind, len(names)),
                "position": pa.repeat(position, len(names)),
                "variant": pa.repeat(variant, len(names)),
                "layer": pa.repeat(pa.scalar(reading.layer, pa.int16()), len(names)),
                "term": pa.array(names, pa.string()),
                "x": pa.array(drawn[:, 0].astype(np.float32)),
                "y": pa.array(drawn[:, 1].astype(np.float32)),
                "coordinates": pa.FixedSizeListArray.from_arrays(coordinates.astype(np.float32).ravel(), DIMENSIONS),
                "trustworthiness": pa.repeat(trust, len(names)),
                "continuity": pa.repeat(continuity, len(names)),
            }
            pictures.append(pa.table([columns[name] for name in schema.names], schema=schema))
            if progress is not None:
                progress(reading.layer)
    return pa.concat_tables(pictures) if pictures else schema.empty_table()


def drawn_terms(prompts: pa.Table, kind: str, terms: Sequence[str]) -> tuple[list[str], dict[str, NDArray[np.intp]]]:
    """The terms that have a prompt of that kind, and for each template the places of its terms among them.

    Held-out templates are left aside.
    """
    chosen = _shown(prompts, kind, terms).select(["template", "term"]).to_pylist()
    prompted = {row["term"] for row in chosen}
    names = [term for term in terms if term in prompted]
    places = {term: place for place, term in enumerate(names)}
    found: dict[str, set[int]] = {}
    for row in chosen:
        found.setdefault(row["template"], set()).add(places[row["term"]])
    return names, {template: np.array(sorted(found[template]), dtype=np.intp) for template in sorted(found)}


def term_points(reading: Readings, position: str, templates: dict[str, NDArray[np.intp]], terms: int) -> Floats:
    """Each term's mean over its templates, each template centred first, shape (terms, width).

    Of a template whose vectors differ by no more than rounding in float32, exact zeros are taken.
    """
    sums = np.zeros((terms, reading.vectors.shape[1]))
    counts = np.zeros((terms, 1))
    for template, places in templates.items():
        sums[places] += _centred(reading.of(position, template, places))
        counts[places] += 1
    return np.asarray(sums / counts)


def _centred(vectors: NDArray[np.float32]) -> Floats:
    """Vectors less their mean; all zero where they differ by no more than rounding in float32."""
    wide = vectors.astype(np.float64)
    centred = wide - wide.mean(axis=0)
    same = np.abs(centred).max() <= _ROUNDING * np.abs(wide).max()
    return np.zeros_like(wide) if same else np.asarray(centred)


def _differ(points: Floats) -> bool:
    return bool((points != points[0]).any())


@cache
def _umap() -> ModuleType:
    with warnings.catch_warnings():
        # It says at import that its neural variant lacks TensorFlow. We don't use that variant.
        warnings.filterwarnings("ignore", message="Tensorflow not installed", category=ImportWarning)
        import umap.umap_ as module
    return module  # type: ignore[no-any-return]


@cache
def _curve() -> tuple[float, float]:
    first, second = _umap().find_ab_params(spread=1.0, min_dist=0.1)
    return float(first), float(second)


def _graph(distances: Floats, neighbours: int, chance: np.random.RandomState) -> object:
    count = min(neighbours, len(distances))
    # A term comes first among its own neighbours, also where others share its vector.
    by_nearness = distances - np.eye(len(distances))
    nearest = np.argsort(by_nearness, axis=1, kind="stable")[:, :count]
    graph, _, _ = _umap().fuzzy_simplicial_set(
        distances,
        count,
        chance,
        "precomputed",
        knn_indices=nearest.astype(np.int32),
        knn_dists=np.take_along_axis(distances, nearest, axis=1).astype(np.float32),
    )
    return graph.tocsr()


def _layout(
    points: Floats, graph: object | None, dimensions: int, below: Floats | None, chance: np.random.RandomState
) -> Floats:
    """Points in so many dimensions, centred; without a graph on their principal axes. Unused dimensions are zero."""
    layout = np.zeros((len(points), dimensions))
    if graph is None:
        axes = _principal(points, dimensions)
        layout[:, : axes.shape[1]] = axes
        return layout
    used = min(dimensions, len(points) - 2)
    first, second = _curve()
    start = np.zeros((len(points), used))
    axes = _principal(points, used) if below is None else below[:, :used]
    start[:, : axes.shape[1]] = axes
    start *= 10.0 / np.abs(start).max()
    # Terms with the same vector need a little noise to come apart, and UMAP divides by the range of every axis.
    start += chance.normal(scale=1e-4, size=start.shape)
    embedded, _ = _umap().simplicial_set_embedding(
        data=points,
        graph=graph,
        n_components=used,
        initial_alpha=_FRESH_RATE if below is None else _RATE,
        a=first,
        b=second,
        gamma=1.0,
        negative_sample_rate=5,
        n_epochs=_FRESH_EPOCHS if below is None and dimensions == 2 else _EPOCHS,
        init=start.astype(np.float32),
        random_state=chance,
        metric="precomputed",
        metric_kwds={},
        densmap=False,
        densmap_kwds={},
        output_dens=False,
    )
    layout[:, :used] = embedded - embedded.mean(axis=0)
    return layout


def _principal(points: Floats, dimensions: int) -> Floats:
    """The points, at unit length, on their first principal axes; each axis points where its longest entry does."""
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    unit = np.divide(points, lengths, out=np.zeros_like(points), where=lengths > 0)
    left, spectrum, _ = np.linalg.svd(unit - unit.mean(axis=0), full_matrices=False)
    axes = (left * spectrum)[:, :dimensions]
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    return np.asarray(axes * np.where(signs == 0, 1.0, signs))


def _aligned(layout: Floats, below: Floats | None) -> Floats:
    if below is None:
        return layout
    turn, _ = orthogonal_procrustes(layout, below)
    return np.asarray(layout @ turn)


def _faithfulness(distances: Floats, drawn: Floats, neighbours: int) -> tuple[float, float]:
    """Trustworthiness and continuity of a picture of so many neighbours, from the distances that it draws."""
    count = min(neighbours, (len(distances) - 1) // 2)
    if count < 1:
        return 1.0, 1.0
    trust = float(trustworthiness(distances.copy(), drawn, n_neighbors=count, metric="precomputed"))
    # Rounding can carry a perfect picture above 1.
    return min(1.0, trust), continuity(distances, drawn, count)


def continuity(distances: Floats, drawn: Floats, neighbours: int) -> float:
    """How many neighbours in the space are neighbours in the picture too: trustworthiness with the two exchanged.

    `1 - 2 / (n k (2n - 3k - 1)) * sum of (r(i, j) - k)` over each point's k nearest in the space that are not among its
    k nearest in the picture, r their rank there (Venna & Kaski 2001). A picture that tears a group apart loses it; one
    that lays different groups over each other keeps it, and loses trustworthiness.

    Args:
        distances: in the space, shape (terms, terms).
        drawn: the picture, shape (terms, 2).
        neighbours: k, less than half of the terms.

    Returns:
        From 0 to 1.
    """
    terms = len(distances)
    itself = np.eye(terms)
    near = np.argsort(distances - itself, axis=1, kind="stable")[:, 1 : neighbours + 1]
    order = np.argsort(euclidean_distances(drawn) - itself, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.broadcast_to(np.arange(terms), order.shape), axis=1)
    lost = np.maximum(np.take_along_axis(ranks, near, axis=1) - neighbours, 0).sum()
    return float(1.0 - lost * 2.0 / (terms * neighbours * (2.0 * terms - 3.0 * neighbours - 1.0)))
