"""What charts say and how they are saved."""

import json
import re

import polars as pl
import pytest

from analyses import charts
from warehouse import atomic
from warehouse.errors import InputError, StoreError

LAYERS = list(range(-1, 4))


def profile(concept, labelling, values, metric="silhouette_cosine", model="m", clear=True):
    """A profile and its steps, as rows."""
    keys = {
        "model": model,
        "concept": concept,
        "technique": "activations",
        "labelling": labelling,
        "template_kind": "asking",
        "position": "last",
        "variant": "",
    }

    def entry(name, layer, value):
        spread = 0.01 if clear else 9.0
        numbers = {"value": value, "low": value - spread, "high": value + spread}
        return {
            **keys,
            "metric": name,
            "layer": layer,
            **numbers,
            "null_mean": 0.0,
            "null_high": 0.0,
            "null_p": 0.5,
            "n": 9,
        }

    steps = [entry(f"{metric}_step", at, values[at + 1] - values[at]) for at in LAYERS[1:]]
    return [entry(metric, at, values[at + 1]) for at in LAYERS] + steps


DRUGS = profile("drugs", "specialty", [0.0, 0.0, 0.1, 0.6, 0.6])
AGE = profile("age", "years", [0.1, 0.9, 0.9, 0.9, 0.9], metric="r2_ridge")
COUNTRIES = profile("animals", "class", [0.0, 0.0, 0.0, 0.0, 0.05], clear=False)
PROFILES = pl.DataFrame(DRUGS + AGE + COUNTRIES)
PLANTS = pl.DataFrame(
    {
        "model": ["m"],
        "concept": ["drugs"],
        "labelling": ["specialty"],
        "layer": [2],
        "recall": [1.0],
        "recall_reverted": [0.1],
        "kind": ["one layer"],
    },
    schema_overrides={"layer": pl.Int16},
)
ROLES = pl.DataFrame({"concept": ["drugs", "age", "animals"], "role": ["medical", "medical", "control"]})


def title(chart):
    return chart.to_dict()["title"]["text"]


def test_the_title_says_how_many_planted_layers_were_named():
    assert title(charts.knowledge_profile_map(PROFILES, PLANTS)).endswith("for 1 of 1 planted labellings")
    elsewhere = PLANTS.with_columns(layer=pl.lit(0, pl.Int16))
    assert title(charts.knowledge_profile_map(PROFILES, elsewhere)).endswith("for 0 of 1 planted labellings")


def test_the_title_without_plants_says_where_labellings_take_shape():
    assert title(charts.knowledge_profile_map(PROFILES)) == "2 of 3 labellings take shape between layers 0 and 2"
    unsure = pl.DataFrame(profile("drugs", "specialty", [0.0, 0.0, 0.1, 0.6, 0.6], clear=False))
    assert title(charts.knowledge_profile_map(unsure)).startswith("No layer stands out")


