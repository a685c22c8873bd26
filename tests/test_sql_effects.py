"""Views and named queries on lesions, patches, saliency and answers, beside loops over the rows they are made from."""

import itertools
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import warehouse_effects as effects
from effect_rows import tabled
from polars.testing import assert_frame_equal
from warehouse_fixture import LAYERS, PLANTED_LAYER, TERMS, build_warehouse, named

from analyses.effects import MeasuredConcept
from analyses.lesion_profiles import lesion_profiles as lesion_series
from analyses.patch_profiles import patch_profiles as patch_series
from analyses.saliency_profiles import saliency_profiles as saliency_series
from warehouse.catalog import build_catalog
from warehouse.query import run_query
from warehouse.store import Store
from warehouse.tables import table

lesion_profiles = tabled(lesion_series)
saliency_profiles = tabled(saliency_series)
patch_profiles = tabled(patch_series)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("warehouse")
    build_warehouse(root)
    build_catalog(root)
    return root


def ask(root: Path, sql: str) -> list[dict[str, Any]]:
    return run_query(root, sql).to_pylist()


def frame(root: Path, name: str, **keys: str) -> pl.DataFrame:
    """A partition's rows; none where it isn't there."""
    there = Store(root).footer(name, **keys) is not None
    return pl.DataFrame(Store(root).read(name, **keys) if there else table(name).schema().empty_table())


def measured(root: Path, name: str, model: str, concept: str) -> MeasuredConcept:
    store = Store(root)
    return MeasuredConcept(
        concept,
        store.read(name, model=model, concept=concept),
        store.read("prompts", concept=concept),
        store.read("terms", concept=concept),
    )


def by_layer(profiles: Any, metric: str, labelling: str, position: str = "last") -> list[float]:
    return [
        row["value"]
        for row in profiles.to_pylist()
        if (row["metric"], row["labelling"], row["position"]) == (metric, labelling, position)
    ]


def test_lesion_effects_are_means_over_terms_without_held_out_templates(root: Path) -> None:
    found = ask(root, "FROM lesion_effects WHERE concept = 'drugs' AND labelling = 'specialty'")
    assert len(found) == len(effects.LESIONS) * sum(LAYERS.values())
    for row in found:
        rows = [
            effects.lesion(row["model"], row["lesion"], row["part"], row["layer"], "ask-specialty", term)
            for term in TERMS["drugs"]
        ]
        drops = [one["intact_log_probability"] - one["log_probability"] for one in rows]
        lost = [one["intact_correct"] - one["correct"] for one in rows]
        assert row["terms"] == len(rows)
        assert row["log_probability_drop"] == pytest.approx(np.mean(drops))
        assert row["accuracy_drop"] == pytest.approx(np.mean(lost))
        assert row["kl"] == pytest.approx(2 * np.mean(drops))
        assert row["intact_accuracy"] == pytest.approx(4 / 5)
        assert row["accuracy_share"] == pytest.approx(np.mean(lost) / (4 / 5))
    largest = max(row["kl"] for row in found if (row["model"], row["lesion"]) == ("planted", "resample"))
    resampled = [row for row in found if (row["model"], row["lesion"]) == ("planted", "resample")]
    assert [row["kl_share"] for row in resampled] == pytest.approx([row["kl"] / largest for row in resampled])


def test_what_the_model_does_not_know_has_no_share_of_accuracy(root: Path) -> None:
    found = ask(root, "SELECT DISTINCT labelling, accuracy_share IS NULL AS unknown FROM lesion_effects ORDER BY ALL")
    assert [tuple(row.values()) for row in found] == [
        ("continent", False),
        ("mechanism", True),
        ("specialty", False),
    ]


def test_lesions_over_controls_are_those_of_the_profiles(root: Path) -> None:
    profiles = lesion_profiles(
        measured(root, "lesions", "planted", "drugs"),
        [measured(root, "lesions", "planted", "countries")],
        resamples=2,
        permutations=0,
    )
    found = ask(root, "FROM lesions_over_controls WHERE model = 'planted' AND concept = 'drugs' ORDER BY layer")
    for lesion, part in effects.LESIONS:
        for labelling in ("specialty", "mechanism"):
            rows = [row for row in found if (row["lesion"], row["part"], row["labelling"]) == (lesion, part, labelling)]
            assert [row["controls"] for row in rows] == [1, 1, 1]
            kind = lesion if part == "layer" else f"{lesion}_{part}"
            for column, metric in (("log_probability", "log_probability_drop"), ("kl", "kl")):
                expected = by_layer(profiles, f"{kind}_{metric}_over_controls", labelling)
                assert [row[column] for row in rows] == pytest.approx(expected)
            accuracy = by_layer(profiles, f"{kind}_accuracy_drop_over_controls", labelling)
            assert [row["accuracy"] for row in rows if row["accuracy"] is not None] == pytest.approx(accuracy)
            assert len(accuracy) == (3 if labelling == "specialty" else 0)
    assert {row["concept"] for row in ask(root, "FROM lesions_over_controls")} == {"drugs"}


