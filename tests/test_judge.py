"""A judge is asked, answers or fails, and nothing is paid for twice, lost, or told that is a secret."""

import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from judge_servers import Reply, Request, Server, completion, failure, free_port, hanging_up, serving, verdict
from pydantic import SecretStr
from tiny_models import save_tiny

from extract.endpoint import Endpoint, endpoint_from
from extract.judge import TRIES, judge_questions
from extract.rubric import INSTRUCTIONS, RESPONSE_FORMAT, RUBRIC, Verdict, read_verdict
from extract.verdicts import Judged, Question, open_verdicts
from warehouse.errors import InputError, StoreError, TransientError, VesaliusError

KEY = "sk-top-secret-0123456789"
QUESTIONS = [Question(f"The drug {number} is for", "pain", f"answer {number}") for number in range(6)]


def endpoint(server: Server | str, **options: Any) -> Endpoint:
    url = server if isinstance(server, str) else server.url
    return Endpoint(url, "judge-1", SecretStr(KEY), **{"timeout": 5.0, "retries": 1, **options})


def judge(
    path: Path, asked: Endpoint, questions: list[Question] = QUESTIONS[:1], rubric: str = RUBRIC
) -> dict[Question, Judged]:
    with open_verdicts(path / "judge.sqlite", asked.model, rubric) as verdicts:
        return judge_questions(asked, questions, verdicts)[0]


# The endpoint in the environment


def test_no_endpoint_in_the_environment_is_none_and_a_whole_one_is_taken() -> None:
    assert endpoint_from({}) is endpoint_from({"VESALIUS_JUDGE_URL": " ", "VESALIUS_JUDGE_KEY": KEY}) is None
    found = endpoint_from(
        {
            "VESALIUS_JUDGE_URL": "https://judge.example/v1/",
            "VESALIUS_JUDGE_MODEL": "judge-1",
            "VESALIUS_JUDGE_KEY": f"{KEY}\n",
            "VESALIUS_JUDGE_PROMPT_PRICE": "2.5",
            "VESALIUS_JUDGE_COMPLETION_PRICE": "10",
            "VESALIUS_JUDGE_TIMEOUT": "90",
            "VESALIUS_JUDGE_PARALLEL": "8",
        }
    )
    assert found == Endpoint("https://judge.example/v1", "judge-1", SecretStr(KEY), 2.5, 10.0, timeout=90.0, parallel=8)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"URL": ""}, "VESALIUS_JUDGE_MODEL is set and VESALIUS_JUDGE_URL is not"),
        ({"MODEL": ""}, "VESALIUS_JUDGE_URL is set and VESALIUS_JUDGE_MODEL is not"),
        ({"URL": KEY}, "is no address"),
        ({"URL": f"ftp://{KEY}"}, "is no address"),
        ({"URL": f"http://[{KEY}"}, "is no address"),
        ({"URL": f"https://me:{KEY}@judge.example/v1"}, "put the key into VESALIUS_JUDGE_KEY"),
        ({"URL": f"https://judge.example/v1?key={KEY}"}, "put the key into VESALIUS_JUDGE_KEY"),
        ({"KEY": f"{KEY}\r\nX: {KEY}"}, "characters that a key can't have"),
        ({"KEY": f"{KEY}…"}, "characters that a key can't have"),
        ({"PROMPT_PRICE": "1"}, "together"),
        ({"PROMPT_PRICE": "1", "COMPLETION_PRICE": "-1"}, "not '-1'"),
        ({"TIMEOUT": "soon"}, "not 'soon'"),
        ({"TIMEOUT": "0"}, "above 0"),
        ({"PARALLEL": "2.5"}, "whole number"),
    ],
)
def test_half_an_endpoint_is_refused_by_the_name_of_the_variable_and_without_its_value(
    changed: dict[str, str], said: str
) -> None:
    given = {"URL": "http://127.0.0.1:8000/v1", "MODEL": "judge-1", "KEY": KEY} | changed
    with pytest.raises(InputError) as caught:
        endpoint_from({f"VESALIUS_JUDGE_{name}": value for name, value in given.items()})
    assert said in str(caught.value)
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_an_endpoint_that_is_printed_shows_no_key_and_knows_its_price() -> None:
    found = endpoint("http://127.0.0.1:8000/v1", prompt_price=2.0, completion_price=8.0)
    assert KEY not in f"{found} {found!r} {[found]}"
    assert found.cost(1_000_000, 500_000) == pytest.approx(2.0 + 4.0)
    assert endpoint("http://127.0.0.1:8000/v1").cost(1, 1) is None


