"""Which answers are judged, which of them twice, and what lands: without a judge, with one, and with a bad one."""

import logging
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from judge_servers import Reply, Request, Server, failure, serving, verdict
from test_extraction import prompts
from tiny_library import write_library

from dagster_project.defs import answers
from dagster_project.defs.partitions import register_models
from dagster_project.defs.resources import Settings, Warehouse
from dagster_project.landing import CONTRACT
from extract.endpoint import COMPLETION_PRICE, MODEL, PARALLEL, PROMPT_PRICE, TIMEOUT, URL, Endpoint
from extract.endpoint import KEY as KEY_VARIABLE
from extract.job.progress import LineProgress
from extract.judgements import Judgements, count_questions, judge_responses, noise_floor
from extract.rubric import INSTRUCTIONS, RUBRIC
from extract.verdicts import open_verdicts
from warehouse.catalog import build_catalog
from warehouse.errors import InputError
from warehouse.query import ask, connect
from warehouse.tables import table
from warehouse.validation import validate

KEY = "sk-top-secret-0123456789"
TERMS, LAYERS = ("aspirin", "X"), 3
SAID = {0: "noise {}", 1: "fever {}", 2: "pain {}"}
"""What the model says under the lesion of each layer; intact it says what it says without layer 2."""


def responses(asked: pa.Table, said: dict[int, str] = SAID) -> pa.Table:
    rows = [
        {
            "lesion": "none" if layer < 0 else "identity",
            "layer": layer,
            "template": row["template"],
            "term": row["term"],
            "response": said[max(said) if layer < 0 else layer].format(row["term"]),
            "tokens": 3,
            "exact": layer in {-1, max(said)},
            "token_agreement": 1.0,
            "chrf": 100.0,
            "intact_answer_nll": 0.5,
        }
        for layer in (-1, *said)
        for row in asked.to_pylist()
    ]
    return pa.Table.from_pylist(rows, schema=table("responses").schema())


def scored(request: Request) -> Reply:
    """A judge that gives 1 to the same answer, 4 to a fever and 10 to noise."""
    compared = request.compared
    if compared["first_answer"] == compared["second_answer"]:
        return verdict(1, "The same.")
    return verdict(4 if compared["second_answer"].startswith("fever") else 10, "Another.")


def judged(path: Path, server: Server, given: pa.Table, asked: pa.Table, **options: Any) -> Judgements:
    with open_verdicts(path / "judge.sqlite", "judge-1", RUBRIC) as verdicts:
        asking = Endpoint(server.url, "judge-1", timeout=5.0, retries=0)
        return judge_responses(asking, given, asked, verdicts, **{"repeats": 0, "seed": 0, **options})


def test_every_answer_gets_the_score_of_its_text_and_the_same_text_is_asked_once(tmp_path: Path) -> None:
    asked = prompts(terms=TERMS)
    given = responses(asked)
    with serving(scored) as server:
        found = judged(tmp_path, server, given, asked)
    validate(table("judgements"), found.rows)
    assert found.rows.num_rows == given.num_rows
    expected = {-1: 1, 0: 10, 1: 4, 2: 1}
    for row in found.rows.to_pylist():
        assert row["score"] == expected[row["layer"]]
        assert (row["judge"], row["rubric"], row["repeat"]) == ("judge-1", RUBRIC, 0)
        assert (row["prompt_tokens"], row["completion_tokens"]) == (100, 10)
    # Layer 2 says what the intact model says: it costs nothing more.
    assert (
        len(server.requests)
        == found.spent.asked
        == 3 * asked.num_rows
        == count_questions(given, asked, repeats=0, seed=0)
    )
    assert found.spent.prompt_tokens == 100 * found.spent.asked


def test_the_judge_sees_the_prompt_the_intact_answer_and_the_answer_under_the_lesion(tmp_path: Path) -> None:
    asked = prompts(terms=("aspirin",)).slice(0, 1)
    with serving(scored) as server:
        judged(tmp_path, server, responses(asked), asked)
    text = asked["text"][0].as_py()
    seen = sorted(tuple(request.compared.values()) for request in server.requests)
    assert seen == [(text, "pain aspirin", f"{said} aspirin") for said in ("fever", "noise", "pain")]


