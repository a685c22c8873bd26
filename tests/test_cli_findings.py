"""`vesalius findings`: what it prints, as a table and as JSON, and what it says where there is nothing."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from analyses.findings import CLAIMS, findings
from dagster_project.commands.findings import findings as command
from dagster_project.commands.findings import read_findings
from warehouse.errors import InputError
from warehouse.store import Store

app = typer.Typer()
app.command()(command)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("warehouse"))
    for model in ("one", "two"):
        store.write("findings", findings(model, {}), fingerprint=model, model=model)
    return store


def asked(store: Store, *words: str) -> str:
    done = CliRunner().invoke(app, [*words, "--warehouse", str(store.root)])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_findings_of_all_models_are_printed_in_the_order_of_the_claims(store: Store) -> None:
    said = asked(store)
    for model in ("one", "two"):
        assert f"{model}: {len(CLAIMS)} claims, 0 supported, 0 refuted, {len(CLAIMS)} undecided" in said
    places = [asked(store, "one").index(claim.title + " ") for claim in CLAIMS]
    assert places == sorted(places)


def test_one_model_can_be_asked_for_as_json_with_its_rules(store: Store) -> None:
    rows = json.loads(asked(store, "two", "--json"))
    assert {row["model"] for row in rows} == {"two"}
    assert [row["finding"] for row in rows] == [claim.name for claim in CLAIMS]
    assert {row["rule"] for row in rows} == {claim.rule for claim in CLAIMS}


def test_a_model_without_findings_is_told_apart_from_a_warehouse_without(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'three' has no findings.*one, two have"):
        read_findings(store, "three")
    with pytest.raises(InputError, match="No model has findings"):
        read_findings(Store(tmp_path), None)
