"""What the charts of maps, findings, the paper's table and validity say: titles, signs, and what is not localised."""

import json
from itertools import pairwise

import polars as pl
import pytest

from analyses import finding_charts, map_charts, mark_charts, validity_charts
from analyses.drawing import layer_axis
from analyses.findings import CLAIMS, findings
from analyses.published import beside_published, published_table
from analyses.resampling import share_interval
from warehouse.errors import InputError

ROLES = pl.DataFrame({"concept": ["drugs", "diseases", "age", "animals"], "role": ["medical"] * 3 + ["control"]})
PLANTS = pl.DataFrame({"model": ["m"], "concept": ["drugs"], "labelling": ["specialty"], "layer": [2]})
MAPPED = (
    ("drugs", "specialty", "localised", [0.1, 0.3, 0.95, 0.6]),
    ("diseases", "category", "not localised", [0.1, 0.1, 0.1, 0.1]),
    ("age", "sex", "not measured", None),
    ("animals", "class", "not known", [0.0, 0.0, 0.0, 0.0]),
)


def keys(model, concept, labelling, mode="consensus"):
    return {"model": model, "concept": concept, "labelling": labelling, "mode": mode}


def mapped(model="m", mode="consensus", agreement=(0.9, 0.5, 0.9, 0.9)):
    cells, verdicts = [], []
    for concept, labelling, verdict, values in MAPPED:
        own = keys(model, concept, labelling, mode)
        told = {"verdict": verdict, "first_half_share": 0.25, "sentence": "Made up.", "confidence": 0.5, "places": ""}
        verdicts.append(own | told)
        for layer, value in enumerate(values or []):
            agreed = None if mode == "paper" else agreement[layer]
            cells.append(own | {"layer": layer, "confidence": value, "agreement": agreed})
    return pl.DataFrame(cells, schema_overrides={"agreement": pl.Float64}), pl.DataFrame(verdicts)


def layers_of(chart, panel=0):
    """The layers of a panel, each with the rows that it draws."""
    found = chart.to_dict()["vconcat"][panel]["layer"]
    return [(part["mark"], part["encoding"], part.get("data", {}).get("values", [])) for part in found]


def rows_of(panel, part=0):
    """The rows that a layer of a panel draws: its own, or those that all layers share."""
    return panel["layer"][part].get("data", panel.get("data"))["values"]


def title(chart):
    return chart.to_dict()["title"]["text"]


def test_the_title_says_how_many_planted_layers_the_map_marks():
    chart = map_charts.knowledge_map_chart(*mapped(), None, PLANTS, ROLES)
    assert title(chart) == "The consensus map marks the planted layer of 1 of 1 plants"
    elsewhere = PLANTS.with_columns(layer=pl.lit(0))
    assert "0 of 1 plants" in title(map_charts.knowledge_map_chart(*mapped(), None, elsewhere, ROLES))


def test_the_title_without_plants_counts_what_is_localised():
    said = title(map_charts.knowledge_map_chart(*mapped(), None, None, ROLES))
    assert said.startswith("The consensus map localises 1 of 2 medical labellings")
    assert "25%" in said


def test_the_share_in_the_title_is_the_finding_s_a_concept_weighing_as_much_as_another():
    cells, verdicts = mapped()
    own = keys("m", "drugs", "", "consensus")
    whole = {"verdict": "localised", "first_half_share": 0.5, "sentence": "Made up.", "confidence": 0.5, "places": ""}
    two = verdicts.filter(concept="drugs").with_columns(labelling=pl.lit("mechanism"), first_half_share=pl.lit(0.75))
    more = pl.concat([verdicts, two, pl.DataFrame([own | whole])], how="diagonal_relaxed")
    # Drugs say 0.5 as a whole, diseases 0.25; over labellings it would be 42%.
    assert "38% of the weight" in title(map_charts.knowledge_map_chart(cells, more, None, None, ROLES))