# What a judge says


@pytest.mark.parametrize(
    "reply",
    [
        '{"reason": "other", "score": 6}',
        '```json\n{"score": 6, "reason": " other "}\n```',
        'The form is {"reason": "...", "score": 1}. So:\n{"reason": "other", "score": 6} I hope this helps {you}.',
        '<think>{"score": 2}</think>{"reason": "other", "score": 6, "confidence": {"high": true}}',
    ],
)
def test_a_verdict_is_found_in_what_stands_around_it(reply: str) -> None:
    assert read_verdict(reply) == Verdict(reason="other", score=6)


UNFIT = {
    "not JSON": "I would say a six.",
    "empty": "",
    "cut off": '{"reason": "it says something el',
    "a list": "[6]",
    "score 11": '{"reason": "r", "score": 11}',
    "score 0": '{"reason": "r", "score": 0}',
    "half points": '{"reason": "r", "score": 6.5}',
    "a word for a number": '{"reason": "r", "score": "six"}',
    "true": '{"reason": "r", "score": true}',
    "no reason": '{"score": 6}',
    "brackets": "{" * 3000,
}


@pytest.mark.parametrize("reply", UNFIT.values(), ids=UNFIT)
def test_a_reply_that_does_not_fit_is_told_why(reply: str) -> None:
    with pytest.raises(ValueError, match=r"JSON object|score|reason"):
        read_verdict(reply)


def test_the_rubric_names_every_score_and_has_the_same_hash_in_every_process() -> None:
    assert all(f"\n{score:2}  " in INSTRUCTIONS for score in range(1, 11))
    assert RESPONSE_FORMAT["json_schema"]["schema"]["properties"]["score"]["enum"] == list(range(1, 11))
    script = "import extract.rubric as r; print(r.RUBRIC)"
    (said,) = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert said == RUBRIC


# Judging


def test_every_question_is_asked_once_with_rubric_key_form_and_temperature(tmp_path: Path) -> None:
    def reply(request: Request) -> Reply:
        return verdict(1 + int(request.compared["second_answer"][-1]), "because")

    with serving(reply) as server:
        found = judge(tmp_path, endpoint(server), QUESTIONS)
    assert found == {question: Judged(1 + place, "because", 100, 10) for place, question in enumerate(QUESTIONS)}
    assert len(server.requests) == len(QUESTIONS)
    for request in server.requests:
        assert request.path == "/v1/chat/completions"
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert (request.body["model"], request.body["temperature"]) == ("judge-1", 0)
        assert request.body["response_format"] == RESPONSE_FORMAT
        assert request.body["messages"][0] == {"role": "system", "content": INSTRUCTIONS}
        assert request.compared["first_answer"] == "pain"
    assert {request.compared["prompt"] for request in server.requests} == {question.prompt for question in QUESTIONS}


def test_several_requests_are_under_way_at_once_but_no_more_than_allowed(tmp_path: Path) -> None:
    def slow(_: Request) -> Reply:
        found = verdict(3)
        return Reply(found.body, delay=0.15)

    with serving(slow) as server:
        judge(tmp_path, endpoint(server, parallel=3), QUESTIONS)
    assert server.together == 3


