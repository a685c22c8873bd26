"""Planted relations made up on the spot: rows, counts of contrasts, and summaries beside their definitions."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.stats import binomtest

from analyses.concept_map import Evidence
from analyses.contrasts import Contrast
from analyses.validity import Case, consensus_of, fit, least_of, validation_table
from analyses.validity_summary import summarize_validation, validity_markdown, verdict_on
from warehouse.tables import table
from warehouse.validation import validate

LAYERS = 8
GOOD = ("lesions", "resample_accuracy_drop_over_controls", "last")
BAD = ("lesions", "identity_accuracy_drop_over_controls", "last")
CANDIDATES = (GOOD, BAD, ("patches", "delta_restored", "last"))


def case(planted, kind="one layer", *, group="g0", model=None, known=True, arrives=None):
    """A relation whose good contrasts peak at its planted layers, and whose bad one peaks at layer 0."""
    rng = np.random.default_rng(sum(planted) + len(group))
    peaks = {GOOD: planted, BAD: (0,), CANDIDATES[2]: planted if arrives is None else (arrives,)}
    rows = []
    for (technique, metric, position), layers in peaks.items():
        value = np.zeros(LAYERS)
        value[list(layers)] = 0.8 / max(len(layers), 1)
        for layer in range(LAYERS):
            drawn = value[layer] + 0.02 * rng.normal(size=20)
            rows.append(
                {
                    "technique": technique,
                    "metric": metric,
                    "labelling": "specialty",
                    "template_kind": "asking",
                    "position": position,
                    "variant": "",
                    "layer": layer,
                    "value": float(value[layer]),
                    "draws": drawn.tolist(),
                }
            )
    frame = pl.DataFrame(rows)
    found = Evidence("drugs", LAYERS, frame, ("specialty",), {"specialty": known})
    name = model or f"{kind}-{'-'.join(map(str, planted))}-{group}"
    return Case(name, "drugs", "specialty", kind, group, 0, tuple(planted), found, frame.drop("draws"))


@pytest.fixture(scope="module")
def cases():
    return [
        *(case((layer,), group=f"g{layer % 3}") for layer in range(1, 7)),
        *(case((layer, layer + 1), "block of two", group=f"g{layer % 3}") for layer in (2, 4)),
        *(case((layer,), "mlp at term", group=f"g{layer % 3}", arrives=layer + 2) for layer in (1, 2, 3)),
        *(case((), "spread", group=f"g{number}", model=f"spread-{number}") for number in range(3)),
        *(case((), "unknown", group=f"g{number}", model=f"unknown-{number}", known=False) for number in range(3)),
    ]


@pytest.fixture(scope="module")
def rows(cases):
    return validation_table(cases, CANDIDATES)


def test_rows_keep_the_contract_and_hold_every_profile_and_the_consensus(cases, rows):
    validate(table("validation"), rows)
    frame = pl.DataFrame(rows)
    assert frame.group_by("model").len()["len"].unique().to_list() == [len(CANDIDATES) + 1]
    assert frame["model"].n_unique() == len(cases)


def test_a_hit_is_a_planted_best_layer_and_the_error_counts_layers_to_the_nearest(rows):
    bad = {row["model"]: row for row in rows.to_pylist() if row["metric"] == BAD[1]}
    assert (bad["one layer-4-g1"]["hit"], bad["one layer-4-g1"]["error"]) == (0.0, 4.0)
    assert bad["block of two-4-5-g1"]["error"] == 4.0
    good = {row["model"]: row for row in rows.to_pylist() if row["metric"] == GOOD[1]}
    assert {row["hit"] for row in good.values() if row["planted"]} == {1.0}
    assert good["block of two-4-5-g1"]["overlap"] == 1.0
    assert good["block of two-4-5-g1"]["planted"] == "4-5"


def test_where_nothing_is_planted_there_is_no_hit_only_a_false_localisation(rows):
    for row in rows.to_pylist():
        if row["kind"] in {"spread", "unknown"}:
            assert row["hit"] is None
            assert row["error"] is None
            assert row["found"] is None
            assert row["localised"] == (row["metric"] == BAD[1])


def test_the_best_contrast_of_a_technique_is_the_one_that_finds_what_was_planted(cases):
    fitted = {contrast.metric: contrast for contrast in fit(cases, CANDIDATES)}
    assert fitted[GOOD[1]].is_best
    assert not fitted[BAD[1]].is_best
    assert fitted["delta_restored"].is_best
    assert fitted[GOOD[1]].sensitivity > 0.9
    assert fitted[BAD[1]].sensitivity < 0.2


def test_kinds_count_alike_however_many_models_they_have(cases):
    patches = next(contrast for contrast in fit(cases, CANDIDATES) if contrast.technique == "patches")
    # All of the single layers and blocks are found, none of the MLPs: two kinds of three.
    assert patches.found / patches.planted == pytest.approx(2 / 3, abs=0.01)
    many = [*cases, *(replace(each, model=each.model + "-again") for each in cases if each.kind == "one layer")]
    again = next(contrast for contrast in fit(many, CANDIDATES) if contrast.technique == "patches")
    assert again.found / again.planted == pytest.approx(2 / 3, abs=0.01)


def test_the_consensus_of_a_case_was_fitted_without_its_group(cases):
    """A group whose knowledge lies where all others say nothing lies can't vote for itself."""
    lonely = case((5,), group="lonely", arrives=1)
    honest = validation_table([*cases, lonely], CANDIDATES).to_pylist()
    (row,) = (row for row in honest if row["model"] == lonely.model and row["technique"] == "consensus")
    others = [contrast for contrast in fit(cases, CANDIDATES) if contrast.is_best]
    assert row["best_layer"] == int(consensus_of(lonely, others).argmax())