def test_knowledge_that_is_spread_over_all_layers_is_not_outlined():
    spread = PLANTS.with_columns(kind=pl.lit("spread"))
    chart = map_charts.knowledge_map_chart(*mapped(), None, spread, ROLES)
    assert "planted here" not in json.dumps(chart.to_dict())
    planted = PLANTS.with_columns(kind=pl.lit("one layer"))
    assert "planted here" in json.dumps(map_charts.knowledge_map_chart(*mapped(), None, planted, ROLES).to_dict())


def test_what_is_not_localised_is_a_bar_of_full_width_that_says_so():
    parts = layers_of(map_charts.knowledge_map_chart(*mapped(), None, None, ROLES))
    (bars,) = [(encoding, rows) for mark, encoding, rows in parts if mark.get("strokeDash")]
    encoding, rows = bars
    assert "x" not in encoding
    assert {row["row"]: row["words"] for row in rows} == {
        "diseases · category": "not localised: no layer stands out",
        "control: animals · class": "not known: the model can't answer",
    }


def test_what_was_not_measured_is_hatched_at_every_layer():
    parts = layers_of(map_charts.knowledge_map_chart(*mapped(), None, None, ROLES))
    (hatched,) = [
        rows for mark, encoding, rows in parts if mark["type"] == "point" and rows[0]["sign"] == "not measured"
    ]
    assert {(row["row"], row["layer"]) for row in hatched} == {("age · sex", layer) for layer in range(4)}


def test_each_class_of_confidence_has_its_own_colour_and_height():
    parts = layers_of(map_charts.knowledge_map_chart(*mapped(), None, None, ROLES))
    drawn = [
        (mark["height"]["band"], {(row["row"], row["layer"], row["class_"]) for row in rows})
        for mark, encoding, rows in parts
        if "color" in encoding
    ]
    row = "drugs · specialty"
    assert [cells for _, cells in drawn] == [{(row, 2, "sure")}, {(row, 3, "likely")}, {(row, 1, "a hint")}]
    assert len({height for height, _ in drawn}) == 3


def test_dots_tell_of_marked_cells_that_hold_and_of_all_that_do_not():
    parts = layers_of(map_charts.knowledge_map_chart(*mapped(agreement=(0.5, 0.5, 0.9, 0.9)), None, None, ROLES))
    (dots,) = [rows for mark, encoding, rows in parts if "fill" in encoding]
    assert {row["layer"]: row["sign"] for row in dots} == {
        0: "often say otherwise",
        1: "often say otherwise",
        2: "say the same",
        3: "say the same",
    }


def test_the_paper_map_counts_techniques_and_has_no_dots():
    chart = map_charts.knowledge_map_chart(*mapped(mode="paper"), None, None, ROLES, mode="paper")
    assert title(chart).startswith("The map as in the paper")
    parts = layers_of(chart)
    assert not any("fill" in encoding for _, encoding, _ in parts)
    found = {row["layer"]: row["class_"] for _, encoding, rows in parts if "color" in encoding for row in rows}
    assert found == {0: "fewer", 1: "fewer", 2: "most techniques", 3: "half of them"}


def test_regions_are_framed_from_their_first_layer_to_their_last():
    regions = pl.DataFrame(
        [
            keys("m", "drugs", "specialty") | {"technique": "all", "first": 2, "last": 3, "confidence": 0.8},
            keys("m", "drugs", "specialty") | {"technique": "lesions", "first": 0, "last": 0, "confidence": 0.8},
        ]
    )
    parts = layers_of(map_charts.knowledge_map_chart(*mapped(), regions, None, ROLES))
    (framed,) = [(encoding, rows) for _, encoding, rows in parts if "x2" in encoding]
    assert [(row["first"], row["last"]) for row in framed[1]] == [(2, 3)]
    assert (framed[0]["x"]["bandPosition"], framed[0]["x2"]["bandPosition"]) == (0, 1)