def test_a_sample_of_changed_answers_is_judged_twice_by_a_second_request(tmp_path: Path) -> None:
    asked = prompts(terms=TERMS)
    given = responses(asked)

    def wavering(request: Request) -> Reply:
        """Never the same score twice for the same content, but within a point."""
        content = str(request.compared)
        seen[content] += 1
        return verdict(5 + seen[content] % 2)

    seen: Counter[str] = Counter()
    with serving(wavering) as server:
        found = judged(tmp_path, server, given, asked, repeats=4)
        twice = [row for row in found.rows.to_pylist() if row["repeat"] == 1]
        assert len(twice) == 4
        assert all(row["layer"] in {0, 1} for row in twice), "an answer that did not change is not drawn"
        assert len(server.requests) == 3 * asked.num_rows + 4
        assert noise_floor(found.rows)["repeat_difference"] == 1.0
        judged(tmp_path, server, given, asked, repeats=4)
        assert len(server.requests) == 3 * asked.num_rows + 4
        larger = judged(tmp_path, server, given, asked, repeats=7)
        assert len(server.requests) == 3 * asked.num_rows + 7, "a larger sample holds the smaller one"
        everything = judged(tmp_path, server, given, asked, repeats=10_000)
    drawn = [
        {(row["layer"], row["template"], row["term"]) for row in rows.rows.to_pylist() if row["repeat"]}
        for rows in (found, larger, everything)
    ]
    assert drawn[0] < drawn[1] < drawn[2]
    assert len(drawn[2]) == 2 * asked.num_rows


def test_another_seed_draws_another_sample(tmp_path: Path) -> None:
    asked = prompts(terms=TERMS)
    with serving(scored) as server:
        samples = [
            {
                (row["layer"], row["template"], row["term"])
                for row in judged(tmp_path, server, responses(asked), asked, repeats=3, seed=seed).rows.to_pylist()
                if row["repeat"]
            }
            for seed in (0, 0, 1)
        ]
    assert samples[0] == samples[1] != samples[2]


def test_the_noise_floor_is_the_intact_scores_and_the_mean_distance_of_repeats() -> None:
    def row(lesion: str, layer: int, term: str, repeat: int, score: float) -> dict[str, Any]:
        named = {"lesion": lesion, "layer": layer, "template": "t", "term": term, "repeat": repeat, "score": score}
        return named | dict.fromkeys(("judge", "reason", "rubric"), "") | {"prompt_tokens": 0, "completion_tokens": 0}

    rows = [
        row("none", -1, "a", 0, 1),
        row("none", -1, "b", 0, 3),
        row("identity", 0, "a", 0, 7),
        row("identity", 0, "a", 1, 4),
        row("identity", 0, "b", 0, 2),
        row("identity", 1, "b", 0, 6),
        row("identity", 1, "b", 1, 6),
    ]
    found = noise_floor(pa.Table.from_pylist(rows, schema=table("judgements").schema()))
    assert found == {
        "intact": 2,
        "repeats": 2,
        "intact_mean": 2.0,
        "intact_above_lowest": 0.5,
        "repeat_difference": 1.5,
    }
    assert noise_floor(table("judgements").schema().empty_table()) == {"intact": 0, "repeats": 0}


@pytest.mark.parametrize("lack", ["prompt", "intact answer"])
def test_a_response_without_its_prompt_or_its_intact_answer_is_refused_before_anything_is_asked(
    tmp_path: Path, lack: str
) -> None:
    asked = prompts(terms=TERMS)
    given = responses(asked)
    if lack == "prompt":
        asked = asked.slice(1)
    else:
        given = given.slice(1)
    with serving(scored) as server, pytest.raises(InputError, match="extract the responses anew"):
        judged(tmp_path, server, given, asked)
    assert not server.requests


# The asset

COLOURS, NUMBERS = 24, 24
"""Prompts of the small library's two concepts."""


@pytest.fixture
def places(tmp_path: Path) -> Warehouse:
    """A warehouse with the prompts of two concepts and what a model said to them."""
    from extract.library import load_library
    from extract.prompts import library_tables

    found = Warehouse(
        root=str(tmp_path / "warehouse"),
        concepts=str(write_library(tmp_path / "concepts")),
        models=str(tmp_path / "models.toml"),
    )
    for concept in load_library(Path(found.concepts)).concepts:
        asked = library_tables(concept)["prompts"]
        found.store.write("prompts", asked, fingerprint="p", concept=concept.name)
        found.store.write("responses", responses(asked), fingerprint="r", model="tiny", concept=concept.name)
    return found