def test_what_was_judged_is_not_paid_for_again(tmp_path: Path) -> None:
    with serving(lambda _: verdict(4)) as server:
        asked = endpoint(server)
        first = judge(tmp_path, asked, QUESTIONS + QUESTIONS)
        assert len(server.requests) == len(QUESTIONS)
        counts: list[int] = []
        with open_verdicts(tmp_path / "judge.sqlite", asked.model, RUBRIC) as verdicts:
            again, spent = judge_questions(asked, QUESTIONS, verdicts, progress=counts.append)
        assert (again, len(server.requests), sum(counts)) == (first, len(QUESTIONS), len(QUESTIONS))
        assert (spent.asked, spent.recalled, spent.prompt_tokens) == (0, len(QUESTIONS), 0)


def test_another_judge_rubric_repeat_or_text_is_another_question(tmp_path: Path) -> None:
    question = Question("p", "a", "b")
    others = [Question("q", "a", "b"), Question("p", "c", "b"), Question("p", "a", "c"), Question("p", "a", "b", 1)]
    with serving(lambda _: verdict(4)) as server:
        asked = endpoint(server)
        judge(tmp_path, asked, [question])
        judge(tmp_path, asked, others)
        judge(tmp_path, asked, [question], rubric="another")
        judge(tmp_path, Endpoint(server.url, "judge-2"), [question])
        assert len(server.requests) == 1 + len(others) + 2
        judge(tmp_path, asked, [question, *others])
        assert len(server.requests) == 1 + len(others) + 2


def test_tokens_are_counted_over_all_tries_and_a_server_that_counts_none_is_borne_with(tmp_path: Path) -> None:
    def reply(request: Request) -> Reply:
        return completion("Hm.", read=70, written=3) if request.number == 0 else verdict(5)

    with serving(reply) as server:
        assert judge(tmp_path, endpoint(server)) == {QUESTIONS[0]: Judged(5, "It says something else.", 170, 13)}

    def uncounted(_: Request) -> Reply:
        body = dict(verdict(5).body)
        del body["usage"]
        return Reply(body)

    with serving(uncounted) as server:
        found = judge(tmp_path, endpoint(server), QUESTIONS[1:2])
    assert found[QUESTIONS[1]] == Judged(5, "It says something else.", 0, 0)


# Replies that don't fit, and options that are refused


@pytest.mark.parametrize("unfit", UNFIT.values(), ids=UNFIT)
def test_a_reply_that_does_not_fit_is_asked_for_again_with_the_reason(tmp_path: Path, unfit: str) -> None:
    with serving(lambda request: completion(unfit) if request.number == 0 else verdict(7)) as server:
        assert judge(tmp_path, endpoint(server))[QUESTIONS[0]].score == 7
    said = server.requests[1].body["messages"]
    assert [message["role"] for message in said] == ["system", "user", "assistant", "user"]
    assert said[2]["content"] == unfit[:500]
    assert "can't be used" in said[3]["content"]


STRANGE = {
    "no content": completion(None),
    "HTML": Reply("<html>Welcome</html>", headers={"Content-Type": "text/html"}),
    "no JSON under its name": Reply("Welcome, {"),
    "other JSON": Reply({"hello": "world"}),
    "no choices": Reply({**verdict(5).body, "choices": []}),
    "a list": Reply([1, 2]),
    "score 11": verdict(11),
}


@pytest.mark.parametrize("reply", STRANGE.values(), ids=STRANGE)
def test_a_judge_that_never_fits_is_given_up_after_some_tries(tmp_path: Path, reply: Reply) -> None:
    with serving(lambda _: reply) as server, pytest.raises(InputError) as caught:
        judge(tmp_path, endpoint(server))
    assert len(server.requests) <= 2 * TRIES
    assert "fits" in str(caught.value) or "no JSON" in str(caught.value)


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("option", ["response_format", "temperature", "max_completion_tokens"])
def test_an_option_that_is_refused_is_left_out_from_then_on(tmp_path: Path, option: str, status: int) -> None:
    def reply(request: Request) -> Reply:
        return failure(status, f"'{option}' is not supported here") if option in request.body else verdict(2)

    with serving(reply) as server:
        found = judge(tmp_path, endpoint(server, parallel=1), QUESTIONS)
    assert {judged.score for judged in found.values()} == {2}
    assert len(server.requests) == len(QUESTIONS) + 1
    others = {"response_format", "temperature", "max_completion_tokens"} - {option}
    assert all(others <= set(request.body) for request in server.requests)


