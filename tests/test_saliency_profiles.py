"""Profiles of saliency beside loops over prompts and modules."""

import numpy as np
import pytest
from effect_rows import concept, series, tabled

from analyses.effects import Draws
from analyses.resampling import Sampled, estimate
from analyses.saliency_profiles import saliency_profiles as saliency_series
from warehouse.tables import table
from warehouse.validation import validate

saliency_profiles = tabled(saliency_series)

LAYERS = 4
PLANTED = 2
TERMS = [f"t{i:02d}" for i in range(12)]
OTHERS = [f"o{i:02d}" for i in range(9)]
MODULES = {"input_norm": ("norm", 3), "q": ("attention", 10), "o": ("attention", 30), "down": ("mlp", 50)}


def salient(pushes, seed, *, targets=("loss", "logit_difference")):
    """What gives the rows of a prompt: Σ g·w around `pushes` by layer, for the loss turned round."""
    rng = np.random.default_rng(seed)

    def rows(template, term):
        for layer, push in enumerate(pushes):
            for target in targets:
                for module, (part, weights) in MODULES.items():
                    size = 1000.0 if template == "held" else (LAYERS - layer) * (1 + rng.random())
                    sign = -1 if target == "loss" else 1
                    yield {
                        "layer": layer,
                        "module": module,
                        "target": target,
                        "mean_abs_gradient": size,
                        "rms_gradient": 2 * size,
                        "first_order_effect": sign * push / len(MODULES) + 0.3 * rng.normal(),
                        "weights": weights,
                        "part": part,
                    }

    return rows


@pytest.fixture(scope="module")
def measured():
    return concept("drugs", "saliency", salient([2, 0, 4, 0], 1), TERMS)


@pytest.fixture(scope="module")
def profiles(measured):
    return saliency_profiles(
        measured,
        [concept("countries", "saliency", salient([6, 0, 0, 0], 2), OTHERS)],
        resamples=60,
        permutations=40,
    )


def by_term(measured, target, part, column):
    """[layer][term]: the mean over prompts of what a prompt's modules give, the slow way."""
    prompts = {}
    for row in measured.measured.to_pylist():
        if row["template"] != "held" and row["target"] == target and part in ("layer", row["part"]):
            prompts.setdefault((row["layer"], row["term"], row["template"]), []).append(row)
    found = np.zeros((LAYERS, len(TERMS)))
    for (layer, term, _), rows in prompts.items():
        if column == "mean_abs_gradient":
            value = sum(row[column] * row["weights"] for row in rows) / sum(row["weights"] for row in rows)
        else:
            value = sum(row[column] for row in rows)
        found[layer, TERMS.index(term)] += value / 2
    return found


@pytest.mark.parametrize(("part", "ending"), [("layer", ""), ("attention", "_attention"), ("mlp", "_mlp")])
@pytest.mark.parametrize(
    ("metric", "target", "column"),
    [
        ("mean_abs_gradient", "loss", "mean_abs_gradient"),
        ("loss_first_order_effect", "loss", "first_order_effect"),
        ("logit_difference_first_order_effect", "logit_difference", "first_order_effect"),
    ],
)
def test_a_profile_adds_up_modules_and_averages_over_prompts_then_terms(
    measured, profiles, metric, target, column, part, ending
):
    values = by_term(measured, target, part, column)
    counts = Draws(0, 60).counts(len(TERMS), "", "colour", "drugs")
    resampled = np.array([np.repeat(values, one.astype(int), axis=1).mean(axis=1) for one in counts.T])
    found = series(profiles, metric + ending)
    assert len(found) == LAYERS
    for row in found:
        expected = estimate(Sampled(values[row["layer"]].mean(), resampled[:, row["layer"]], terms=row["n"]))
        for name in ("value", "low", "high", "null_p"):
            assert row[name] == pytest.approx(getattr(expected, name)), name
        assert row["n"] == len(TERMS)


def test_gradients_are_largest_in_the_first_layer_and_the_first_order_effect_in_the_planted_one(profiles):
    assert max(series(profiles, "mean_abs_gradient"), key=lambda row: row["value"])["layer"] == 0
    for metric in ("logit_difference_first_order_effect", "logit_difference_first_order_effect_over_controls"):
        found = series(profiles, metric)
        best = max(found, key=lambda row: row["value"])
        assert best["layer"] == PLANTED
        assert best["low"] > max(row["high"] for row in found if row is not best)
    whole = series(profiles, "logit_difference_first_order_effect")[PLANTED]
    assert whole["low"] < 4 < whole["high"]
    assert min(series(profiles, "loss_first_order_effect"), key=lambda row: row["value"])["layer"] == PLANTED


def test_over_controls_scales_by_the_largest_magnitude(profiles):
    found = series(profiles, "logit_difference_first_order_effect_over_controls")
    # 2, 0, 4, 0 of 4, less 6, 0, 0, 0 of 6
    assert [row["value"] for row in found] == pytest.approx([-0.5, 0, 1, 0], abs=0.1)
    assert found[PLANTED]["null_p"] == pytest.approx(1 / 41)
    # For the loss the largest magnitude is negative, and stays so.
    turned = series(profiles, "loss_first_order_effect_over_controls")
    assert [row["value"] for row in turned] == pytest.approx([0.5, 0, -1, 0], abs=0.1)


def test_rows_pass_the_registry_and_are_sorted_by_key(profiles):
    validate(table("profiles"), profiles)
    assert profiles.equals(profiles.sort_by([(key.name, "ascending") for key in table("profiles").keys]))
    assert set(profiles["technique"].to_pylist()) == {"saliency"}
    assert len(profiles) == 3 * 3 * 2 * LAYERS


def test_a_target_that_was_not_taken_has_no_rows():
    loss = concept("drugs", "saliency", salient([2, 0, 4, 0], 1, targets=("loss",)), TERMS)
    found = saliency_profiles(loss, resamples=5)
    assert {row["metric"].split("_")[0] for row in found.to_pylist()} == {"loss", "mean"}


def test_without_controls_there_is_no_contrast(measured):
    for controls in ([], [measured]):
        found = saliency_profiles(measured, controls, resamples=5)
        assert not [metric for metric in found["metric"].to_pylist() if metric.endswith("_over_controls")]


def test_terms_exchanged_between_concept_and_control_show_nothing():
    p_values = []
    for seed in range(10):
        sets = [
            concept(name, "saliency", salient([2, 0, 2, 0], 10 * seed + place), terms)
            for place, (name, terms) in enumerate((("drugs", TERMS), ("countries", OTHERS)))
        ]
        found = saliency_profiles(sets[0], sets[1:], resamples=5, permutations=99)
        p_values += [row["null_p"] for row in series(found, "logit_difference_first_order_effect_over_controls")]
    assert np.mean(np.array(p_values) <= 0.05) <= 0.2
    assert 0.25 < np.mean(p_values) < 0.75