def test_each_model_has_a_panel_and_a_model_without_a_map_is_refused():
    both = [pl.concat(parts) for parts in zip(mapped("m"), mapped("n"), strict=True)]
    panels = map_charts.knowledge_map_chart(*both).to_dict()["vconcat"]
    assert [panel["title"]["text"] for panel in panels] == ["m", "n"]
    with pytest.raises(InputError, match="there are maps of m"):
        map_charts.knowledge_map_chart(*mapped(), models=["x"])
    with pytest.raises(InputError, match="mode 'paper'"):
        map_charts.knowledge_map_chart(*mapped(), mode="paper")


def test_a_concept_as_a_whole_has_a_row_only_if_it_has_several_labellings():
    cells, verdicts = mapped()
    whole = [part.with_columns(labelling=pl.lit("")).unique(maintain_order=True) for part in (cells, verdicts)]
    second = verdicts.filter(concept="drugs").with_columns(labelling=pl.lit("mechanism"))
    chart = map_charts.knowledge_map_chart(
        pl.concat([cells, whole[0]]), pl.concat([verdicts, whole[1], second]), None, None, ROLES
    )
    order = next(encoding["y"]["scale"]["domain"] for _, encoding, _ in layers_of(chart))
    assert order == [
        "age · sex",
        "diseases · category",
        "drugs",
        "drugs · mechanism",
        "drugs · specialty",
        "control: animals · class",
    ]


@pytest.mark.parametrize("count", [1, 8, 40, 41, 62, 80, 83])
def test_the_axis_of_layers_names_the_last_one_and_never_two_that_touch(count):
    named = layer_axis(range(count)).to_dict()["axis"]["values"]
    assert named[0] == 0
    assert named[-1] == count - 1
    if count > 40:
        assert min(after - before for before, after in pairwise(named)) >= 3


def marks_of(labelling, best, model="m"):
    return [
        keys(model, "drugs", labelling)
        | {"technique": technique, "metric": metric, "position": position, "layer": layer, "weight": weight}
        | {"marked": 0.9 if layer == best else 0.1}
        for technique, metric, position, weight in (
            ("lesions", "resample_kl", "last", 3.0),
            ("patches", "delta_restored", "term", 1.0),
        )
        for layer in range(4)
    ]


def test_marks_are_ordered_by_weight_and_what_they_say_together_comes_last():
    rows = pl.DataFrame(marks_of("specialty", 2) + marks_of("mechanism", 2))
    chart = mark_charts.marks_chart(rows, "drugs", knowledge_map=mapped()[0], plants=PLANTS)
    assert title(chart) == "Drugs: 4 of 4 contrasts agree on layer 2 (4 name a layer clearly)"
    mechanism, specialty = (
        panel["layer"][0]["encoding"]["y"]["scale"]["domain"] for panel in chart.to_dict()["vconcat"]
    )
    assert specialty == ["lesions: resample kl", "patches: delta restored at the term", "all together"]
    assert mechanism == specialty[:2]
    faint = rows.with_columns(marked=pl.col("marked") / 3)
    assert "stands out in half of the resamples" in title(mark_charts.marks_chart(faint, "drugs"))


def test_marks_of_several_models_need_a_name():
    rows = pl.DataFrame(marks_of("specialty", 2) + marks_of("specialty", 1, model="n"))
    with pytest.raises(InputError, match="2 models"):
        mark_charts.marks_chart(rows, "drugs")
    assert "layer 1" in title(mark_charts.marks_chart(rows, "drugs", model="n"))
    with pytest.raises(InputError, match="0 models"):
        mark_charts.marks_chart(rows, "age")


def remade(change, marked, repeat=0):
    values = [0.9 if layer in marked else 0.1 for layer in range(4)]
    return [
        keys("m", "drugs", "specialty")
        | {"change": change, "repeat": repeat, "layer": layer, "confidence": value, "detail": str(repeat)}
        for layer, value in enumerate(values)
    ]