@pytest.fixture(autouse=True)
def _no_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "MODEL", "KEY", "PROMPT_PRICE", "COMPLETION_PRICE", "TIMEOUT", "PARALLEL"):
        monkeypatch.delenv(f"VESALIUS_JUDGE_{name}", raising=False)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        register_models(found, ["tiny"])
        yield found


def endpoint_is(monkeypatch: pytest.MonkeyPatch, server: Server, model: str = "judge-1") -> None:
    monkeypatch.setenv("VESALIUS_JUDGE_URL", server.url)
    monkeypatch.setenv("VESALIUS_JUDGE_MODEL", model)
    monkeypatch.setenv("VESALIUS_JUDGE_KEY", KEY)
    monkeypatch.setenv("VESALIUS_JUDGE_PROMPT_PRICE", "2")
    monkeypatch.setenv("VESALIUS_JUDGE_COMPLETION_PRICE", "8")


def materialize(
    places: Warehouse, instance: dg.DagsterInstance, lines: list[str] | None = None, **settings: Any
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [answers.judgements],
        partition_key="tiny",
        instance=instance,
        resources={
            "warehouse": places,
            "settings": Settings(**{"judge_repeats": 5, **settings}),
            "progress": LineProgress((lines if lines is not None else []).append),
        },
        raise_on_error=False,
    )


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = result.get_asset_materialization_events()
    return {name: value.value for name, value in event.materialization.metadata.items()}


def failures(result: dg.ExecuteInProcessResult) -> list[str]:
    """What a run says of the steps that failed."""
    return [str(event.step_failure_data.error) for event in result.all_events if event.is_step_failure]


def test_without_an_endpoint_the_asset_is_skipped_with_a_clear_word(
    places: Warehouse, instance: dg.DagsterInstance
) -> None:
    lines: list[str] = []
    result = materialize(places, instance, lines)
    assert result.success
    assert not result.get_asset_materialization_events()
    assert not result.get_asset_check_evaluations()
    told = [entry.user_message for entry in instance.all_logs(result.run_id)]
    for words in ("VESALIUS_JUDGE_URL", "VESALIUS_JUDGE_MODEL"):
        assert any(words in message for message in told)
        assert any(words in line for line in lines)
    assert not (Path(places.root) / "judgements").exists()
    assert not (Path(places.root) / answers.VERDICTS).exists()


