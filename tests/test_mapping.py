"""The consensus of techniques: probabilities by Bayes' rule, regions, and what is said where nothing stands out."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from analyses.contrasts import Contrast, best_contrasts, contrasts, write_contrasts
from analyses.map_tables import consensus_rows
from analyses.mapping import LOCALISED, NOT_KNOWN, NOT_LOCALISED, NOT_MEASURED, Marks, consensus, read_marks, whole
from warehouse.errors import InputError

LESIONS = Contrast("lesions", "drop", "last", 0.25, True, planted=40, found=38, others=240, false=4)
PATCHES = Contrast("patches", "restored", "last", 0.25, True, planted=40, found=30, others=240, false=20)
SILHOUETTES = Contrast("activations", "step", "last", 0.1, True, planted=40, found=20, others=240, false=40)


def marks(contrast, marked):
    marked = np.array(marked, dtype=float)
    return Marks(contrast, marked, marked[:, None], marked)


def draws(technique, metric, values, *, first=0, labelling="specialty", spread=0.0, resamples=40):
    rng = np.random.default_rng(0)
    return [
        {
            "technique": technique,
            "metric": metric,
            "labelling": labelling,
            "template_kind": "asking",
            "position": "last",
            "variant": "",
            "layer": first + place,
            "value": float(value),
            "draws": (value + spread * rng.normal(size=resamples)).tolist(),
        }
        for place, value in enumerate(values)
    ]


def test_confidence_is_bayes_rule_over_counted_hits_and_false_alarms():
    found = consensus([marks(LESIONS, [0, 1, 0, 0]), marks(PATCHES, [0, 0, 1, 0])], 4, known=True)
    prior = 1 / 4
    hit = {each: (each.sensitivity, each.false_alarm) for each in (LESIONS, PATCHES)}

    def posterior(lesioned, patched):
        present, absent = prior, 1 - prior
        for contrast, is_marked in ((LESIONS, lesioned), (PATCHES, patched)):
            sensitivity, false_alarm = hit[contrast]
            present *= sensitivity if is_marked else 1 - sensitivity
            absent *= false_alarm if is_marked else 1 - false_alarm
        return present / (present + absent)

    wanted = [posterior(False, False), posterior(True, False), posterior(False, True), posterior(False, False)]
    assert found.confidence == pytest.approx(wanted)
    assert found.verdict == LOCALISED
    assert found.regions == [(1, 1)]


def test_the_technique_that_finds_more_of_what_was_planted_wins():
    found = consensus([marks(LESIONS, [1, 0, 0, 0, 0, 0]), marks(SILHOUETTES, [0, 0, 0, 1, 0, 0])], 6, known=True)
    assert found.confidence.argmax() == 0
    assert found.confidence[3] < 0.5 < found.confidence[0]


def test_where_no_layer_stands_out_the_concept_is_not_localised():
    found = consensus([marks(LESIONS, [0, 0, 0, 0]), marks(PATCHES, [0, 0, 0, 0])], 4, known=True)
    assert (found.verdict, found.regions) == (NOT_LOCALISED, [])
    assert found.confidence.max() < 1 / 4


def test_silhouettes_alone_are_no_measurement_of_a_place():
    assert consensus([marks(SILHOUETTES, [0, 1, 0])], 3, known=None).verdict == NOT_MEASURED
    assert consensus([], 3, known=None).verdict == NOT_MEASURED


def test_what_the_model_does_not_know_sits_nowhere():
    found = consensus([marks(LESIONS, [0, 1, 0])], 3, known=False)
    assert (found.verdict, found.confidence.tolist()) == (NOT_KNOWN, [0.0, 0.0, 0.0])


def test_marks_are_the_share_of_resamples_in_which_a_layer_stands_out():
    frame = pl.DataFrame(draws("lesions", "drop", [0.0, 0.5, 0.45, 0.0, 0.0], spread=0.15))
    (found,) = read_marks(frame, "specialty", 5, [LESIONS, PATCHES])
    slow = np.zeros(5)
    for draw in found.draws.T:
        positive = np.maximum(draw, 0)
        high = positive >= positive.max() / 2
        if high.sum() <= 2.5 and positive[high].sum() >= positive.sum() / 2:
            slow += (high & (positive >= 0.25)) / found.draws.shape[1]
    assert found.marked == pytest.approx(slow)
    assert 0 < found.marked[2] < 1


def test_a_step_that_begins_one_layer_up_leaves_the_lowest_layer_unmarked():
    frame = pl.DataFrame(draws("lesions", "drop", [0.0, 0.6], first=1))
    (found,) = read_marks(frame, "specialty", 3, [LESIONS])
    assert found.value.tolist() == [0.0, 0.0, 0.6]
    assert found.marked.tolist() == [0.0, 0.0, 1.0]


def test_the_embedding_output_is_no_layer_of_a_map():
    frame = pl.DataFrame(draws("lesions", "drop", [9.0, 0.0, 0.6], first=-1))
    (found,) = read_marks(frame, "specialty", 2, [LESIONS])
    assert found.value.tolist() == [0.0, 0.6]


def test_a_concept_is_where_any_of_its_labellings_is():
    one = consensus([marks(LESIONS, [1, 0, 0, 0])], 4, known=True)
    other = consensus([marks(LESIONS, [0, 0, 0, 1])], 4, known=True)
    both = whole({"specialty": one, "mechanism": other}, 4)
    assert both.regions == [(0, 0), (3, 3)]
    assert whole({}, 4).verdict == NOT_MEASURED


def test_how_much_hangs_on_the_surest_layer_stands_beside_how_sure_it_is():
    counted = replace(LESIONS, metric="resample_accuracy_drop_over_controls")
    draws = np.tile(np.array([0.0, 0.1, 0.34, 0.0])[:, None], (1, 101)) + np.linspace(-0.1, 0.1, 101)
    lesioned = Marks(counted, np.array([0.0, 0.1, 0.34, 0.0]), draws, np.array([0.0, 0.0, 1.0, 0.0]))
    found = consensus([lesioned], 4, known=True)
    assert (found.surest, found.lost()) == (2, (0.34, pytest.approx(0.245), pytest.approx(0.435)))
    elsewhere = consensus([marks(LESIONS, [0, 1, 0, 0])], 4, known=True)
    silent = consensus([replace(lesioned, marked=np.zeros(4))], 4, known=True)
    assert (elsewhere.surest, elsewhere.lost(), silent.verdict) == (1, None, "not localised")
    assert (silent.surest, silent.lost()) == (None, None)
    tables = consensus_rows({"specialty": found, "mechanism": silent}, 4).tables()
    said = {row["labelling"]: row for row in tables["localisations"].to_pylist()}
    for labelling in ("", "specialty"):
        row = said[labelling]
        assert (row["surest_layer"], row["lost_answers"]) == (2, pytest.approx(0.34))
        assert (row["lost_low"], row["lost_high"]) == (pytest.approx(0.245), pytest.approx(0.435))
        assert row["sentence"].endswith(
            "Without layer 2, 34% of the right answers are lost (25% to 44%), over what controls lose."
        )
    assert (said["mechanism"]["surest_layer"], said["mechanism"]["lost_answers"]) == (None, None)
    assert said["mechanism"]["sentence"].endswith("the likeliest has probability 0.02.")


def test_rows_tell_marks_regions_cells_and_a_sentence():
    known = consensus([marks(LESIONS, [0, 1, 1, 0]), marks(PATCHES, [0, 1, 0.4, 0])], 4, known=True)
    unknown = consensus([marks(LESIONS, [0, 0, 0, 0])], 4, known=False)
    tables = consensus_rows({"specialty": known, "mechanism": unknown}, 4).tables()
    said = {row["labelling"]: row for row in tables["localisations"].to_pylist()}
    assert {name: row["verdict"] for name, row in said.items()} == {
        "": "localised",
        "specialty": "localised",
        "mechanism": "not known",
    }
    assert said["specialty"]["places"] == "1-2"
    assert "layers 1-2" in said["specialty"]["sentence"]
    assert said["specialty"]["first_half_share"] == pytest.approx((0.5 + 1 / 1.4) / 2)
    regions = {
        (row["technique"], row["labelling"]): (row["first"], row["last"]) for row in tables["regions"].to_pylist()
    }
    assert regions == {
        ("all", ""): (1, 2),
        ("all", "specialty"): (1, 2),
        ("lesions", "specialty"): (1, 2),
        ("patches", "specialty"): (1, 1),
    }
    assert tables["knowledge_map"].num_rows == 3 * 4
    weights = {
        (row["technique"], row["layer"]): row["weight"]
        for row in tables["marks"].to_pylist()
        if row["labelling"] == "specialty"
    }
    summed = weights["lesions", 2] + weights["patches", 2] + math.log((1 / 4) / (3 / 4))
    assert known.confidence[2] == pytest.approx(1 / (1 + math.exp(-summed)))


def test_contrasts_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "contrasts.csv"
    write_contrasts([LESIONS, PATCHES, SILHOUETTES], path)
    assert contrasts(path) == (LESIONS, PATCHES, SILHOUETTES)


@pytest.mark.parametrize("text", ["", "technique,metric\nlesions,drop\n", "{}"])
def test_a_file_that_holds_no_contrasts_is_refused(tmp_path, text):
    path = tmp_path / "contrasts.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=r"contrasts\.csv"):
        contrasts(path)


def test_a_technique_has_one_best_contrast(tmp_path):
    path = tmp_path / "contrasts.csv"
    write_contrasts([LESIONS, LESIONS], path)
    with pytest.raises(InputError, match="one best contrast"):
        contrasts(path)


def test_each_technique_that_comes_with_the_project_has_its_contrast():
    found = best_contrasts(contrasts())
    assert {contrast.technique for contrast in found} == {"activations", "lesions", "patches", "saliency"}
    assert all(contrast.sensitivity > contrast.false_alarm for contrast in found)