def test_controls_stand_below_the_medical_concepts():
    (panel,) = charts.knowledge_profile_map(PROFILES, None, ROLES).to_dict()["vconcat"]
    order = panel["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert order == ["age · years", "drugs · specialty", "control: animals · class"]


def test_what_one_model_lacks_is_shown_as_not_measured():
    other = pl.DataFrame(profile("drugs", "specialty", [0.0, 0.1, 0.2, 0.3, 0.4], model="n"))
    whole, part = charts.knowledge_profile_map(pl.concat([PROFILES, other])).to_dict()["vconcat"]
    assert "not measured" not in json.dumps(whole)
    blank = part["layer"][0]["data"]["values"]
    assert {(cell["row"], cell["layer"]) for cell in blank} == {
        (name, layer) for name in ("age · years", "animals · class") for layer in LAYERS
    }


def test_the_mark_stands_at_the_largest_step_and_tells_its_interval():
    (panel,) = charts.knowledge_profile_map(PROFILES).to_dict()["vconcat"]
    marks = {mark["row"]: mark for mark in panel["layer"][-1]["data"]["values"]}
    assert (marks["drugs · specialty"]["layer"], marks["drugs · specialty"]["sign"]) == (2, charts._CLEAR)
    assert marks["animals · class"]["sign"] == charts._UNSURE
    fields = {entry["field"] for entry in panel["layer"][-1]["encoding"]["tooltip"]}
    assert {"low", "high", "value"} <= fields


def test_arrow_tables_are_drawn_like_frames():
    assert charts.knowledge_profile_map(PROFILES.to_arrow(), PLANTS.to_arrow()).to_dict() == (
        charts.knowledge_profile_map(PROFILES, PLANTS).to_dict()
    )


def test_a_map_of_nothing_is_refused():
    with pytest.raises(InputError, match="position 'term'"):
        charts.knowledge_profile_map(PROFILES, position="term")


TERMS = [f"t{i}" for i in range(12)]
PICTURES = pl.DataFrame(
    [
        {
            "template_kind": "asking",
            "position": "last",
            "variant": "",
            "layer": layer,
            "term": term,
            "x": (place % 3) * float(max(layer, 0)) + 0.01 * place * (layer >= 0),
            "y": 0.1 * place * (layer >= 0),
            "trustworthiness": 0.9,
        }
        for layer in LAYERS
        for place, term in enumerate(TERMS)
    ]
)
LABELS = pl.DataFrame(
    [{"labelling": "colour", "term": t, "kind": "categorical", "label": f"c{i % 3}", "ordinal": None, "number": None}
     for i, t in enumerate(TERMS[:-1])]
    + [{"labelling": "year", "term": t, "kind": "continuous", "label": None, "ordinal": None, "number": float(i)}
       for i, t in enumerate(TERMS)],
    schema_overrides={"ordinal": pl.Int32, "number": pl.Float64},
)  # fmt: skip


def test_each_picture_tells_its_layer_and_its_trustworthiness():
    panels = charts.umap_multiples(PICTURES, LABELS, "colour").to_dict()["concat"]
    said = [panel["title"]["text"] for panel in panels]
    assert said[0] == "embeddings · all terms alike"
    assert said[1:] == [f"layer {layer} · trust 0.90" for layer in range(4)]


def test_the_title_names_the_layer_in_which_labels_lie_most_apart():
    assert "colour lie most apart at layer 3 (silhouette" in title(charts.umap_multiples(PICTURES, LABELS, "colour"))
    assert "year is most nearly a straight line" in title(charts.umap_multiples(PICTURES, LABELS, "year"))
    assert title(charts.umap_multiples(PICTURES, LABELS, "colour", layers=[-1, 0])).startswith("In no picture")


def test_many_layers_are_thinned_but_keep_the_first_and_the_last():
    many = pl.concat([PICTURES.filter(layer=1).with_columns(layer=pl.lit(at)) for at in range(80)])
    panels = charts.umap_multiples(many, LABELS, "colour").to_dict()["concat"]
    assert len(panels) == 12
    assert panels[0]["title"]["text"].startswith("layer 0 ")
    assert panels[-1]["title"]["text"].startswith("layer 79 ")


def test_more_labels_than_hues_differ_in_shape():
    names = [f"l{i:02d}" for i in range(35)]
    labels = pl.DataFrame(
        {"labelling": "many", "term": names, "kind": "categorical", "label": names, "ordinal": None, "number": None}
    )
    points = pl.DataFrame(
        {"layer": 0, "term": names, "x": [float(i) for i in range(35)], "y": 0.0, "trustworthiness": 0.5}
    )
    (panel,) = charts.umap_multiples(points, labels, "many").to_dict()["concat"]
    encoding = panel["layer"][1]["encoding"]
    signs = zip(encoding["color"]["scale"]["range"], encoding["shape"]["scale"]["range"], strict=True)
    assert len(set(signs)) == 35


def test_pictures_that_cannot_be_drawn_are_refused():
    with pytest.raises(InputError, match="no labelling 'shade'; there are: colour, year"):
        charts.umap_multiples(PICTURES, LABELS, "shade")
    with pytest.raises(InputError, match="project them first"):
        charts.umap_multiples(PICTURES, LABELS, "colour", layers=[99])
    mixed = pl.concat([PICTURES, PICTURES.with_columns(position=pl.lit("mean"))])
    with pytest.raises(InputError, match="choose one"):
        charts.umap_multiples(mixed, LABELS, "colour")


def test_a_chart_is_saved_as_json_as_a_page_without_network_and_as_a_small_png(tmp_path):
    paths = charts.save(charts.knowledge_profile_map(PROFILES, PLANTS, ROLES), tmp_path / "new" / "map.v1")
    assert {suffix: path.name for suffix, path in paths.items()} == {
        "json": "map.v1.json",
        "html": "map.v1.html",
        "png": "map.v1.png",
    }
    assert json.loads(paths["json"].read_text())["vconcat"]
    page = paths["html"].read_text()
    assert not re.search(r"<(script|link)[^>]+(src|href)\s*=", page)
    assert paths["png"].read_bytes().startswith(b"\x89PNG")
    assert 5_000 < paths["png"].stat().st_size * 4 / 3 < 500_000
    assert len(list((tmp_path / "new").iterdir())) == 3


def test_a_disk_that_refuses_leaves_the_last_chart_and_no_rubbish(tmp_path, monkeypatch):
    chart = charts.knowledge_profile_map(PROFILES)
    paths = charts.save(chart, tmp_path / "map")
    before = paths["png"].read_bytes()

    def refuse(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", refuse)
    with pytest.raises(StoreError, match="No space left"):
        charts.save(chart, tmp_path / "map")
    assert paths["png"].read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 3