def test_stability_is_the_share_of_cells_that_stay():
    # The shown map marks layers 2 and 3.
    rows = pl.DataFrame(remade("seed", {2, 3}) + remade("metric", {2}) + remade("metric", {0, 1}, repeat=1))
    chart = mark_charts.stability_chart(rows, mapped()[0], ROLES)
    left, right = chart.to_dict()["hconcat"]
    told = {row["change"]: (row["agreement"], row["maps"]) for row in rows_of(left)}
    assert told == {"seed": (1.0, 1), "metric": (0.375, 2)}
    assert "least (38%) when the metric is another" in title(chart)
    marked = {row["layer"]: row["marked"] for row in rows_of(right)}
    assert marked == {
        0: pytest.approx(1 / 3),
        1: pytest.approx(1 / 3),
        2: pytest.approx(2 / 3),
        3: pytest.approx(1 / 3),
    }
    assert {row["layer"] for row in rows_of(right, 1)} == {2, 3}
    with pytest.raises(InputError, match="0 models"):
        mark_charts.stability_chart(rows.clear(), mapped()[0])


def test_findings_stand_on_their_side_of_the_threshold():
    rows = pl.DataFrame(findings("m", {})).with_columns(model=pl.lit("m"))
    first, second = rows["finding"][0], rows["finding"][1]
    told = [(first, 0.9, 0.8, 1.0, "supported"), (second, 0.1, 0.0, 0.2, "refuted")]
    for name, estimate, low, high, verdict in told:
        here = pl.col("finding") == name
        numbers = {"estimate": estimate, "low": low, "high": high, "threshold": 0.5, "verdict": verdict}
        rows = rows.with_columns(
            **{key: pl.when(here).then(pl.lit(value)).otherwise(pl.col(key)) for key, value in numbers.items()}
        )
    spec = finding_charts.findings_chart(rows).to_dict()
    drawn = {row["finding"]: row for row in spec["data"]["values"]}
    assert len(drawn) == len(CLAIMS)
    assert 0 < drawn[first]["from"] < drawn[first]["at"] < drawn[first]["to"] <= 1
    assert -1 <= drawn[second]["from"] < drawn[second]["at"] < drawn[second]["to"] < 0
    assert drawn[first]["numbers"] == "0.90 (0.80 to 1.00); threshold 0.5"
    assert {row["at"] for name, row in drawn.items() if name not in (first, second)} == {None}
    paper = rows.filter(claimed_by="the paper")
    counts = [paper.filter(verdict=verdict).height for verdict in ("supported", "refuted", "undecided")]
    assert spec["title"]["text"] == (
        f"The paper's {len(paper)} claims: {counts[0]} supported, {counts[1]} refuted, {counts[2]} undecided"
    )


def test_the_paper_is_grey_and_runs_stand_below_it():
    usual = {"template_kind": "asking", "position": "last", "variant": "", "concept": "drugs", "labelling": "specialty"}
    profiles = pl.DataFrame(
        [
            {**usual, "model": "m", "metric": metric, "layer": layer, "value": value, "low": value, "high": value}
            for metric in ("silhouette_cosine", "silhouette_umap")
            for layer, value in enumerate([0.1, 0.15])
        ]
    )
    beside = beside_published(published_table(), profiles, pl.DataFrame({"model": ["m"], "layers": [2]}))
    chart = finding_charts.published_chart(beside)
    assert title(chart) == "2 of 2 of our best values lie within the published range, 0 above it"
    (panel,) = chart.to_dict()["vconcat"]
    value, depth = panel["hconcat"]
    order = ["the paper", "m, UMAP's space", "m, original space"]
    assert value["layer"][0]["encoding"]["y"]["scale"]["domain"] == order
    assert len(rows_of(value)) == 5
    assert [row["depth"] for row in rows_of(depth, -1)] == [1.0, 1.0]
    with pytest.raises(InputError, match="run a model"):
        finding_charts.published_chart(beside.clear())


