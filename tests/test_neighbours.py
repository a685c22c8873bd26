"""The nearest terms of each term, beside scikit-learn's on points that a loop makes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from grid_tables import TEMPLATES, activations, tables
from sklearn.neighbors import NearestNeighbors

from analyses.neighbours import NEAREST, nearest, nearest_terms
from analyses.projection import project
from warehouse.errors import InputError
from warehouse.tables import table
from warehouse.validation import validate

WIDTH = 12
READ = [name for name, kind, held_out in TEMPLATES if kind == "asking" and not held_out]


def made(terms=30, layers=(-1, 0, 1), seed=0):
    """Terms that lie anew at each layer, somewhat differently in each template and far from each other's templates."""
    rng = np.random.default_rng(seed)
    names = [f"t{place:02d}" for place in rng.permutation(terms)]
    vectors = {}
    for layer in layers:
        own = rng.normal(size=(terms, WIDTH))
        vectors[layer] = {
            name: (9.0 * rng.normal(size=WIDTH) + own + 0.3 * rng.normal(size=own.shape)).astype(np.float32)
            for name, _, _ in TEMPLATES
        }
    return names, vectors


def found(names, vectors, variants=None, **options):
    prompts, terms, _ = tables(variants or dict.fromkeys(names, ""), [])
    return nearest_terms(
        [(layer, activations(layer, names, at)) for layer, at in vectors.items()], prompts, terms, **options
    )


def lists(rows, layer):
    """By term its neighbours and their similarities, as the ranks order them."""
    at = {}
    for row in sorted(rows.to_pylist(), key=lambda row: row["rank"]):
        if row["layer"] == layer:
            at.setdefault(row["term"], []).append((row["neighbour"], row["similarity"]))
    return at


def by_scikit_learn(names, vectors, count):
    centred = {name: vectors[name].astype(float) - vectors[name].astype(float).mean(axis=0) for name in READ}
    points = [sum(centred[name][place] for name in READ) / len(READ) for place in range(len(names))]
    search = NearestNeighbors(n_neighbors=count, metric="cosine", algorithm="brute").fit(points)
    expected = {}
    # Without points to ask for, it leaves each one out of its own neighbours.
    for place, (distances, places) in enumerate(zip(*search.kneighbors(), strict=True)):
        expected[names[place]] = [(names[other], 1.0 - far) for far, other in zip(distances, places, strict=True)]
    return expected


def test_neighbours_are_those_of_scikit_learn_at_every_layer():
    names, vectors = made()
    rows = found(names, vectors)
    validate(table("neighbours"), rows)
    assert rows.num_rows == 3 * 30 * NEAREST
    for layer, at in vectors.items():
        expected, got = by_scikit_learn(names, at, NEAREST), lists(rows, layer)
        assert got.keys() == expected.keys()
        for term in names:
            assert [name for name, _ in got[term]] == [name for name, _ in expected[term]]
            assert [near for _, near in got[term]] == pytest.approx([near for _, near in expected[term]])


def test_rows_go_by_layer_then_by_the_terms_order_then_by_rank_from_0():
    names, vectors = made(8)
    rows = found(names, vectors).to_pylist()
    expected = [(layer, term, rank) for layer in vectors for term in names for rank in range(NEAREST)]
    assert [(row["layer"], row["term"], row["rank"]) for row in rows] == expected
    assert {(row["template_kind"], row["position"], row["variant"]) for row in rows} == {("asking", "last", "")}


def test_held_out_and_neutral_templates_don_t_count():
    names, vectors = made(9)
    same = found(names, vectors)
    other = {
        layer: {name: at[name] if name in READ else -at[name][::-1] for name in at} for layer, at in vectors.items()
    }
    assert found(names, other).equals(same)
    assert not found(names, other, template_kind="neutral").equals(found(names, vectors, template_kind="neutral"))


def test_a_variant_is_read_apart():
    names, vectors = made(10)
    variants = {name: "words" if place % 2 else "" for place, name in enumerate(names)}
    main, words = (found(names, vectors, variants, variant=variant) for variant in ("", "words"))
    for rows, own in ((main, set(names[::2])), (words, set(names[1::2]))):
        assert set(rows["term"].to_pylist()) == set(rows["neighbour"].to_pylist()) == own
    assert set(words["variant"].to_pylist()) == {"words"}


