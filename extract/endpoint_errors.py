"""What the failures of an endpoint mean, in our words; and the key kept out of every word.

A server may answer with the key that it was sent, and the client's exceptions and debug logs repeat what it says. What
is said here is free of it. Asking, and asking again, is in `judge`.
"""

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from extract.endpoint import KEY, MODEL, TIMEOUT, URL, Endpoint
from warehouse.errors import InputError, TransientError, VesaliusError

if TYPE_CHECKING:
    from openai import APIStatusError, OpenAIError

_LOGGERS = (
    "openai",
    "openai._base_client",
    "httpx2",
    "httpcore2.connection",
    "httpcore2.http11",
    "httpcore2.http2",
    "httpcore2.proxy",
)
"""Who writes to the log what a server says. A filter is not handed down to a logger's children, so each is named."""

_SHORTEST_SECRET = 6
"""Letters from which a key is taken for one: local servers are given 'none' or 'x', words that messages are made of."""

_LONGEST_QUOTE = 300


def in_our_words(error: "OpenAIError", endpoint: Endpoint) -> VesaliusError:
    """An error of ours for one of the client's, raised once its own retries are used up.

    Returns:
        A `TransientError` for what may pass (no connection, too slow, too many requests, the server's own faults), an
        `InputError` for what the user has to mend.
    """
    import openai

    where, times = endpoint.url, f"{endpoint.retries + 1} times"
    if isinstance(error, openai.APITimeoutError):
        return TransientError(
            f"The judge at {where} did not answer within {endpoint.timeout:g} s, {times} in a row. Try again later, or "
            f"give it more time with {TIMEOUT}."
        )
    if isinstance(error, openai.APIConnectionError):
        reason = type(error.__cause__).__name__ if error.__cause__ else "no connection"
        return TransientError(
            f"The judge at {where} can't be reached ({reason}), tried {times}. Start the server, or correct {URL}."
        )
    if not isinstance(error, openai.APIStatusError):
        return InputError(
            f"{where} gave a reply that is none of a chat endpoint: {_quoted(str(error), endpoint)}. {URL} is to be "
            "its base URL, which mostly ends in /v1."
        )
    return _of_status(error, endpoint)


def refused_option(error: "APIStatusError", options: Collection[str]) -> str | None:
    """The option that a request is to be sent again without: the one that the refusal names, else the next in turn."""
    if error.status_code not in {400, 422} or not options:
        return None
    said = _said(error)
    return next((option for option in options if option in said), next(iter(options)))


def redacted(text: str, endpoint: Endpoint) -> str:
    """A text with the key, should it be in it, left out."""
    key = endpoint.key.get_secret_value()
    return text.replace(key, "[key]") if len(key) >= _SHORTEST_SECRET else text


@contextmanager
def redacting_logs(endpoint: Endpoint) -> Iterator[None]:
    """Until the block ends, keep the key out of what the client and what is beneath it write to the log."""

    def redact(record: logging.LogRecord) -> bool:
        record.msg, record.args = redacted(record.getMessage(), endpoint), ()
        return True

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(redact)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(redact)


def _of_status(error: "APIStatusError", endpoint: Endpoint) -> VesaliusError:
    where, status = endpoint.url, error.status_code
    said = _quoted(_said(error), endpoint)
    if status in {401, 403}:
        # Not what the server says: it may show parts of the key.
        return InputError(f"The judge at {where} refuses the key (status {status}). Correct {KEY}, or its permissions.")
    if status == 404:
        return InputError(
            f"{where} knows no model {endpoint.model!r}, or is no base URL (status 404): {said}. Correct {MODEL} or "
            f"{URL}, which mostly ends in /v1."
        )
    if status == 402 or error.code == "insufficient_quota":
        return InputError(f"The judge at {where} wants to be paid first (status {status}): {said}")
    if status == 429:
        wait = error.response.headers.get("retry-after")
        until = f"; it asks to wait {redacted(wait, endpoint)} s" if wait else ""
        return TransientError(f"The judge at {where} has too many requests (status 429){until}. Run again later.")
    if status in {408, 409} or status >= 500:
        return TransientError(
            f"The judge at {where} failed (status {status}), {endpoint.retries + 1} times in a row: {said}. Run again "
            "later, or look into its log."
        )
    return InputError(f"The judge at {where} refuses the request (status {status}): {said}")


def _said(error: "APIStatusError") -> str:
    """The server's own words: endpoints put them under `message`, or under `detail` where FastAPI wrote them."""
    body = error.body if isinstance(error.body, dict) else {"message": error.body}
    return str(body.get("message") or body.get("detail") or error.message)


def _quoted(said: str, endpoint: Endpoint) -> str:
    text = " ".join(redacted(said, endpoint).split())
    return text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + " …"
