import itertools
import re
from collections import defaultdict
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.compute as pc
import pytest
import warehouse_effects as effects
import warehouse_fixture as fixture
from warehouse_fixture import LAYERS, TERMS, build_warehouse, named, vector

from warehouse.catalog import build_catalog
from warehouse.errors import QueryError
from warehouse.query import run_query
from warehouse.sql_files import ANALYSES, CHECKS, VIEWS, markdown, named_queries
from warehouse.store import Store

DOCS = Path(__file__).parents[1] / "docs" / "sql.md"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("warehouse")
    build_warehouse(root)
    build_catalog(root)
    return root


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one.astype(np.float64), other.astype(np.float64)
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_asking_profiles_leave_out_neutral_prompts_and_control_spellings(root: Path) -> None:
    found = run_query(
        root,
        "SELECT role, max(value) AS value FROM asking_profiles WHERE metric = 'silhouette_cosine' "
        "GROUP BY role ORDER BY role",
    ).to_pylist()
    assert found == [{"role": "control", "value": 0.15}, {"role": "medical", "value": 0.5}]
    counted = "SELECT count(*) AS n FROM asking_profiles WHERE metric = 'r2_ridge' AND model = 'planted'"
    assert run_query(root, counted).to_pylist() == [{"n": 4}]


def test_medical_profiles_have_no_controls(root: Path) -> None:
    found = run_query(root, "SELECT DISTINCT concept FROM medical_profiles ORDER BY concept")["concept"].to_pylist()
    assert found == ["age", "drugs"]


def test_the_reading_template_is_the_first_that_is_not_held_out(root: Path) -> None:
    found = run_query(root, "FROM reading_templates ORDER BY ALL").to_pylist()
    assert [tuple(row.values()) for row in found] == [
        ("age", "years", "ask-years"),
        ("countries", "continent", "ask-continent"),
        ("drugs", "mechanism", "ask-mechanism"),
        ("drugs", "specialty", "ask-specialty"),
    ]


def test_main_terms_leave_out_control_spellings(root: Path) -> None:
    found = run_query(root, "SELECT term FROM main_terms WHERE concept = 'age' ORDER BY term")["term"].to_pylist()
    assert found == ["1", "2", "30"]
    labelled = run_query(root, "SELECT number FROM labelled_terms WHERE concept = 'age' ORDER BY number")
    assert labelled["number"].to_pylist() == [1.0, 2.0, 30.0]


def test_kept_neighbours_are_counted_from_the_layer_before(root: Path) -> None:
    found = run_query(root, "FROM neighbours_kept ORDER BY model, concept, layer, term").to_pylist()
    expected = []
    for model, concept in itertools.product(sorted(LAYERS), sorted(TERMS)):
        near = defaultdict(set)
        for row in fixture.neighbours(concept, LAYERS[model]):
            near[row["layer"], row["term"]].add(row["neighbour"])
        for layer, term in sorted(near):
            if layer > 0:
                before = near[layer - 1, term]
                still = len(before & near[layer, term])
                expected.append((model, concept, layer, term, len(before), still, still / len(before)))
    columns = ("model", "concept", "layer", "term", "before", "still", "kept")
    assert [tuple(row[column] for column in columns) for row in found] == expected
    assert {row["kept"] for row in found} > {0.5}


def test_a_term_without_neighbours_at_one_of_two_layers_keeps_none_and_loses_none(tmp_path: Path) -> None:
    build_warehouse(tmp_path)
    keys = {"model": "planted", "concept": "drugs"}
    store = Store(tmp_path)
    rows = store.read("neighbours", **keys)
    left = rows.filter(pc.invert(pc.and_(pc.equal(rows["layer"], 1), pc.equal(rows["term"], "insulin"))))
    store.write("neighbours", left, fingerprint="fewer", **keys)
    build_catalog(tmp_path)
    sql = "SELECT term, layer FROM neighbours_kept WHERE model = 'planted' AND concept = 'drugs' ORDER BY term, layer"
    found = [tuple(row.values()) for row in run_query(tmp_path, sql).to_pylist()]
    assert found == [(term, layer) for term in sorted(TERMS["drugs"]) for layer in (1, 2) if term != "insulin"]