def test_the_consensus_finds_planted_layers_and_calls_nothing_else_localised(rows):
    consensus = [row for row in rows.to_pylist() if row["technique"] == "consensus"]
    assert {row["hit"] for row in consensus if row["planted"]} == {1.0}
    assert not any(row["localised"] for row in consensus if not row["planted"])


def test_what_the_model_does_not_know_silences_every_contrast(cases):
    known = [each for each in cases if each.kind != "unknown"]
    loud = [case((), "unknown", model=f"u{number}", known=True) for number in range(3)]
    silent = [case((), "unknown", model=f"u{number}", known=False) for number in range(3)]
    bad = [
        next(contrast for contrast in fit([*known, *more], CANDIDATES) if contrast.metric == BAD[1])
        for more in (loud, silent)
    ]
    assert bad[0].false > bad[1].false


def test_summaries_are_means_with_wilson_intervals(rows):
    frame = pl.DataFrame(rows)
    found = {(*each.profile, each.kind): each for each in summarize_validation(frame)}
    patches = found["patches", "delta_restored", "last", ""]
    assert patches.relations == 11
    assert patches.hit == pytest.approx(8 / 11)
    wilson = binomtest(8, 11).proportion_ci(method="wilson")
    assert (patches.hit_low, patches.hit_high) == pytest.approx((wilson.low, wilson.high))
    assert patches.error == pytest.approx(3 * 2 / 11)
    assert patches.error_low < patches.error < patches.error_high
    spread = found["lesions", BAD[1], "last", "spread"]
    assert spread.localised == 1.0
    assert math.isnan(spread.hit)


def test_contrasts_that_are_given_are_not_fitted_to_the_cases(cases):
    blind = [Contrast(*BAD, 0.25, True, planted=20, found=20, others=100, false=0)]
    given = validation_table(cases, CANDIDATES, chosen=blind).to_pylist()
    told = {row["best_layer"] for row in given if row["technique"] == "consensus" and row["planted"]}
    assert told == {0}


def test_cells_are_the_share_of_layers_without_knowledge_that_are_marked(rows):
    frame = pl.DataFrame(rows)
    found = {(*each.profile, each.kind): each for each in summarize_validation(frame)}
    bad = found["lesions", BAD[1], "last", "spread"]
    assert bad.cells == pytest.approx(1 / LAYERS)
    block = found["lesions", BAD[1], "last", "block of two"]
    assert block.cells == pytest.approx(1 / (LAYERS - 2))
    assert found["lesions", GOOD[1], "last", "block of two"].cells == 0


def test_the_verdict_counts_planted_relations_and_the_cells_of_those_that_sit_nowhere(rows):
    told = verdict_on(pl.DataFrame(rows))
    assert "100% of 11 planted relations" in told
    assert f"0.0% of the {3 * LAYERS} cells of 3 spread or untrained relations" in told


def test_the_page_tells_hits_by_kind_and_false_localisations(rows):
    lines = validity_markdown(pl.DataFrame(rows))
    assert sum(line.startswith("## ") for line in lines) == 3
    assert any("`delta_restored`" in line and "0.00 of 3" in line for line in lines)
    widths = {line.count("|") for line in lines if "`" in line}
    assert widths == {8, 7, 6}


def test_the_least_sum_goes_by_the_end_of_the_name():
    assert least_of("resample_accuracy_drop_over_controls") == 0.25
    assert least_of("silhouette_cosine_step") == 0.1
    assert least_of("mean_abs_gradient") == 0.0


def test_contrast_rates_are_never_certain():
    sure = Contrast("lesions", "drop", "last", 0.0, True, planted=20, found=20, others=100, false=0)
    assert 0.95 < sure.sensitivity < 1
    assert 0 < sure.false_alarm < 0.01
    assert sure.log_odds(1.0) > 0 > sure.log_odds(0.0)
    assert sure.log_odds(0.5) == pytest.approx((sure.log_odds(0.0) + sure.log_odds(1.0)) / 2)