def test_relations_name_the_two_concepts_whose_maps_overlap_most():
    maps = {"drugs": [0.9, 0.1], "diseases": [0.9, 0.2], "age": [0.1, 0.9], "animals": [0.5, 0.5]}
    rows = pl.DataFrame(
        [
            keys("m", concept, "") | {"layer": layer, "confidence": value}
            for concept, values in maps.items()
            for layer, value in enumerate(values)
        ]
    )
    verdicts = pl.DataFrame(
        [keys("m", name, "") | {"verdict": "not localised" if name == "animals" else "localised"} for name in maps]
    )
    chart = finding_charts.relations_chart(rows, verdicts, model="m").to_dict()
    assert chart["title"]["text"].startswith("Diseases and drugs share their layers most (0.99)")
    assert "not localised: animals" in chart["title"]["subtitle"][0]
    with pytest.raises(InputError, match="two make a relation"):
        finding_charts.relations_chart(rows, verdicts.head(1), model="m")


def tried(metric, technique, hits, *, kind="one layer", planted="2", localised=True):
    return [
        {
            "model": f"{kind} {place}",
            "concept": "drugs",
            "labelling": "specialty",
            "technique": technique,
            "metric": metric,
            "position": "last",
            "kind": kind,
            "layers": 8,
            "seed": place,
            "planted": planted,
            "best_layer": 2,
            "hit": hit,
            "error": None if hit is None else 2.0 * (1 - hit),
            "overlap": hit,
            "found": hit,
            "false_marks": 0.0,
            "localised": localised,
        }
        for place, hit in enumerate(hits)
    ]


VALIDATION = pl.DataFrame(
    tried("confidence", "consensus", [1.0, 1.0, 1.0, 0.0])
    + tried("identity_log_probability_drop", "lesions", [0.0, 0.0, 0.0, 1.0])
    + tried("confidence", "consensus", [1.0, 1.0], kind="block of two", planted="2-3")
    + tried("confidence", "consensus", [None, None], kind="spread", planted="", localised=False)
    + [row for place in range(5) for row in tried(f"other_{place}", "patches", [place / 10])],
    infer_schema_length=None,
)


def test_validity_names_the_consensus_beside_the_raw_lesion():
    chart = validity_charts.validity_chart(VALIDATION)
    assert title(chart) == "The consensus names the planted layer for 83% of plants, the raw identity lesion for 25%"
    single, block, error, nowhere = chart.to_dict()["hconcat"]
    told = {row["row"]: row for row in rows_of(single)}
    consensus = told["the consensus map"]
    assert (consensus["hit"], consensus["relations"]) == (0.75, 4)
    assert (consensus["hit_low"], consensus["hit_high"]) == pytest.approx(share_interval(3, 4))
    chances = [
        part["encoding"]["x"]["datum"]
        for panel in (single, block)
        for part in panel["layer"]
        if "datum" in part["encoding"]["x"]
    ]
    assert chances == [1 / 8, 2 / 8]
    errors = {row["row"]: row["error"] for row in rows_of(error)}
    assert errors["the consensus map"] == pytest.approx(2 / 6)
    assert [row["localised"] for row in rows_of(nowhere)] == [0.0]


def test_validity_shows_maps_and_the_papers_scores_whatever_they_are_worth():
    spec = validity_charts.validity_chart(VALIDATION, most=1).to_dict()["hconcat"][0]
    order = next(part["encoding"]["y"]["scale"]["domain"] for part in spec["layer"] if "y" in part["encoding"])
    assert order == [
        "the consensus map",
        "patches: other 4",
        "lesions: identity log probability drop (as in the paper)",
    ]
    with pytest.raises(InputError, match="Nothing was validated"):
        validity_charts.validity_chart(VALIDATION.clear())