def test_a_refusal_that_names_no_option_is_tried_without_each_and_is_not_held_against_the_others(
    tmp_path: Path,
) -> None:
    def reply(request: Request) -> Reply:
        return failure(400, "content policy") if request.compared["second_answer"] == "answer 2" else verdict(2)

    with serving(reply) as server, pytest.raises(InputError, match="content policy"):
        judge(tmp_path, endpoint(server, parallel=1), QUESTIONS)
    assert [set(request.body) - {"model", "messages"} for request in server.requests[2:]] == [
        {"response_format", "temperature", "max_completion_tokens"},
        {"temperature", "max_completion_tokens"},
        {"max_completion_tokens"},
        set(),
    ]
    with serving(lambda _: verdict(2)) as server:
        judge(tmp_path, endpoint(server, parallel=1), QUESTIONS)
    assert len(server.requests) == len(QUESTIONS) - 2


# Failures that pass, and failures that stay


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503])
def test_a_failure_that_passes_is_tried_again(tmp_path: Path, status: int) -> None:
    with serving(lambda request: failure(status) if request.number == 0 else verdict(3)) as server:
        assert judge(tmp_path, endpoint(server))[QUESTIONS[0]].score == 3
    assert len(server.requests) == 2


def test_the_client_waits_as_long_as_it_is_asked_to(tmp_path: Path) -> None:
    with serving(lambda request: failure(429, retry_after="2") if request.number == 0 else verdict(3)) as server:
        started = time.monotonic()
        judge(tmp_path, endpoint(server))
        assert time.monotonic() - started >= 2


def test_a_slow_reply_is_tried_again_and_given_up_in_the_end(tmp_path: Path) -> None:
    slow = Reply(verdict(3).body, delay=1.0)
    with serving(lambda request: slow if request.number == 0 else verdict(3)) as server:
        assert judge(tmp_path, endpoint(server, timeout=0.3))[QUESTIONS[0]].score == 3
    with serving(lambda _: slow) as server, pytest.raises(TransientError, match=r"within 0\.3 s, 2 times"):
        judge(tmp_path, endpoint(server, timeout=0.3), QUESTIONS[1:2])
    assert len(server.requests) == 2


def test_a_reply_that_comes_letter_by_letter_does_not_hold_the_run_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extract.judge._LONGEST_WAIT", 0.0)
    trickling = Reply(verdict(3).body, trickle=0.1)
    with (
        serving(lambda _: trickling) as server,
        pytest.raises(TransientError, match="did not come to an end within 1 s"),
    ):
        judge(tmp_path, endpoint(server, timeout=0.5, retries=1))


FAILURES: dict[str, tuple[Reply, type[VesaliusError], str]] = {
    "401": (failure(401, f"Incorrect API key provided: {KEY}"), InputError, "refuses the key"),
    "403": (failure(403, f"{KEY} may not"), InputError, "refuses the key"),
    "404": (failure(404, "no such model"), InputError, "knows no model 'judge-1'"),
    "402": (failure(402, "top up"), InputError, "paid"),
    "quota": (failure(429, "you are out of it", code="insufficient_quota"), InputError, "paid"),
    "429": (failure(429, f"slow down, {KEY}"), TransientError, "too many requests"),
    "429 for an hour": (failure(429, retry_after="3600"), TransientError, "asks to wait 3600 s"),
    "500": (failure(500, f"broken while serving {KEY}"), TransientError, "status 500"),
    "418": (failure(418, f"teapot for {KEY}"), InputError, "teapot"),
    "400": (failure(400, f"bad {KEY}", x_echo=KEY), InputError, "status 400"),
    "words": (completion(f"Your key is {KEY}"), InputError, "gave no verdict that fits"),
}


