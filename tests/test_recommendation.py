"""Which layers are recommended for a purpose, from small maps whose answer is plain."""

import polars as pl
import pytest

from analyses.recommendation import PURPOSES, Evidence, Recommendation, layer_names, recommend, summary
from warehouse.errors import InputError

LAYERS = 8


def evidence(
    maps: dict[str, dict[int, float]],
    *,
    verdicts: dict[str, str] | None = None,
    damage: dict[int, float] | None = None,
    mlp: dict[int, float] | None = None,
    agreement: float | None = 1.0,
) -> Evidence:
    """A model of 8 layers: the confidence of some layers by concept, all else being 0; animals are the control."""
    cells, verdict_rows, marks, profiles = [], [], [], []
    for concept, sure in maps.items():
        verdict = (verdicts or {}).get(
            concept, "localised" if max(sure.values(), default=0) >= 0.5 else "not localised"
        )
        for labelling in ("", "kind"):
            keys = {"concept": concept, "mode": "consensus", "labelling": labelling}
            verdict_rows.append(keys | {"verdict": verdict})
            cells += [
                keys | {"layer": layer, "confidence": sure.get(layer, 0.0), "agreement": agreement}
                for layer in range(LAYERS)
            ]
        for layer in range(LAYERS):
            for technique, strength in (("lesions", sure.get(layer, 0.0)), ("activations", 0.1)):
                marks.append(
                    {"concept": concept, "mode": "consensus", "technique": technique, "metric": "some_metric"}
                    | {"labelling": "kind", "position": "last", "layer": layer, "value": 1.0, "marked": strength}
                )
            told = {"resample_accuracy_drop_over_controls": 0.8 * sure.get(layer, 0.0)}
            if concept == "animals":
                told["resample_accuracy_drop"] = (damage or {}).get(layer, 0.0)
            if mlp is not None:
                told["resample_mlp_accuracy_drop_over_controls"] = mlp.get(layer, 0.0)
                told["resample_attention_accuracy_drop_over_controls"] = 0.3
            profiles += [
                {"concept": concept, "technique": "lesions", "metric": metric, "labelling": "kind", "variant": ""}
                | {"layer": layer, "value": value}
                for metric, value in told.items()
            ]
    schema = {"agreement": pl.Float64}
    return Evidence(
        "small",
        LAYERS,
        pl.DataFrame(verdict_rows),
        pl.DataFrame(cells, schema_overrides=schema),
        pl.DataFrame(marks),
        pl.DataFrame(profiles),
        {"drugs": "medical", "symptoms": "medical", "animals": "control"},
    )


ONE = {"drugs": {4: 0.95}, "symptoms": {2: 0.9}, "animals": {}}


def advised(maps: dict[str, dict[int, float]], purpose: str, **more: object) -> Recommendation:
    return recommend(evidence(maps, **more), "drugs", purpose)  # type: ignore[arg-type]


@pytest.mark.parametrize("purpose", ["unlearning", "editing"])
def test_the_one_layer_that_holds_a_concept_is_recommended(purpose: str) -> None:
    found = advised(ONE, purpose)
    assert (found.layers, found.verdict, found.confidence) == ((4,), "localised", 0.95)
    assert any("lesions" in reason and "95%" in reason for reason in found.reasons)
    assert any("Not marked by activations" in reason for reason in found.reasons)
    assert any("76% more" in reason for reason in found.reasons)


def test_fine_tuning_takes_the_neighbours_too_but_for_those_that_other_concepts_need() -> None:
    assert advised(ONE, "fine-tuning").layers == (3, 4, 5)
    assert advised(ONE | {"symptoms": {3: 0.9}}, "fine-tuning").layers == (4, 5)
    assert advised(ONE, "fine-tuning", damage={5: 0.7}).layers == (3, 4)


def test_fine_tuning_takes_at_most_half_of_the_layers_unless_the_region_is_larger() -> None:
    assert advised({"drugs": dict.fromkeys((2, 3, 4), 0.9), "animals": {}}, "fine-tuning").layers in {
        (1, 2, 3, 4),
        (2, 3, 4, 5),
    }
    whole = dict.fromkeys(range(1, 7), 0.9)
    assert advised({"drugs": whole, "animals": {}}, "fine-tuning").layers == tuple(range(1, 7))


