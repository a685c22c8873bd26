"""A small part of `vesalius validate`, on a planted model and an untrained one: from training to the page."""

import json

import polars as pl
import pytest

from analyses.contrasts import CANDIDATES, best_contrasts, contrasts
from analyses.validity import ASIDE_FILE, VALIDATION_FILE, consensus_of, kept_validation
from dagster_project.validating import Places, cases, judge, judge_aside, keep_results, run_validation
from extract.job.progress import LineProgress
from extract.zoo import EMPTY_KINDS, PLANT_KINDS, small_zoo, zoo
from extract.zoo_lists import SMALL, aside
from warehouse.errors import InputError
from warehouse.tables import table

pytestmark = pytest.mark.slow

SILENT = LineProgress(lambda line: None)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    return Places(tmp_path_factory.mktemp("validation"), SMALL)


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def page(places, told):
    return run_validation(places, small_zoo(), jobs=2, keep=False, told=told.append, progress=SILENT)


@pytest.fixture(scope="module")
def judged(places, page):
    rows, _ = judge(cases(places, small_zoo()))
    return pl.DataFrame(rows)


def test_a_small_zoo_is_trained_measured_and_judged(page, told):
    count = len(small_zoo())
    assert sum(" trained: " in line for line in told) >= count
    assert sum(" measured: " in line for line in told) == count
    assert sum(line.startswith("## ") for line in page) == 3


def test_a_model_that_was_never_trained_is_localised_nowhere(judged):
    untrained = judged.filter(kind="untrained", technique="consensus")
    assert len(untrained) == 3
    assert untrained["localised"].sum() == 0
    assert set(untrained["planted"]) == {""}


def test_planted_knowledge_is_found_in_its_layer_and_the_paper_s_scores_miss_it(judged):
    drugs = judged.filter(kind="one layer", concept="drugs", position="last")
    best = dict(drugs.filter(layers=4).select("metric", "best_layer").iter_rows())
    assert set(drugs["planted"]) == {"2"}
    assert best["confidence"] == best["resample_log_probability_drop_over_controls"] == 2
    assert best["identity_log_probability_drop"] == best["mean_abs_gradient"] == 0
    assert drugs.filter(technique="consensus").select("hit", "localised", "false_marks").row(0) == (1.0, True, 0.0)


def test_what_a_planted_model_was_never_told_is_localised_nowhere(judged):
    unknown = judged.filter(kind="unknown", technique="consensus")
    assert sorted(unknown["concept"]) == ["diseases", "symptoms"]
    assert unknown["localised"].sum() == 0


def test_a_second_run_trains_and_measures_nothing(places, page):
    files = sorted(places.folder.rglob("*.parquet")) + sorted(places.folder.rglob("*.safetensors"))
    before = {path: path.stat().st_mtime_ns for path in files}
    assert run_validation(places, small_zoo(), jobs=1, keep=False, told=[].append, progress=SILENT) == page
    assert {path: path.stat().st_mtime_ns for path in files} == before


def test_a_model_that_was_not_measured_is_named(tmp_path, places, page):
    other = Places(tmp_path, SMALL)
    other.folder.joinpath("models").symlink_to(places.models)
    with pytest.raises(InputError, match=r"was not measured.*vesalius validate"):
        cases(other, small_zoo()[:1])


def test_results_are_kept_with_the_commit_that_made_them(tmp_path, places, page):
    slugs = sorted(model.slug for model in small_zoo())
    rows, _ = judge(cases(places, small_zoo()))
    keep_results(rows, slugs, [], tmp_path / "validation.csv")
    assert kept_validation(tmp_path / "validation.csv").equals(rows)
    made = json.loads((tmp_path / "validation.json").read_text())
    assert made["models"] == len(slugs)
    assert {"commit", "date", "settings", "kept_out"} <= made.keys()


def test_the_results_that_come_with_the_project_are_those_of_a_whole_zoo():
    kept, made = pl.DataFrame(kept_validation()), json.loads(VALIDATION_FILE.with_suffix(".json").read_text())
    planted = [model for model in zoo() if model.kind not in EMPTY_KINDS]
    assert len(planted) >= 48
    assert set(kept["kind"]) == {*PLANT_KINDS, *EMPTY_KINDS}
    assert kept["model"].n_unique() + len(made["kept_out"]) == len(zoo())
    assert kept.filter(~pl.col("kind").is_in(EMPTY_KINDS))["model"].n_unique() >= 48
    assert set(kept.columns) == {column.name for column in table("validation").columns}
    validated = contrasts()
    assert {(each.technique, each.metric, each.position) for each in validated} == set(CANDIDATES)
    assert {each.technique for each in best_contrasts(validated)} == {each[0] for each in CANDIDATES}


def test_the_results_of_models_held_aside_are_of_known_ones_and_of_no_model_of_the_zoo():
    kept, made = pl.DataFrame(kept_validation(ASIDE_FILE)), json.loads(ASIDE_FILE.with_suffix(".json").read_text())
    known = {model.slug for model in aside()}
    assert set(kept["model"]) | set(made["kept_out"]) <= known
    assert made["models"] == kept["model"].n_unique()
    assert not set(kept["model"]) & set(pl.DataFrame(kept_validation())["model"])
    assert not set(made["kept_out"]) & set(kept["model"])


def test_models_held_aside_are_judged_by_the_contrasts_that_every_map_is_drawn_by(places, page):
    found = cases(places, small_zoo())
    chosen = best_contrasts(contrasts())
    judged = {
        (row["model"], row["concept"]): row["best_layer"]
        for row in judge_aside(found).to_pylist()
        if row["technique"] == "consensus"
    }
    for case in found:
        confidence = consensus_of(case, chosen)
        expected = int(confidence.argmax()) if confidence.max() > confidence.min() else None
        assert judged[case.model, case.concept] == expected


def test_models_are_measured_into_a_warehouse_of_their_own(places, page):
    models = {path.parent.name for path in places.folder.glob("warehouse/profiles/*/concept=drugs")}
    assert models == {f"model={model.slug}" for model in small_zoo()}
    assert not list(places.folder.glob("warehouse/responses/*"))