def test_restored_is_a_ratio_of_sums(root: Path) -> None:
    sql = """
        SELECT layer, restored(ld_clean, ld_corrupted, ld_patched) AS restored
        FROM patches
        WHERE model = 'planted' AND site = 'resid' AND position = 'last' AND template = 'ask-specialty'
        GROUP BY layer ORDER BY layer
    """
    # clean 2 and 3, corrupted -1 and -1, patched l and l + 1: ((l + 1) + (l + 2)) / (3 + 4); the third hardly differs
    assert run_query(root, sql)["restored"].to_pylist() == pytest.approx([3 / 7, 5 / 7, 7 / 7])


def test_best_layers_are_the_largest_values(root: Path) -> None:
    found = named(root, "best-layers")
    expected = {}
    for model in LAYERS:
        for concept, labelling in fixture.SILHOUETTES:
            values = fixture.silhouettes(model, concept, labelling)
            expected[model, concept, labelling] = (int(np.argmax(values)) - 1, max(values))
    assert {(row["model"], row["concept"], row["labelling"]): (row["layer"], row["value"]) for row in found} == expected
    specialty = next(row for row in found if (row["model"], row["labelling"]) == ("planted", "specialty"))
    assert specialty == {
        "model": "planted",
        "concept": "drugs",
        "role": "medical",
        "labelling": "specialty",
        "layer": 2,
        "layers": 3,
        "value": 0.5,
        "low": pytest.approx(0.46),
        "high": pytest.approx(0.54),
        "null_p": 0.01,
    }
    assert {row["labelling"] for row in named(root, "best-layers", metric="r2_ridge")} == {"years"}


def test_largest_steps_stand_beside_the_planted_layers(root: Path) -> None:
    found = {(row["model"], row["labelling"]): row for row in named(root, "largest-steps")}
    for (model, labelling), row in found.items():
        steps = np.diff(fixture.silhouettes(model, row["concept"], labelling))
        assert row["layer"] == int(np.argmax(steps))
        assert row["step"] == pytest.approx(steps.max())
    planted = {key: (row["planted_layers"], row["is_planted"]) for key, row in found.items()}
    assert planted.pop(("planted", "specialty")) == ([fixture.PLANTED_LAYER], True)
    assert set(planted.values()) == {(None, None)}


def test_standing_out_counts_layers_over_their_null(root: Path) -> None:
    found = {(row["model"], row["labelling"]): row for row in named(root, "standing-out")}
    for (model, labelling), row in found.items():
        values = fixture.silhouettes(model, row["concept"], labelling)
        out = [layer for layer, value in enumerate(values, start=-1) if value > 0.08]
        assert row["layers_measured"] == len(values)
        assert row["layers_standing_out"] == len(out)
        assert (row["first_layer"], row["last_layer"]) == ((min(out), max(out)) if out else (None, None))
    everywhere = named(root, "standing-out", probability=1.0)
    assert all(row["layers_standing_out"] == row["layers_measured"] for row in everywhere)


def test_specialty_and_mechanism_stand_side_by_side(root: Path) -> None:
    found = named(root, "specialty-vs-mechanism")
    tiny = [row for row in found if row["model"] == "planted" and row["template_kind"] == "asking"]
    specialty, mechanism = (fixture.SILHOUETTES["drugs", name] for name in ("specialty", "mechanism"))
    assert [row["layer"] for row in tiny] == [-1, 0, 1, 2]
    assert [row["difference"] for row in tiny] == pytest.approx(np.subtract(specialty, mechanism).tolist())
    assert [row["first_value"] for row in tiny] == specialty
    assert [row["second_high"] for row in tiny] == pytest.approx([value + fixture.MARGIN for value in mechanism])
    assert [row["intervals_apart"] for row in tiny] == [False, True, False, True]
    assert {row["template_kind"] for row in found} == {"asking", "neutral"}
    turned = named(root, "specialty-vs-mechanism", first="mechanism", second="specialty")
    assert [row["difference"] for row in turned] == pytest.approx([-row["difference"] for row in found])


