"""From answers under a lesion to the rows of the table `judgements`.

Which answers are judged, which of them twice, and what becomes of the verdicts. Every answer is judged against the
intact model's; the intact answer against itself, and a sample of answers a second time, tell how far the judge's scores
scatter where nothing changed. Asking is the affair of `judge`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from extract.endpoint import Endpoint
from extract.judge import Spent, judge_questions
from extract.rubric import LOWEST
from extract.verdicts import Question, Verdicts
from warehouse.errors import InputError
from warehouse.tables import table
from warehouse.versions import fingerprint

_KEYS = ("lesion", "layer", "template", "term")


@dataclass(frozen=True)
class Judgements:
    """What came of judging.

    Attributes:
        rows: the rows of the table `judgements`.
        spent: what it took in this run.
    """

    rows: pa.Table
    spent: Spent


def judge_responses(
    endpoint: Endpoint,
    responses: pa.Table,
    prompts: pa.Table,
    verdicts: Verdicts,
    *,
    repeats: int,
    seed: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Judgements:
    """Judge every answer, and some twice.

    The same prompt with the same two answers is one question, whichever layers gave it: it is asked once, and its rows
    show the same verdict and the same tokens.

    Args:
        endpoint: the judge.
        responses: rows of the table `responses`, those of the intact model among them.
        prompts: rows of the table `prompts`.
        verdicts: those that are there, and the place of new ones.
        repeats: how many answers under a lesion are judged a second time; more than there are means all.
        seed: which ones.
        progress: called with the number of questions that got their verdict; `count_questions` tells how many.

    Raises:
        InputError, TransientError, StoreError: as `judge_questions`; InputError also for a response without its prompt
            or its intact answer.
    """
    asked = _asked(responses, prompts, repeats, seed)
    found, spent = judge_questions(endpoint, [question for _, question in asked], verdicts, progress=progress)
    rows = []
    for row, question in asked:
        judged = found[question]
        rows.append(
            {key: row[key] for key in _KEYS}
            | {
                "judge": verdicts.judge,
                "repeat": question.repeat,
                "score": judged.score,
                "reason": judged.reason,
                "rubric": verdicts.rubric,
                "prompt_tokens": judged.prompt_tokens,
                "completion_tokens": judged.completion_tokens,
            }
        )
    return Judgements(pa.Table.from_pylist(rows, schema=table("judgements").schema()), spent)


def count_questions(responses: pa.Table, prompts: pa.Table, *, repeats: int, seed: int) -> int:
    """How many different questions a judge would be asked, were none of them answered yet.

    Raises:
        InputError: as `judge_responses`.
    """
    return len({question for _, question in _asked(responses, prompts, repeats, seed)})


def noise_floor(judgements: pa.Table) -> dict[str, float | int]:
    """How far the judge's scores are from what they should be where nothing changed.

    Args:
        judgements: rows of the table `judgements`, of one judge.

    Returns:
        `intact_mean`: mean score of intact answers against themselves; a judge without noise gives 1.
        `intact_above_lowest`: share of them above 1.
        `repeat_difference`: mean distance in points between the two scores of an answer that was judged twice.
        `intact`, `repeats`: how many answers these are about; what is about none is left out.
    """
    scores = {(*(row[name] for name in _KEYS), row["repeat"]): row["score"] for row in judgements.to_pylist()}
    intact = [score for key, score in scores.items() if key[0] == "none"]
    twice = [abs(score - scores[*key[:-1], 0]) for key, score in scores.items() if key[-1]]
    found: dict[str, float | int] = {"intact": len(intact), "repeats": len(twice)}
    if intact:
        found["intact_mean"] = sum(intact) / len(intact)
        found["intact_above_lowest"] = sum(score > LOWEST for score in intact) / len(intact)
    if twice:
        found["repeat_difference"] = sum(twice) / len(twice)
    return found


def _asked(responses: pa.Table, prompts: pa.Table, repeats: int, seed: int) -> list[tuple[dict[str, Any], Question]]:
    """Each row that will be, by the response that it is about, and the question that it asks."""
    texts = {
        (template, term): text
        for template, term, text in zip(
            *(prompts[name].to_pylist() for name in ("template", "term", "text")), strict=True
        )
    }
    rows = responses.select([*_KEYS, "response"]).to_pylist()
    intact = {(row["template"], row["term"]): row["response"] for row in rows if row["lesion"] == "none"}
    asked = []
    for row in rows:
        key = (row["template"], row["term"])
        if key not in texts or key not in intact:
            raise InputError(
                f"The response to {key} has no prompt or no intact answer beside it: extract the responses anew."
            )
        asked.append((row, Question(texts[key], intact[key], row["response"])))
    return asked + [(row, _again(question)) for row, question in _sample(asked, repeats, seed)]


def _sample(
    asked: list[tuple[dict[str, Any], Question]], size: int, seed: int
) -> list[tuple[dict[str, Any], Question]]:
    """Answers under a lesion that differ from the intact one, drawn by a hash of seed and key.

    A larger sample holds the smaller one, and what was paid for stays of use. Answers that equal the intact one are
    left out: that two equal texts get the same score twice tells little of how the others scatter.
    """
    changed = [item for item in asked if item[1].answer != item[1].intact]
    return sorted(changed, key=lambda item: fingerprint(seed=seed, key=[item[0][name] for name in _KEYS]))[:size]


def _again(question: Question) -> Question:
    return Question(question.prompt, question.intact, question.answer, repeat=1)
