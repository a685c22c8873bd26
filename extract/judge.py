"""A language model that judges answers, behind any OpenAI-compatible endpoint.

Belongs here: how it is asked, with several requests at once, options that it may refuse, and another try where a reply
does not fit. The client retries by itself what may pass, with back-off and as long as `Retry-After` says. Where the
endpoint is stands in `endpoint`, what its failures mean in `endpoint_errors`, what it is told in `rubric`, where its
verdicts are kept in `verdicts`, which answers are judged in `judgements`.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from extract.endpoint import MODEL, TIMEOUT, Endpoint
from extract.endpoint_errors import in_our_words, redacted, redacting_logs, refused_option
from extract.rubric import RESPONSE_FORMAT, Messages, asked_again, messages, read_verdict
from extract.verdicts import Judged, Question, Verdicts
from warehouse.errors import InputError, TransientError, VesaliusError

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletionMessageParam

TRIES = 3
"""How often a question is asked until a reply fits."""

_LONGEST_WAIT = 120.0
"""Seconds that the client waits at most between two tries, if the server asks it to."""

_LONGEST_QUOTE = 200


@dataclass(frozen=True)
class Spent:
    """What judging took in this run.

    Attributes:
        asked: questions that the judge was asked.
        recalled: questions whose verdict was there already.
        prompt_tokens, completion_tokens: read and written by the judge in this run.
    """

    asked: int = 0
    recalled: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def and_asked(self, judged: Judged) -> "Spent":
        """The sum with one more question that was asked."""
        return Spent(
            self.asked + 1,
            self.recalled,
            self.prompt_tokens + judged.prompt_tokens,
            self.completion_tokens + judged.completion_tokens,
        )

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(
            self.asked + other.asked,
            self.recalled + other.recalled,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


def judge_questions(
    endpoint: Endpoint,
    questions: Sequence[Question],
    verdicts: Verdicts,
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[dict[Question, Judged], Spent]:
    """The verdict on each question: the one that is kept, or a new one, which is kept at once.

    Args:
        endpoint: who is asked.
        questions: what is judged; the same question twice is asked once.
        verdicts: those that are there, and the place of new ones.
        progress: called with the number of questions that got their verdict.

    Raises:
        InputError: the endpoint refuses the key, the model or the request, or its replies don't fit.
        TransientError: it can't be reached, is too slow, or fails, and did so after all retries.
        StoreError: verdicts can't be kept.
    """
    with redacting_logs(endpoint):
        return asyncio.run(_judge(endpoint, list(dict.fromkeys(questions)), verdicts, progress))


async def _judge(
    endpoint: Endpoint, questions: list[Question], verdicts: Verdicts, progress: Callable[[int], None]
) -> tuple[dict[Question, Judged], Spent]:
    found = {question: kept for question in questions if (kept := verdicts.find(question)) is not None}
    spent = Spent(recalled=len(found))
    progress(len(found))
    waiting = iter([question for question in questions if question not in found])
    errors: list[VesaliusError] = []

    async def work(judge: "_Judge", questions: Iterator[Question]) -> None:
        nonlocal spent
        for question in questions:
            try:
                judged = await judge.ask(question)
                verdicts.keep(question, judged)
            except VesaliusError as error:
                errors.append(error)
            else:
                found[question] = judged
                spent = spent.and_asked(judged)
                progress(1)
            if errors:
                return

    if len(found) < len(questions):
        async with _client(endpoint) as client:
            judge = _Judge(endpoint, client)
            # All take from one iterator: who is free asks the next. After an error those under way come to their end.
            await asyncio.gather(*(work(judge, waiting) for _ in range(endpoint.parallel)))
    if errors:
        worst = min(errors, key=lambda error: isinstance(error, TransientError))
        raise type(worst)(f"{worst} What was judged so far is kept: {len(found)} of {len(questions)} answers.")
    return found, spent


class _Judge:
    """Asks one question at a time; knows which options the endpoint takes."""

    def __init__(self, endpoint: Endpoint, client: "AsyncOpenAI") -> None:
        self._endpoint = endpoint
        self._client = client
        self._options: dict[str, Any] = {
            "response_format": RESPONSE_FORMAT,
            "temperature": 0,
            "max_completion_tokens": endpoint.longest_reply,
        }

    async def ask(self, question: Question) -> Judged:
        """The judge's verdict.

        Raises:
            InputError, TransientError: as `judge_questions`.
        """
        asked = conversation = messages(question.prompt, question.intact, question.answer)
        read = written = 0
        reply, fault = "", ""
        for _ in range(TRIES):
            completion = await self._send(conversation)
            read += _tokens(completion, "prompt_tokens")
            written += _tokens(completion, "completion_tokens")
            reply = redacted(_text(completion), self._endpoint)
            try:
                verdict = read_verdict(reply)
            except ValueError as error:
                fault = str(error)
                conversation = asked_again(asked, reply, fault)
            else:
                return Judged(verdict.score, verdict.reason, read, written)
        raise InputError(
            f"The judge {self._endpoint.model!r} at {self._endpoint.url} gave no verdict that fits in {TRIES} tries: "
            f"{fault}. Its last reply: {reply[:_LONGEST_QUOTE]!r}. Choose a model that follows instructions ({MODEL}), "
            "and see that the address is a chat endpoint's."
        )

    async def _send(self, conversation: Messages) -> Any:
        """The endpoint's reply; options that it refuses are left out, from then on."""
        import openai

        options = dict(self._options)
        most = (self._endpoint.retries + 1) * (self._endpoint.timeout + _LONGEST_WAIT)
        while True:
            # Errors are made within the handlers and raised after them: the client's own hold the key.
            failure: VesaliusError | None = None
            try:
                async with asyncio.timeout(most):
                    completion = await self._client.chat.completions.create(
                        model=self._endpoint.model,
                        messages=cast("list[ChatCompletionMessageParam]", conversation),
                        **options,
                    )
            except openai.APIStatusError as error:
                refused = refused_option(error, options)
                if refused is not None:
                    del options[refused]
                    continue
                failure = in_our_words(error, self._endpoint)
            except openai.OpenAIError as error:
                failure = in_our_words(error, self._endpoint)
            except TimeoutError:
                failure = TransientError(
                    f"The judge at {self._endpoint.url} did not come to an end within {most:g} s. Try again later, or "
                    f"give it more time with {TIMEOUT}."
                )
            except ValueError as error:
                # The client lets the fault of a reply through that calls itself JSON and is none.
                failure = InputError(
                    f"{self._endpoint.url} gave a reply that is no JSON ({type(error).__name__}). Is it the base URL "
                    "of a chat endpoint? It mostly ends in /v1."
                )
            if failure is not None:
                raise failure
            self._options = {name: value for name, value in self._options.items() if name in options}
            return completion


def _client(endpoint: Endpoint) -> "AsyncOpenAI":
    from openai import AsyncOpenAI

    return AsyncOpenAI(
        base_url=endpoint.url,
        api_key=endpoint.key.get_secret_value() or "none",
        timeout=endpoint.timeout,
        max_retries=endpoint.retries,
    )


def _text(completion: Any) -> str:
    """What the model wrote, or the text of a reply that is none of a chat endpoint: it will not fit, and be quoted."""
    try:
        return str(completion.choices[0].message.content or "")
    except (AttributeError, IndexError, TypeError):
        return str(completion)


def _tokens(completion: Any, name: str) -> int:
    """What the endpoint says of the tokens of a reply; 0 where it says nothing that can be counted."""
    found = getattr(getattr(completion, "usage", None), name, None)
    return found if isinstance(found, int) and found >= 0 else 0