def test_half_an_endpoint_is_an_error_and_not_a_skip(
    places: Warehouse, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VESALIUS_JUDGE_URL", "http://127.0.0.1:1/v1")
    result = materialize(places, instance)
    assert not result.success
    assert any("VESALIUS_JUDGE_MODEL is not" in told for told in failures(result))


def test_judgements_land_with_their_cost_and_noise_and_a_second_run_asks_nothing(
    places: Warehouse, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(scored) as server:
        endpoint_is(monkeypatch, server)
        result = materialize(places, instance)
        assert result.success
        (check,) = result.get_asset_check_evaluations()
        assert (check.check_name, check.passed) == (CONTRACT, True)
        found, rows = metadata(result), 4 * (COLOURS + NUMBERS) + 2 * 5
        assert (found["rows"], found["files_written"], found["forwards"]) == (rows, 2, 0)
        assert found["answers_asked"] == len(server.requests)
        assert found["judge_prompt_tokens"] == 100 * len(server.requests)
        assert found["judge_cost"] == pytest.approx((100 * 2 + 10 * 8) * len(server.requests) / 1e6)
        assert (found["judge"], found["rubric"]) == ("judge-1", RUBRIC)
        assert (found["noise_floor_intact_mean"], found["noise_floor_repeat_difference"]) == (1.0, 0.0)
        assert (found["noise_floor_intact"], found["noise_floor_repeats"]) == (COLOURS + NUMBERS, 10)
        before = len(server.requests)
        again = metadata(materialize(places, instance))
        assert (again["files_written"], again["files_current"], again["answers_asked"]) == (0, 2, 0)
        assert again["noise_floor_repeats"] == 10
        more = metadata(materialize(places, instance, judge_repeats=6))
        assert (more["files_written"], more["answers_asked"]) == (2, 2)
        assert len(server.requests) == before + 2
        other = metadata(materialize(places, instance, concepts=["colours"], judge_repeats=6, seed=1))
        assert other["files_written"] == 1


def test_the_address_and_the_key_are_no_part_of_what_a_judgement_depends_on(
    places: Warehouse, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(scored) as server:
        endpoint_is(monkeypatch, server)
        assert materialize(places, instance).success
    with serving(scored) as server:
        endpoint_is(monkeypatch, server)
        monkeypatch.setenv("VESALIUS_JUDGE_KEY", "another-key")
        assert metadata(materialize(places, instance))["files_written"] == 0
        assert not server.requests
        endpoint_is(monkeypatch, server, "judge-2")
        assert metadata(materialize(places, instance))["files_written"] == 2


def test_a_judge_that_fails_midway_fails_the_run_and_keeps_what_it_judged(
    places: Warehouse, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def giving_up(request: Request) -> Reply:
        return scored(request) if request.number < 30 else failure(401, f"Incorrect API key provided: {KEY}")

    with serving(giving_up) as server:
        endpoint_is(monkeypatch, server)
        result = materialize(places, instance)
    assert not result.success
    assert not list(Path(places.root).glob("judgements/**/*.parquet"))
    assert any("refuses the key" in told and "30 of " in told for told in failures(result))
    with serving(scored) as server:
        endpoint_is(monkeypatch, server)
        found = metadata(materialize(places, instance))
    assert found["answers_recalled"] == 30
    assert found["answers_asked"] == len(server.requests)


@pytest.mark.parametrize("bad", [False, True])
def test_the_key_is_in_no_file_no_metadata_and_no_log(
    places: Warehouse,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    bad: bool,
) -> None:
    def echoing(request: Request) -> Reply:
        reply = failure(401, f"not {KEY}") if bad and request.number > 9 else verdict(4, f"So says {KEY}.")
        return Reply(reply.body, reply.status, {"X-Key": KEY})

    lines: list[str] = []
    with caplog.at_level(logging.DEBUG), serving(echoing) as server:
        endpoint_is(monkeypatch, server)
        result = materialize(places, instance, lines)
    assert result.success != bad
    shown = capfd.readouterr()
    entries = instance.all_logs(result.run_id)
    told = [*lines, caplog.text, shown.out, shown.err, *(str(entry) for entry in entries), str(result.all_events)]
    assert all(KEY not in text for text in told)
    assert any("httpcore2" in record.name for record in caplog.records), "the wire was logged"
    files = [path for path in Path(places.root).rglob("*") if path.is_file()]
    assert any(path.name == answers.VERDICTS for path in files)
    assert all(KEY.encode() not in path.read_bytes() for path in files)
    for path in files:
        if "judgements" in path.parts:
            assert all(KEY not in reason for reason in pq.read_table(path)["reason"].to_pylist())


DOCS = (Path(__file__).parents[1] / "docs" / "judge.md").read_text(encoding="utf-8")


def test_the_docs_show_the_rubric_and_name_every_variable() -> None:
    for line in INSTRUCTIONS.splitlines():
        if found := re.fullmatch(r" ?(\d+)  (.*)", line):
            assert f"| {found[1]} | {found[2]} |" in DOCS
    for name in (URL, MODEL, KEY_VARIABLE, PROMPT_PRICE, COMPLETION_PRICE, TIMEOUT, PARALLEL):
        assert f"`{name}`" in DOCS
    assert f"default {Endpoint.timeout:g}" in DOCS
    assert f"default {Endpoint.parallel}" in DOCS


def test_the_statements_in_the_docs_tell_questions_noise_and_profile(
    places: Warehouse, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def biased(request: Request) -> Reply:
        return verdict(2) if request.compared["second_answer"].startswith("pain") else verdict(1 + request.number % 9)

    with serving(biased) as server:
        endpoint_is(monkeypatch, server)
        found = metadata(materialize(places, instance))
    build_catalog(Path(places.root))
    questions, noise, profile = re.findall(r"```sql\n(.*?)```", DOCS, flags=re.DOTALL)
    with connect(Path(places.root)) as connection:
        (row,) = ask(connection, questions).to_pylist()
        assert row["questions"] + found["noise_floor_repeats"] == found["answers_asked"]
        (row,) = ask(connection, noise).to_pylist()
        assert (row["model"], row["judge"], row["repeats"]) == ("tiny", "judge-1", found["noise_floor_repeats"])
        assert row["intact_mean"] == found["noise_floor_intact_mean"] == 2.0
        assert row["repeat_difference"] == pytest.approx(found["noise_floor_repeat_difference"])
        rows = ask(connection, profile).to_pylist()
    assert [(row["layer"], row["answers"]) for row in rows] == [(0, 24), (1, 24), (2, 24)] * 2
    assert [row["degradation"] for row in rows if row["layer"] == 2] == [2.0, 2.0]