@pytest.mark.parametrize(("layer", "template"), [(None, None), (-1, "ask-specialty"), (0, "said")])
def test_nearest_terms_are_those_of_the_largest_cosine(root: Path, layer: int | None, template: str | None) -> None:
    found = named(root, "nearest-terms", term="aspirin", layer=layer, template=template)
    for model, layers in LAYERS.items():
        at, by = layers - 1 if layer is None else layer, template or "ask-mechanism"
        here = vector(model, "drugs", at, "last", by, "aspirin")
        cosines = {
            term: cosine(here, vector(model, "drugs", at, "last", by, term))
            for term in TERMS["drugs"]
            if term != "aspirin"
        }
        rows = [row for row in found if row["model"] == model]
        assert [row["neighbour"] for row in rows] == sorted(cosines, key=lambda term: -cosines[term])
        assert [row["cosine"] for row in rows] == pytest.approx(sorted(cosines.values(), reverse=True), abs=1e-6)
        assert [row["rank"] for row in rows] == [1, 2, 3, 4]
        labels = {"ask-mechanism": fixture.MECHANISM, "ask-specialty": fixture.SPECIALTY, "said": {}}[by]
        assert {row["neighbour"]: row["neighbour_label"] for row in rows} == {
            term: labels.get(term) for term in cosines
        }
        assert {(row["layer"], row["template"], row["label"]) for row in rows} == {(at, by, labels.get("aspirin"))}


def test_nearest_terms_can_be_narrowed_down(root: Path) -> None:
    assert len(named(root, "nearest-terms", term="aspirin", model="0042", neighbours=2)) == 2
    assert named(root, "nearest-terms", term="aspirin", concept="countries") == []
    ages = named(root, "nearest-terms", term="1", model="planted")
    assert {row["neighbour"] for row in ages} == {"2", "30"}


def test_misplaced_terms_lie_nearer_to_another_label_than_to_their_own(root: Path) -> None:
    labellings = {
        "specialty": ("drugs", fixture.SPECIALTY),
        "mechanism": ("drugs", fixture.MECHANISM),
        "continent": ("countries", fixture.CONTINENT),
    }
    expected = {}
    for model, layers in LAYERS.items():
        for labelling, (concept, labels) in labellings.items():
            for layer in range(-1, layers):
                vectors = {term: vector(model, concept, layer, "last", f"ask-{labelling}", term) for term in labels}
                for term, here in vectors.items():
                    cosines = {other: cosine(here, there) for other, there in vectors.items() if other != term}
                    own = [value for other, value in cosines.items() if labels[other] == labels[term]]
                    nearest, near = max(
                        ((other, value) for other, value in cosines.items() if labels[other] != labels[term]),
                        key=lambda pair: pair[1],
                    )
                    if own and near > max(own):
                        expected[model, labelling, layer, term] = (nearest, labels[nearest], near, max(own))
    found = named(root, "misplaced-terms")
    assert {(row["model"], row["labelling"], row["layer"], row["term"]) for row in found} == set(expected)
    for row in found:
        nearest, label, near, own = expected[row["model"], row["labelling"], row["layer"], row["term"]]
        assert (row["nearest_term"], row["nearest_label"]) == (nearest, label)
        assert (row["cosine"], row["own_cosine"]) == (pytest.approx(near, abs=1e-6), pytest.approx(own, abs=1e-6))
    narrow = named(root, "misplaced-terms", model="planted", concept="drugs", labelling="specialty", layer=1)
    assert narrow == [
        row for row in found if (row["model"], row["labelling"], row["layer"]) == ("planted", "specialty", 1)
    ]


def test_layer_drift_is_the_mean_over_prompts(root: Path) -> None:
    found = {(row["model"], row["concept"], row["layer"]): row for row in named(root, "layer-drift", position="mean")}
    assert len(found) == sum(LAYERS.values()) * len(TERMS)
    for (model, concept, layer), row in found.items():
        keys = [(template, term) for template, *_ in fixture.TEMPLATES[concept] for term in TERMS[concept]]
        before, after = (
            [vector(model, concept, at, "mean", template, term) for template, term in keys] for at in (layer - 1, layer)
        )
        assert row["prompts"] == len(keys)
        assert row["mean_cosine"] == pytest.approx(np.mean(list(map(cosine, before, after))), abs=1e-6)
        growth = np.linalg.norm(after, axis=1) / np.linalg.norm(before, axis=1)
        assert row["mean_growth"] == pytest.approx(growth.mean(), rel=1e-5)
    assert len(named(root, "layer-drift", model="planted", concept="age")) == LAYERS["planted"]


