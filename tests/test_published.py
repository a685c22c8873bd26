"""The paper's Table 1 as data, and a run set beside it."""

import polars as pl
import pytest

from analyses.published import COUNTERPARTS, PUBLISHED_FILE, beside_published, published_table
from warehouse.errors import InputError
from warehouse.tables import table
from warehouse.validation import validate

LAYERS = {"Llama-3.3-70B": 80, "Gemma-3-27B": 62, "MedGemma-27B": 62, "Qwen-32B": 64, "GPT-OSS-120B": 36}


def profile(model, values, concept="drugs", labelling="specialty", metric="silhouette_cosine", **other):
    keys = {"template_kind": "asking", "position": "last", "variant": ""} | other
    return [
        {**keys, "model": model, "concept": concept, "labelling": labelling, "metric": metric, "layer": layer}
        | {"value": value, "low": value - 0.1, "high": value + 0.1}
        for layer, value in enumerate(values, start=-1)
    ]


def test_the_table_has_six_figures_of_five_models_and_keeps_its_contract():
    rows = published_table()
    validate(table("published"), rows)
    frame = pl.DataFrame(rows)
    assert len(frame) == 6 * 5
    assert set(frame["published_model"]) == set(LAYERS)
    counted = frame.group_by("concept", "metric").len()
    assert (set(counted["len"]), len(counted)) == ({5}, 6)


def test_depth_is_the_layer_over_the_last_one():
    for row in published_table().to_pylist():
        assert row["depth"] == pytest.approx(row["layer"] / (LAYERS[row["published_model"]] - 1))
        assert 0 <= row["depth"] <= 1


def test_every_published_figure_has_a_counterpart():
    figures = {(row["concept"], row["metric"]) for row in published_table().to_pylist()}
    assert {counterpart[:2] for counterpart in COUNTERPARTS} == figures


def test_figures_stand_as_they_were_printed():
    found = {(row["concept"], row["metric"], row["published_model"]): row for row in published_table().to_pylist()}
    blown_up = found["dosage", "patching P", "Qwen-32B"]
    assert (blown_up["value"], blown_up["layer"]) == (7.33, 0)
    assert found["symptoms", "silhouette", "Gemma-3-27B"]["value"] == -0.10
    assert found["drugs", "silhouette, specialty", "Llama-3.3-70B"]["depth"] == pytest.approx(78 / 79)


def test_a_run_is_set_beside_the_paper_at_its_best_layer():
    profiles = pl.DataFrame(
        profile("a", [0.9, 0.1, 0.4, 0.4, 0.2])
        + profile("a", [0.0, 0.8, 0.8, 0.8, 0.8], template_kind="neutral")
        + profile("a", [0.0, 0.7, 0.7, 0.7, 0.7], variant="brands")
        + profile("b", [0.0, 0.3, 0.1])
    )
    models = pl.DataFrame({"model": ["a", "b"], "layers": [4, 2]})
    found = beside_published(published_table(), profiles, models)
    assert len(found) == 2 * 5
    assert set(found["metric"]) == {"silhouette, specialty"}
    best = found.unique("model").sort("model").select("model", "run_layer", "run_value", "run_low", "run_depth").rows()
    assert best == [("a", 1, 0.4, pytest.approx(0.3), pytest.approx(1 / 3)), ("b", 0, 0.3, pytest.approx(0.2), 0.0)]
    neutral = beside_published(published_table(), profiles, models, template_kind="neutral")
    assert set(neutral["run_value"]) == {0.8}


def test_untrained_twins_are_not_set_beside_the_paper():
    profiles = pl.DataFrame(profile("a", [0.0, 0.5, 0.1]) + profile("a.untrained", [0.0, 0.5, 0.1]))
    models = pl.DataFrame({"model": ["a", "a.untrained"], "layers": [2, 2], "untrained_of": [None, "a"]})
    assert set(beside_published(published_table(), profiles, models)["model"]) == {"a"}


@pytest.mark.parametrize("broken", ["drugs,silhouette,X,80,0.1,80", "drugs,silhouette,X,80,none,3", "drugs"])
def test_a_broken_file_is_refused_by_name(tmp_path, broken):
    path = tmp_path / "published.csv"
    path.write_text(PUBLISHED_FILE.read_text().splitlines()[0] + "\n" + broken + "\n")
    with pytest.raises(InputError, match=r"published\.csv can't be read"):
        published_table(path)
