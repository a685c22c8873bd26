"""The endpoint that a judge sits behind: where, which model, with which key, at which price.

All of it comes from the environment, and is checked here before anything is sent. The key is held so that printing an
`Endpoint` does not show it. How the endpoint is asked is in `judge`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pydantic import SecretStr

from warehouse.errors import InputError

URL, MODEL, KEY = "VESALIUS_JUDGE_URL", "VESALIUS_JUDGE_MODEL", "VESALIUS_JUDGE_KEY"
PROMPT_PRICE, COMPLETION_PRICE = "VESALIUS_JUDGE_PROMPT_PRICE", "VESALIUS_JUDGE_COMPLETION_PRICE"
TIMEOUT, PARALLEL = "VESALIUS_JUDGE_TIMEOUT", "VESALIUS_JUDGE_PARALLEL"

NO_ENDPOINT = (
    f"There is no judge, so answers under a lesion are not judged. Set {URL} (an OpenAI-compatible endpoint, such as "
    f"http://127.0.0.1:8000/v1), {MODEL} and, if it asks for one, {KEY}. See docs/judge.md."
)
"""What to say where no endpoint is set."""


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible endpoint and the model that judges there.

    Attributes:
        url: its base URL, up to and without `/chat/completions`.
        model: the model's name there.
        key: what it is told for its key; local servers mostly take any.
        prompt_price, completion_price: what a million tokens cost, read and written, in one's own currency; None where
            that is not known.
        timeout: seconds that one request may take.
        retries: how often a request is sent again after a failure that may pass.
        parallel: requests at once.
        longest_reply: tokens of a reply at most.
    """

    url: str
    model: str
    key: SecretStr = field(default=SecretStr(""), repr=False)
    prompt_price: float | None = None
    completion_price: float | None = None
    timeout: float = 60.0
    retries: int = 4
    parallel: int = 4
    longest_reply: int = 2000

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """What so many tokens cost; None where the prices are not known."""
        if self.prompt_price is None or self.completion_price is None:
            return None
        return (prompt_tokens * self.prompt_price + completion_tokens * self.completion_price) / 1e6


def endpoint_from(environment: Mapping[str, str]) -> Endpoint | None:
    """The endpoint that the environment names; None where it names none.

    Raises:
        InputError: it names half of one, or a value can't be used; the message names the variable and never its value
            where that may hold a key.
    """
    given = {name: environment.get(name, "").strip() for name in (URL, MODEL, KEY)}
    if not given[URL] and not given[MODEL]:
        return None
    for name, other in ((URL, MODEL), (MODEL, URL)):
        if not given[name]:
            raise InputError(f"{other} is set and {name} is not: a judge takes both.")
    prices = [_number(environment, name) for name in (PROMPT_PRICE, COMPLETION_PRICE)]
    if (prices[0] is None) != (prices[1] is None):
        raise InputError(f"Give {PROMPT_PRICE} and {COMPLETION_PRICE} together, per million tokens, or neither.")
    timeout, parallel = _number(environment, TIMEOUT), _number(environment, PARALLEL)
    if timeout == 0 or (parallel is not None and (parallel < 1 or parallel != int(parallel))):
        raise InputError(f"{TIMEOUT} takes seconds above 0, {PARALLEL} a whole number from 1.")
    return Endpoint(
        url=_checked_url(given[URL]),
        model=given[MODEL],
        key=_checked_key(given[KEY]),
        prompt_price=prices[0],
        completion_price=prices[1],
        timeout=Endpoint.timeout if timeout is None else timeout,
        parallel=Endpoint.parallel if parallel is None else int(parallel),
    )


def _checked_url(url: str) -> str:
    """The URL without a slash at its end. A URL that holds a key would show it in logs, so none is taken."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise InputError(f"{URL} is no address of a server; it looks like http://127.0.0.1:8000/v1.")
    if parts.username is not None or parts.query or parts.fragment:
        raise InputError(f"{URL} holds more than an address: put the key into {KEY}, and leave out '@', '?' and '#'.")
    return url.rstrip("/")


def _checked_key(key: str) -> SecretStr:
    """The key, if it can be sent: a client would write one with odd characters into its error."""
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise InputError(f"{KEY} has characters that a key can't have (blanks, line ends, letters beyond ASCII).")
    return SecretStr(key)


def _number(environment: Mapping[str, str], name: str) -> float | None:
    text = environment.get(name, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise InputError(f"{name} takes a number from 0 up, not {text!r}.")
    return value