def test_confounds_are_the_share_of_variance_between_labels(root: Path) -> None:
    found = {(row["model"], row["labelling"], row["number"]): row for row in named(root, "term-confounds")}
    numbers = {"token_count": fixture.term_tokens, "frequency": lambda _, term: fixture.zipf_frequency(term)}
    assert set(found) == {(model, name, number) for model in LAYERS for name in fixture.ANSWERS for number in numbers}
    only = [
        (row["model"], row["labelling"], row["number"]) for row in named(root, "term-confounds", number="frequency")
    ]
    assert set(only) == {keys for keys in found if keys[2] == "frequency"}
    for (model, labelling, number), row in found.items():
        groups: dict[str, list[float]] = defaultdict(list)
        for term, label in fixture.ANSWERS[labelling].items():
            groups[label].append(numbers[number](model, term))
        counts = np.concatenate(list(groups.values()))
        between = sum(len(group) * (np.mean(group) - counts.mean()) ** 2 for group in groups.values())
        total = ((counts - counts.mean()) ** 2).sum()
        assert row["eta_squared"] == (pytest.approx(between / total) if total else None)
        assert row["chance_eta_squared"] == pytest.approx((len(groups) - 1) / (len(counts) - 1))
        assert (row["terms"], row["labels"]) == (len(counts), len(groups))
        assert row["mean"] == pytest.approx(counts.mean())
        assert row["lowest_mean"] == min(map(np.mean, groups.values()))
        assert row["highest_mean"] == max(map(np.mean, groups.values()))
        assert np.mean(groups[row["lowest_label"]]) == row["lowest_mean"]
        assert np.mean(groups[row["highest_label"]]) == row["highest_mean"]


def test_concept_counts_are_those_of_the_library(root: Path) -> None:
    # drugs: 5 terms; 2 labels of specialty and 4 of mechanism; 3 asking templates, one held out, and a neutral one;
    # pairs of other answers: specialty 3 x 2 x 2 in two templates, mechanism 5 x 4 less the 2 of the same answer.
    columns = [name for name, _ in named_queries()["concept-counts"].columns]
    expected = [
        ("age", "medical", 3, 1, 1, 0, 0, 4, 0, 0),
        ("drugs", "medical", 5, 0, 2, 6, 5, 15, 5, 42),
        ("countries", "control", 4, 0, 1, 2, 0, 4, 0, 8),
    ]
    assert named(root, "concept-counts") == [dict(zip(columns, row, strict=True)) for row in expected]


def test_model_summary_counts_what_was_measured(root: Path) -> None:
    found = {row["model"]: row for row in named(root, "model-summary")}
    prompts = sum(len(fixture.TEMPLATES[concept]) * len(TERMS[concept]) for concept in TERMS)
    for model, layers in LAYERS.items():
        row = found[model]
        assert (row["layers"], row["width"], row["parameters"]) == (layers, fixture.WIDTHS[model], 1000 * layers)
        assert (row["concepts"], row["vectors"]) == (3, 3 * (layers + 1) * prompts)
        # Three labellings have silhouettes of two kinds and steps, age two metrics for two variants.
        made_up = len(effects.PROFILES) * layers
        assert row["profiles"] == 3 * (2 * (layers + 1) + layers) + 2 * 2 * (layers + 1) + made_up
    assert (found["planted"]["planted_layers"], found["0042"]["planted_layers"]) == ([2], None)


def test_controls_are_taken_off_over_their_own_null(root: Path) -> None:
    found = [row for row in named(root, "controls") if (row["model"], row["labelling"]) == ("planted", "specialty")]
    specialty, continent = fixture.SILHOUETTES["drugs", "specialty"], fixture.SILHOUETTES["countries", "continent"]
    assert [row["layer"] for row in found] == [-1, 0, 1, 2]
    assert [row["value"] for row in found] == specialty
    assert [row["over_null"] for row in found] == pytest.approx([value - fixture.NULL_MEAN for value in specialty])
    assert [row["control_over_null"] for row in found] == pytest.approx(
        [value - fixture.NULL_MEAN for value in continent]
    )
    assert [row["excess"] for row in found] == pytest.approx(np.subtract(specialty, continent).tolist())
    assert {row["concept"] for row in named(root, "controls")} == {"drugs"}


def test_age_linearity_shows_the_gain_over_the_embeddings(root: Path) -> None:
    found = named(root, "age-linearity")
    assert {(row["model"], row["variant"]) for row in found} == {
        (model, variant) for model in LAYERS for variant in ("", "words")
    }
    tiny = [row for row in found if (row["model"], row["variant"]) == ("planted", "words")]
    assert [row["layer"] for row in tiny] == [-1, 0, 1, 2]
    assert [row["r2"] for row in tiny] == fixture.R2
    assert [row["r2_over_embeddings"] for row in tiny] == pytest.approx([value - fixture.R2[0] for value in fixture.R2])
    assert [row["anisotropy"] for row in tiny] == fixture.ANISOTROPY
    assert tiny[1]["r2_low"] == pytest.approx(0.76)
    assert tiny[1]["anisotropy_high"] == pytest.approx(0.34)