def test_the_points_are_those_of_the_pictures():
    names, vectors = made(12, layers=(0,))
    prompts, terms, _ = tables(dict.fromkeys(names, ""), [])
    pictures = project([(0, activations(0, names, vectors[0]))], prompts, terms, neighbours=3)
    rows = found(names, vectors)
    shared = ["template_kind", "position", "variant", "layer", "term"]
    assert (
        rows.select(shared)
        .group_by(shared)
        .aggregate([])
        .sort_by("term")
        .equals(pictures.select(shared).sort_by("term").cast(rows.select(shared).schema))
    )


@pytest.mark.parametrize("terms", [2, 3, 5, 6])
def test_few_terms_have_as_many_neighbours_as_there_are_others(terms):
    names, vectors = made(terms)
    rows = found(names, vectors)
    assert rows.num_rows == 3 * terms * min(NEAREST, terms - 1)
    for term, others in lists(rows, 0).items():
        assert len({name for name, _ in others} - {term}) == min(NEAREST, terms - 1)


def test_equally_near_terms_come_in_the_terms_order():
    # Every term thrice: a term's two copies are at cosine 1, and the three of another term equally far.
    rng = np.random.default_rng(3)
    for repeat in range(20):
        points = np.tile(rng.normal(size=(7, WIDTH)), (3, 1))
        _, places, cosines = nearest(points, 5)
        for place, others in enumerate(places):
            assert others[:2].tolist() == [copy for copy in range(place % 7, 21, 7) if copy != place], repeat
            assert others[2:].tolist() == [others[2] % 7 + 7 * copy for copy in range(3)], repeat
        assert (cosines[:, :2] == 1.0).all()
        assert (np.diff(cosines) <= 0).all()


def test_where_all_prompts_are_the_same_no_term_has_neighbours():
    names, vectors = made(6)
    vectors[-1] = {name: np.tile(at[0], (6, 1)) for name, at in vectors[-1].items()}
    rows = found(names, vectors)
    assert set(rows["layer"].to_pylist()) == {0, 1}
    validate(table("neighbours"), rows)
    assert found(names, {-1: vectors[-1]}).num_rows == 0


def test_a_term_in_the_middle_of_all_others_has_no_neighbours_and_is_nobody_s():
    rng = np.random.default_rng(1)
    names = [f"t{place}" for place in range(9)]
    half = rng.normal(size=(4, WIDTH))
    vectors = {
        name: (5.0 + np.concatenate([half, -half, [np.zeros(WIDTH)]])).astype(np.float32) for name, *_ in TEMPLATES
    }
    rows = found(names, {0: vectors})
    assert set(rows["term"].to_pylist()) == set(rows["neighbour"].to_pylist()) == set(names[:8])
    assert rows.num_rows == 8 * NEAREST


def test_a_term_alone_has_no_neighbours():
    names, vectors = made(1)
    assert found(names, vectors).num_rows == 0


def test_scale_does_not_matter():
    points = np.random.default_rng(2).normal(size=(15, WIDTH))
    _, places, _ = nearest(points, 4)
    _, scaled, _ = nearest(points * np.linspace(0.01, 100.0, 15)[:, None], 4)
    assert (places == scaled).all()


def test_progress_tells_each_layer():
    names, vectors = made(4)
    seen = []
    found(names, vectors, progress=seen.append)
    assert seen == [-1, 0, 1]


def test_what_has_no_neighbours_to_find_is_refused():
    names, vectors = made(4)
    with pytest.raises(InputError, match="at least 1 neighbour"):
        found(names, vectors, count=0)
    with pytest.raises(InputError, match="spelled"):
        found(names, vectors, variant="spelled")
    with pytest.raises(InputError, match="position 'term'"):
        found(names, vectors, position="term")
    with pytest.raises(InputError, match="ascend"):
        found(names, dict(reversed(vectors.items())))


def test_finding_neighbours_needs_neither_umap_nor_torch():
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); "
        "import test_neighbours as t; t.found(*t.made(4)); "
        "sys.exit(bool({'umap', 'numba', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_layers_there_are_no_rows():
    assert found(made(4)[0], {}).equals(table("neighbours").schema().empty_table())