@pytest.mark.parametrize(("reply", "error", "said"), FAILURES.values(), ids=FAILURES)
def test_a_failure_that_stays_is_one_clear_error_without_the_key_and_what_was_judged_is_kept(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    reply: Reply,
    error: type[VesaliusError],
    said: str,
) -> None:
    echo = Reply(reply.body, reply.status, {"X-Your-Key": KEY, **reply.headers})
    with caplog.at_level(logging.DEBUG), serving(lambda request: verdict(3) if request.number < 3 else echo) as server:
        for name in ("openai", "openai._base_client", "httpx2", "httpcore2"):
            logging.getLogger(name).setLevel(logging.DEBUG)
        try:
            with pytest.raises(error) as caught:
                judge(tmp_path, endpoint(server, parallel=1), QUESTIONS)
        finally:
            for name in ("openai", "openai._base_client", "httpx2", "httpcore2"):
                logging.getLogger(name).setLevel(logging.NOTSET)
    assert said in str(caught.value)
    assert "3 of 6 answers" in str(caught.value)
    told = "".join(traceback.format_exception(caught.value))
    assert server.url in told
    assert caught.value.__context__ is None
    assert any(record.name.startswith("httpcore2") for record in caplog.records), "the wire was logged"
    for text in (told, caplog.text, *(str(vars(record)) for record in caplog.records)):
        assert KEY not in text
    assert all(KEY.encode() not in path.read_bytes() for path in tmp_path.iterdir())
    with serving(lambda _: verdict(9)) as server:
        found = judge(tmp_path, endpoint(server), QUESTIONS)
    assert [found[question].score for question in QUESTIONS] == [3, 3, 3, 9, 9, 9]
    assert len(server.requests) == 3


def test_a_key_in_a_reason_is_not_kept(tmp_path: Path) -> None:
    with serving(lambda _: verdict(3, f"I was called with {KEY}.")) as server:
        found = judge(tmp_path, endpoint(server))
    assert found[QUESTIONS[0]].reason == "I was called with [key]."
    assert KEY.encode() not in (tmp_path / "judge.sqlite").read_bytes()


def test_a_server_that_is_not_there_or_hangs_up_is_named(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match=r"http://127\.0\.0\.1:\d+/v1 can't be reached .*tried 2 times"):
        judge(tmp_path, endpoint(f"http://127.0.0.1:{free_port()}/v1"))
    with hanging_up() as url, pytest.raises(TransientError, match="can't be reached"):
        judge(tmp_path, endpoint(url))


# The file of verdicts

KILLED = """
import sys
from pathlib import Path
from extract.endpoint import Endpoint
from extract.judge import judge_questions
from extract.rubric import RUBRIC
from extract.verdicts import Question, open_verdicts
questions = [Question("p", "a", str(number)) for number in range(40)]
with open_verdicts(Path(sys.argv[1]), "judge-1", RUBRIC) as verdicts:
    judge_questions(Endpoint(sys.argv[2], "judge-1"), questions, verdicts)
"""


def test_a_run_that_is_killed_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path, questions = tmp_path / "judge.sqlite", [Question("p", "a", str(number)) for number in range(40)]
    with serving(lambda _: Reply(verdict(3).body, delay=0.05)) as server:
        run = subprocess.Popen([sys.executable, "-c", KILLED, str(path), server.url])
        try:
            while len(server.requests) < 15 and run.poll() is None:
                time.sleep(0.01)
        finally:
            run.send_signal(signal.SIGKILL)
            run.wait()
        seen = len(server.requests)
        assert 15 <= seen < len(questions)
        judge(tmp_path, Endpoint(server.url, "judge-1"), questions)
        # Those under way when it was killed are asked again, no other.
        assert len(questions) <= len(server.requests) <= len(questions) + 2 * Endpoint.parallel
        judge(tmp_path, Endpoint(server.url, "judge-1"), questions)
        assert len(server.requests) <= len(questions) + 2 * Endpoint.parallel