def test_patch_effects_are_those_of_the_profiles_and_count_pairs_left_out(root: Path) -> None:
    profiles = patch_profiles(measured(root, "patches", "planted", "drugs"), resamples=2)
    found = ask(root, "FROM patch_effects WHERE model = 'planted' ORDER BY layer")
    for site, position in (("resid", "last"), ("delta", "last"), ("resid", "term")):
        rows = [row for row in found if (row["site"], row["position"]) == (site, position)]
        expected = by_layer(profiles, f"{site}_restored", "specialty", position)
        assert [row["restored"] for row in rows] == pytest.approx(expected)
        assert {(row["pairs"], row["pairs_left_out"]) for row in rows} == {(2, 1)}
    assert {row["position"] for row in found} == {"last", "term"}


def test_effects_of_a_term_are_those_of_its_own_prompts_and_pairs(root: Path) -> None:
    by = ["model", "concept", "labelling", "layer", "term"]
    found = pl.DataFrame(run_query(root, "FROM term_effects")).sort(by)
    expected = []
    for model, concept in itertools.product(LAYERS, TERMS):
        asked = frame(root, "prompts", concept=concept).filter(
            (pl.col("template_kind") == "asking") & ~pl.col("held_out") & pl.col("labelling").is_not_null()
        )
        for lesion in frame(root, "lesions", model=model, concept=concept).partition_by("layer", "term"):
            lesioned = lesion.filter((pl.col("lesion") == "resample") & (pl.col("part") == "layer"))
            layer, term = lesion.row(0, named=True)["layer"], lesion.row(0, named=True)["term"]
            pairs = frame(root, "patches", model=model, concept=concept).filter(
                (pl.col("site") == "resid") & (pl.col("position") == "last")
            )
            for (labelling,), prompts in asked.filter(pl.col("term") == term).group_by("labelling"):
                templates = prompts["template"].to_list()
                own = lesioned.filter(pl.col("template").is_in(templates))
                mine = pairs.filter(
                    pl.col("template").is_in(templates), pl.col("term") == term, pl.col("layer") == layer
                )
                differing = [row for row in mine.to_dicts() if row["ld_clean"] - row["ld_corrupted"] >= 0.5]
                regained = sum(row["ld_patched"] - row["ld_corrupted"] for row in differing)
                apart = sum(row["ld_clean"] - row["ld_corrupted"] for row in differing)
                if own.height or mine.height:
                    expected.append(
                        {
                            **dict(zip(by, (model, concept, labelling, layer, term), strict=True)),
                            "lesion_drop": (own["intact_log_probability"] - own["log_probability"]).mean(),
                            "prompts": own.height,
                            "patch_restored": regained / apart if differing else None,
                            "pairs": len(differing),
                            "pairs_left_out": mine.height - len(differing),
                        }
                    )
    slow = pl.DataFrame(expected, infer_schema_length=None).sort(by)
    assert_frame_equal(found.select(slow.columns), slow, check_dtypes=False)
    # Of the pairs of one drug all differ, of another none; others are in no pair.
    assert {(row["pairs"], row["pairs_left_out"]) for row in found.to_dicts()} == {(1, 0), (0, 1), (0, 0)}
    assert found.filter(pl.col("pairs") == 0)["patch_restored"].is_null().all()


def test_a_term_that_was_only_patched_has_effects_too(tmp_path: Path) -> None:
    build_warehouse(tmp_path)
    Store(tmp_path).path("lesions", model="planted", concept="drugs").unlink()
    build_catalog(tmp_path)
    found = ask(tmp_path, "FROM term_effects WHERE model = 'planted' AND concept = 'drugs' ORDER BY term, layer")
    assert [(row["term"], row["layer"]) for row in found] == [
        (term, layer) for term in ("aspirin", "ibuprofen", "oxycodone") for layer in range(3)
    ]
    assert {(row["lesion_drop"], row["prompts"]) for row in found} == {(None, 0)}


def test_nothing_is_restored_where_no_pair_differs(root: Path) -> None:
    found = ask(root, "SELECT restored(x, y, z) AS r FROM (VALUES (1.0, 0.6, 3.0), (0.0, 2.0, 3.0)) AS t (x, y, z)")
    assert found == [{"r": None}]