def test_inventory_lists_every_file_of_the_warehouse(root: Path) -> None:
    found = named(root, "inventory")
    paths = sorted(root.rglob("*.parquet"))
    assert len(found) == len(paths)
    assert sum(row["bytes"] for row in found) == sum(path.stat().st_size for path in paths)
    row = next(
        row for row in found if (row["table_name"], row["model"], row["concept"]) == ("activations", "planted", "drugs")
    )
    assert (row["rows"], row["row_groups"], row["schema_version"], row["fingerprint"]) == (20 * 3 * 4, 4, 1, "planted")
    assert {(row["model"], row["concept"]) for row in found if row["table_name"] == "models"} == {
        ("0042", None),
        ("planted", None),
    }


def test_every_statement_in_the_docs_runs(root: Path) -> None:
    text = DOCS.read_text()
    statements = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    statements += re.findall(r'vesalius sql "([^"]+)"', text)
    assert len(statements) >= 6
    for statement in statements:
        assert run_query(root, statement).num_columns, statement


def test_every_python_block_in_the_docs_runs(root: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block.replace("warehouse/data", str(root)), str(DOCS), "exec"), {})


def test_every_named_query_in_the_docs_exists_with_its_parameters(root: Path) -> None:
    calls = re.findall(r"vesalius sql ([a-z][a-z-]+)((?: --param \S+)*)", DOCS.read_text())
    assert calls
    for name, options in calls:
        given = dict(one.split("=", 1) for one in re.findall(r"--param (\S+)", options))
        query = named_queries()[name]
        assert run_query(root, query.sql, query.bind(given)).num_rows, name


def test_the_lists_of_queries_and_views_in_the_docs_are_theirs() -> None:
    text = DOCS.read_text()
    assert "\n".join(markdown(named_queries())) in text
    assert all(f"| `{view.name}` | {view.purpose} |" in text for view in named_queries(VIEWS).values())


def test_the_refusals_in_the_docs_are_refused(root: Path) -> None:
    listed = re.search(r"SQL may not.*?```text\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert listed
    for statement in listed[1].strip().splitlines():
        with pytest.raises(QueryError):
            run_query(root, statement)


@pytest.mark.parametrize("folder", [ANALYSES, CHECKS, VIEWS], ids=lambda folder: folder.name)
def test_every_sql_file_follows_the_style(folder: Path) -> None:
    keywords = re.compile(r"\b(select|from|where|group by|order by|join|with|union|having|qualify|as|on|and|or|over)\b")
    for name, query in named_queries(folder).items():
        body = "\n".join(line for line in query.sql.splitlines() if not line.startswith("--"))
        assert not keywords.search(re.sub(r"'[^']*'", "", body)), name
        assert ";" not in body, name
        assert query.purpose.endswith((".", "?")), name
        assert len(duckdb.extract_statements(query.sql)) == 1, name
        bound = {one.name for one in query.parameters} if "CREATE MACRO" not in body else set()
        assert set(re.findall(r"\$(\w+)", body)) == bound, name
        assert all(doc.endswith(".") for _, doc in query.columns), name
        assert max(map(len, query.sql.splitlines())) <= 120, name


@pytest.mark.parametrize("folder", [ANALYSES, CHECKS], ids=lambda folder: folder.name)
def test_every_query_has_the_columns_of_its_comment(root: Path, tmp_path: Path, folder: Path) -> None:
    empty = tmp_path / "empty"
    build_catalog(empty)
    for name, query in named_queries(folder).items():
        values = query.bind({"term": "aspirin"} if name == "nearest-terms" else None)
        assert run_query(root, query.sql, values).column_names == [column for column, _ in query.columns], name
        if name != "inventory":
            assert run_query(empty, query.sql, values).num_rows == 0, name


def test_every_named_query_has_rows_and_a_test_of_its_values(root: Path) -> None:
    source = "".join(path.read_text() for path in Path(__file__).parent.glob("test_sql*.py"))
    for name in named_queries(ANALYSES):
        assert named(root, name, **({"term": "aspirin"} if name == "nearest-terms" else {})), name
        assert f'named(root, "{name}"' in source, name