def test_two_processes_can_keep_verdicts_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "judge.sqlite"
    with open_verdicts(path, "j", "r") as one, open_verdicts(path, "j", "r") as other:
        one.keep(QUESTIONS[0], Judged(3, "a", 1, 2))
        assert other.find(QUESTIONS[0]) == Judged(3, "a", 1, 2)
        other.keep(QUESTIONS[1], Judged(4, "b", 1, 2))
        assert one.find(QUESTIONS[1]) == Judged(4, "b", 1, 2)


def test_the_file_holds_neither_prompt_nor_answer_nor_address(tmp_path: Path) -> None:
    with serving(lambda _: verdict(3)) as server:
        judge(tmp_path, endpoint(server), QUESTIONS)
        held = (tmp_path / "judge.sqlite").read_bytes()
        for text in (KEY, server.url, "The drug", "answer 1"):
            assert text.encode() not in held
    with closing(sqlite3.connect(tmp_path / "judge.sqlite")) as file:
        assert file.execute("SELECT count(*), min(judge), min(rubric) FROM verdicts").fetchone() == (
            len(QUESTIONS),
            "judge-1",
            RUBRIC,
        )


def test_a_file_that_is_none_of_ours_is_told_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "judge.sqlite"
    path.write_text("no database at all, but long enough to be read as the header of one" * 20)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="move it away"), open_verdicts(path, "j", "r"):
        pass
    assert path.read_bytes() == before


# A real server


@pytest.fixture(scope="module")
def transformers_serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """`transformers serve` with a random Llama: its base URL, and the model's name there."""
    folder = save_tiny(tmp_path_factory.mktemp("served") / "tiny-llama")
    config = folder / "tokenizer_config.json"
    chat = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"chat_template": chat}))
    port = free_port()
    program = Path(sys.executable).with_name("transformers")
    with (folder.parent / "log").open("w") as log:
        server = subprocess.Popen(
            [program, "serve", str(folder), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"],
            stdout=log,
            stderr=log,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HF_HOME": str(folder.parent)},
        )
        try:
            _wait_until(lambda: _healthy(port), server, folder.parent / "log")
            yield f"http://127.0.0.1:{port}/v1", str(folder)
        finally:
            server.terminate()
            server.wait(timeout=30)


def _wait_until(ready: Callable[[], bool], server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        if ready():
            return
        assert server.poll() is None, log.read_text()
        time.sleep(0.2)
    raise AssertionError(log.read_text())


def _healthy(port: int) -> bool:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@pytest.mark.slow
def test_a_real_server_is_asked_and_a_model_that_babbles_is_given_up(
    tmp_path: Path, transformers_serve: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, model = transformers_serve
    asked = Endpoint(url, model, SecretStr(KEY), timeout=120.0, retries=0, longest_reply=12)
    with pytest.raises(InputError, match=r"gave no verdict that fits in 3 tries: .*Its last reply: '.+'"):
        judge(tmp_path, asked)
    # The same server, with a judge that takes babble for a verdict: the reply's form and its counts are as expected.
    monkeypatch.setattr("extract.judge.read_verdict", lambda reply: Verdict(reason=reply, score=10))
    (judged,) = judge(tmp_path, asked).values()
    assert judged.score == 10
    assert judged.reason
    assert 0 < judged.completion_tokens <= 12
    assert judged.prompt_tokens > 100


@pytest.mark.slow
def test_a_real_server_that_is_asked_for_another_model_says_so(
    tmp_path: Path, transformers_serve: tuple[str, str]
) -> None:
    url, _ = transformers_serve
    with pytest.raises(InputError, match="pinned"):
        judge(tmp_path, Endpoint(url, "another-model", retries=0, timeout=30.0))
    with pytest.raises(InputError, match="status 404"):
        judge(tmp_path, Endpoint(url.removesuffix("/v1"), "another-model", retries=0, timeout=30.0))