def test_saliency_effects_are_those_of_the_profiles(root: Path) -> None:
    profiles = saliency_profiles(measured(root, "saliency", "planted", "drugs"), resamples=2)
    found = ask(root, "FROM saliency_effects WHERE model = 'planted' AND labelling = 'specialty' ORDER BY layer")
    for part, ending in (("layer", ""), ("attention", "_attention"), ("mlp", "_mlp")):
        for target in ("loss", "logit_difference"):
            rows = [row for row in found if (row["part"], row["target"]) == (part, target)]
            expected = by_layer(profiles, f"{target}_first_order_effect{ending}", "specialty")
            assert [row["first_order_effect"] for row in rows] == pytest.approx(expected)
            if target == "loss":
                sizes = by_layer(profiles, f"mean_abs_gradient{ending}", "specialty")
                assert [row["mean_abs_gradient"] for row in rows] == pytest.approx(sizes)
    assert {row["part"] for row in found} == {"layer", "attention", "mlp", "norm"}


def test_fates_of_pairs_add_up(root: Path) -> None:
    found = ask(root, "FROM pair_fates WHERE model = 'planted' AND labelling = 'specialty' ORDER BY fate")
    # Of 2 templates x 12 pairs: aspirin and insulin have 2 tokens, others 3; metformin and insulin are for diabetes.
    kept = 2 * 2 * (1 + 2)
    assert [(row["fate"], row["pairs"]) for row in found] == [("kept", kept), ("lengths differ", 24 - kept)]
    assert [row["fraction"] for row in found] == [kept / 24, 1 - kept / 24]


def test_dropped_pairs_are_counted_by_reason(root: Path) -> None:
    found = {(row["model"], row["labelling"]): row for row in named(root, "dropped-pairs")}
    assert set(found) == {(model, name) for model in LAYERS for name in ("continent", "mechanism", "specialty")}
    row = found["planted", "specialty"]
    assert {name: row[name] for name in ("pairs", "kept", "lengths_differ", "patched", "left_out")} == {
        "pairs": 24,
        "kept": 12,
        "lengths_differ": 12,
        "patched": 3,
        "left_out": 1,
    }
    others = ("answers_begin_alike", "no_answer_token", "prompts_are_the_same")
    assert all(row[name] == 0 for row in found.values() for name in others)
    assert found["planted", "continent"]["patched"] == 0


def test_lesions_by_layer_stand_beside_the_contrast_and_the_plant(root: Path) -> None:
    found = named(root, "lesions-by-layer", model="planted")
    assert [row["layer"] for row in found] == [0, 1, 2]
    assert [row["effect"] for row in found] == effects.PROFILES["resample_log_probability_drop"][1]
    contrast = effects.PROFILES["resample_log_probability_drop_over_controls"][1]
    assert [row["over_controls"] for row in found] == contrast
    assert [row["is_planted"] for row in found] == [False, False, True]
    raw = named(root, "lesions-by-layer", lesion="identity", concept="drugs")
    assert {(row["over_controls"], row["model"]) for row in raw} == {(None, "0042"), (None, "planted")}
    assert named(root, "lesions-by-layer", part="mlp") == []


def test_patches_by_layer_show_the_step_at_which_the_answer_arrives(root: Path) -> None:
    found = named(root, "patches-by-layer", model="planted")
    assert [row["restored"] for row in found] == pytest.approx([3 / 7, 5 / 7, 1.0])
    assert [row["step"] for row in found] == effects.PROFILES["resid_restored_step"][1]
    assert [row["low"] for row in found] == pytest.approx([3 / 7 - 0.04, 5 / 7 - 0.04, 0.96])
    assert {(row["pairs"], row["pairs_left_out"]) for row in found} == {(2, 1)}
    assert [row["layer"] for row in found if row["is_planted"]] == [PLANTED_LAYER]
    own = named(root, "patches-by-layer", site="delta", model="planted")
    assert [(row["step"], row["low"]) for row in own] == [(None, None)] * 3
    # patched 0.5 l and 0.5 l + 1, corrupted -1: (l + 3) / 7
    assert [row["restored"] for row in own] == pytest.approx([3 / 7, 4 / 7, 5 / 7])
    at_term = named(root, "patches-by-layer", position="term", model="planted")
    assert [row["restored"] for row in at_term] == pytest.approx([0.2 / 7] * 3)