def test_room_beside_the_region_does_not_lower_the_confidence() -> None:
    assert advised(ONE, "fine-tuning").confidence == 0.95


def test_unlearning_spares_layers_that_other_concepts_need() -> None:
    maps = {"drugs": {2: 0.99, 5: 0.8}, "symptoms": {2: 0.9}, "animals": {}}
    found = advised(maps, "unlearning")
    assert found.layers == (5,)
    assert any("Spared" in reason and "layer 2" in reason for reason in found.reasons)


def test_where_every_layer_is_shared_unlearning_takes_the_least_shared_one_and_warns() -> None:
    maps = {"drugs": {2: 0.99, 5: 0.8}, "symptoms": {2: 0.9, 5: 0.6}, "animals": {}}
    found = advised(maps, "unlearning")
    assert found.layers == (5,)
    assert any("holds symptoms too (probability 0.60)" in caveat for caveat in found.caveats)


def test_editing_takes_the_surest_layer_and_one_more_that_is_as_good_at_most() -> None:
    assert advised({"drugs": {2: 0.95, 4: 0.6}, "animals": {}}, "editing").layers == (2,)
    assert advised({"drugs": {2: 0.95, 4: 0.94, 6: 0.93}, "animals": {}}, "editing").layers == (2, 4)


def test_editing_shuns_a_layer_whose_loss_breaks_the_controls() -> None:
    maps: dict[str, dict[int, float]] = {"drugs": {0: 0.99, 4: 0.8}, "animals": {}}
    found = advised(maps, "editing", damage={0: 0.9})
    assert found.layers == (4,)
    alone = advised({"drugs": {0: 0.99}, "animals": {}}, "editing", damage={0: 0.9})
    assert alone.layers == (0,)
    assert any("90% of the controls' prompts wrong" in caveat for caveat in alone.caveats)


def test_editing_names_the_mlp_where_it_carries_more_than_attention() -> None:
    assert advised(ONE, "editing", mlp={4: 0.7}).part == "mlp"
    assert advised(ONE, "editing", mlp={4: 0.1}).part == "layer"
    assert advised(ONE, "unlearning", mlp={4: 0.7}).part == "layer"


@pytest.mark.parametrize("purpose", PURPOSES)
def test_what_is_not_localised_is_trained_in_all_layers_and_said_so(purpose: str) -> None:
    found = advised({"drugs": {4: 0.3}, "animals": {}}, purpose)
    assert (found.layers, found.confidence, found.is_localised) == (tuple(range(LAYERS)), 0.0, False)
    assert "Localisation gives nothing" in found.reasons[0]
    assert "all layers (not localised)" in summary(found)


def test_what_is_not_known_can_be_taught_but_neither_unlearned_nor_edited() -> None:
    for purpose, layers in (("fine-tuning", tuple(range(LAYERS))), ("unlearning", ()), ("editing", ())):
        found = advised({"drugs": {}, "animals": {}}, purpose, verdicts={"drugs": "not known"})
        assert found.layers == layers


def test_what_is_not_measured_names_the_command_that_measures_it() -> None:
    found = advised({"drugs": {}, "animals": {}}, "editing", verdicts={"drugs": "not measured"})
    assert found.layers == ()
    assert any("vesalius run --model small --only drugs" in reason for reason in found.reasons)


def test_low_agreement_and_a_missing_one_are_told_apart() -> None:
    low = advised(ONE, "editing", agreement=0.4).caveats
    assert any("Only 40% of the maps made otherwise" in caveat for caveat in low)
    missing = advised(ONE, "editing", agreement=None).caveats
    assert any("No maps were made otherwise" in caveat for caveat in missing)
    assert not [one for one in advised(ONE, "editing").caveats if "otherwise" in one]


def test_an_unknown_purpose_concept_or_labelling_is_refused_with_what_there_is() -> None:
    there = evidence(ONE)
    with pytest.raises(InputError, match="fine-tuning, unlearning, editing"):
        recommend(there, "drugs", "fun")
    with pytest.raises(InputError, match=r"maps of: animals, drugs, symptoms.*vesalius run --model small --only age"):
        recommend(there, "age", "editing")
    with pytest.raises(InputError, match="it has: kind"):
        recommend(there, "drugs", "editing", "colour")


def test_layers_are_written_as_runs() -> None:
    assert layer_names([7, 2, 3, 5]) == "2-3, 5, 7"
