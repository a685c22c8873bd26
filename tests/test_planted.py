"""What the techniques say of the embedded planted model, asked in SQL: they name the layers that hold the plants."""

from pathlib import Path

import dagster as dg
import pytest

from dagster_project.defs.partitions import register_models
from dagster_project.defs.resources import Settings, Warehouse
from dagster_project.running import chosen_models, run_models
from extract.job.progress import LineProgress
from warehouse.query import connect

CONCEPTS = ["symptoms", "diseases", "drugs", "animals", "countries"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("planted") / "warehouse"
    places = Warehouse(root=str(root))
    settings = Settings(concepts=CONCEPTS, sample=96, answers=4, resamples=40, permutations=20)
    with dg.DagsterInstance.ephemeral() as instance:
        register_models(instance, places.registry())
        outcome = run_models(
            instance, places, chosen_models(places, ["planted"]), settings, LineProgress(lambda _: None), umap=False
        )
    assert outcome.failed_checks == ()
    return root


HIGHEST = """
    WITH planted AS (
        SELECT DISTINCT
            concept,
            labelling,
            layer
        FROM plants
        WHERE model = 'planted'
    )

    SELECT
        planted.concept,
        planted.layer AS planted,
        arg_max(profiles.layer, profiles.value) AS found,
        arg_max(profiles.low, profiles.value) AS low
    FROM planted
    INNER JOIN asking_profiles AS profiles
        ON planted.concept = profiles.concept AND planted.labelling = profiles.labelling
    WHERE profiles.model = 'planted' AND profiles.metric = $metric
    GROUP BY ALL
    ORDER BY ALL
"""


@pytest.mark.parametrize(
    "metric",
    [
        "identity_accuracy_drop_over_controls",
        "resample_log_probability_drop_over_controls",
        "resample_accuracy_drop_over_controls",
        "resid_restored_step",
        "delta_restored",
        "logit_difference_first_order_effect",
    ],
)
def test_contrasts_are_highest_at_the_planted_layers(warehouse: Path, metric: str) -> None:
    with connect(warehouse) as connection:
        rows = connection.execute(HIGHEST, {"metric": metric}).fetchall()
    assert [(concept, found) for concept, _, found, _ in rows] == [
        (concept, planted) for concept, planted, _, _ in rows
    ]
    assert [planted for _, planted, _, _ in rows] == [4, 6, 2]
    assert all(low > 0 for _, _, _, low in rows)


def test_the_paper_s_raw_forms_name_the_first_layer_whatever_the_truth(warehouse: Path) -> None:
    with connect(warehouse) as connection:
        for metric in ("identity_log_probability_drop", "mean_abs_gradient"):
            rows = connection.execute(HIGHEST, {"metric": metric}).fetchall()
            assert [found for _, _, found, _ in rows] == [0, 0, 0]


def test_lesions_of_a_layer_equal_what_hooks_on_the_whole_model_give(warehouse: Path) -> None:
    import torch
    from naive import run
    from naive import stack_of as stack

    from extract.loading import load_model

    loaded = load_model(Warehouse(root=str(warehouse)).registry()["planted"])
    with connect(warehouse) as connection:
        rows = connection.execute(
            """
            SELECT prompts.text, tokens.answer_token, lesions.layer, lesions.log_probability
            FROM lesions
            INNER JOIN prompts USING (concept, template, term)
            INNER JOIN tokens USING (model, concept, template, term)
            WHERE lesions.lesion = 'identity' AND lesions.part = 'layer'
            ORDER BY hash(concat(text, lesions.layer))
            LIMIT 40
            """
        ).fetchall()
    for text, answer, layer, found in rows:
        module = stack(loaded.model).layers[layer]
        logits, _ = run(loaded.model, loaded.tokenizer(text)["input_ids"], {module: lambda entered, _: entered})
        assert float(torch.log_softmax(logits, -1)[answer]) == pytest.approx(found, abs=1e-4)