def test_saliency_by_layer_adds_up_modules(root: Path) -> None:
    found = named(root, "saliency-by-layer", model="planted", concept="drugs")
    for row in found:
        template = f"ask-{row['labelling']}"
        sums: dict[str, list[float]] = defaultdict(list)
        sizes = []
        for term in TERMS["drugs"]:
            rows = [
                effects.gradient("planted", row["layer"], module, "logit_difference", template, term)
                for module in effects.MODULES
            ]
            sums["first_order_effect"].append(sum(one["first_order_effect"] for one in rows))
            for part in ("attention", "mlp"):
                sums[part].append(sum(one["first_order_effect"] for one in rows if one["part"] == part))
            weights = sum(one["weights"] for one in rows)
            sizes.append(sum(one["mean_abs_gradient"] * one["weights"] for one in rows) / weights)
        for column, values in sums.items():
            assert row[column] == pytest.approx(np.mean(values))
        assert row["mean_abs_gradient"] == pytest.approx(np.mean(sizes))
    specialty = [row for row in found if row["labelling"] == "specialty"]
    profile = effects.PROFILES["logit_difference_first_order_effect"][1]
    assert [row["high"] for row in specialty] == pytest.approx([value + 0.04 for value in profile])
    assert [row["is_planted"] for row in specialty] == [False, False, True]


def test_the_patch_grid_is_one_cell_a_token_and_layer(root: Path) -> None:
    found = named(root, "patch-grid", model="planted", term="aspirin", corrupting_term="insulin")
    assert {(row["template"], row["tokens"], row["pairs"], row["pairs_left_out"]) for row in found} == {
        ("ask-specialty", 11, 1, 0)
    }
    assert [(row["token"], row["layer"]) for row in found] == [(token, at) for token in range(2, 11) for at in range(3)]
    # corrupted -1, clean 2, patched -1 + 0.1 token + layer
    expected = [(0.1 * row["token"] + row["layer"]) / 3 for row in found]
    assert [row["restored"] for row in found] == pytest.approx(expected)
    assert named(root, "patch-grid", site="delta") == []
    assert named(root, "patch-grid", term="insulin") == []


def test_agreeing_techniques_are_counted(root: Path) -> None:
    found = {
        row["metric"]: row
        for row in named(root, "technique-agreement", model="planted", concept="drugs")
        if row["labelling"] == "specialty"
    }
    layers = {metric: row["layer"] for metric, row in found.items()}
    assert layers == {
        "silhouette_cosine_step": 2,
        "identity_log_probability_drop": 0,
        "resample_log_probability_drop_over_controls": 2,
        "resid_restored_step": 0,
        "logit_difference_first_order_effect": 2,
    }
    for metric, row in found.items():
        others = [layer for name, layer in layers.items() if name != metric]
        assert row["others"] == len(others)
        assert row["others_agreeing"] == others.count(row["layer"])
        assert row["planted_layers"] == [PLANTED_LAYER]
        assert row["is_planted"] == (row["layer"] == PLANTED_LAYER)
    loose = named(root, "technique-agreement", model="planted", tolerance=2)
    assert all(row["others_agreeing"] == row["others"] for row in loose if row["labelling"] == "specialty")


def test_answers_under_lesion_are_averaged_by_layer(root: Path) -> None:
    found = named(root, "answers-under-lesion", model="planted")
    rows = list(effects.responses(LAYERS["planted"]))
    assert [(row["lesion"], row["layer"]) for row in found] == [
        ("identity", 0),
        ("identity", 1),
        ("identity", 2),
        ("none", -1),
    ]
    for row in found:
        mine = [one for one in rows if one["layer"] == row["layer"]]
        for column in ("exact", "token_agreement", "chrf", "intact_answer_nll"):
            assert row[column] == pytest.approx(np.mean([one[column] for one in mine]))
        assert (row["answers"], row["judged"]) == (2, 1)
        assert row["score"] == (1.0 if row["layer"] == -1 else 8.0 - row["layer"])


def test_the_judges_noise_is_measured_on_intact_answers_and_on_repeats(root: Path) -> None:
    found = {row["model"]: row for row in named(root, "judge-noise")}
    assert found["planted"] == {
        "model": "planted",
        "concept": "drugs",
        "judge": effects.JUDGE,
        "judged": 3,
        "mean_score": 7.0,
        "intact_judged": 1,
        "intact_mean_score": 1.0,
        "intact_worst_score": 1.0,
        "judged_twice": 2,
        "mean_difference": 1.0,
        "same_score": 0.5,
    }
    assert found["0042"]["judged"] == 2


def test_layers_that_a_model_must_have_are_listed(root: Path) -> None:
    assert ask(root, "FROM model_layers WHERE model = '0042'") == [
        {"model": "0042", "layers": 2, "with_embeddings": [-1, 0, 1], "blocks": [0, 1], "above_first": [1]}
    ]
    assert ask(root, "SELECT layers_found(x) AS found FROM (VALUES (2), (0), (2)) AS t (x)") == [{"found": [0, 2]}]
    assert ask(root, "FROM planted_layers") == [
        {"model": "planted", "concept": "drugs", "labelling": "specialty", "layers": [PLANTED_LAYER]}
    ]
