"""What the clients of object stores raise, told in our words: refused for good, or not answered and worth another try.

s3fs, gcsfs and adlfs turn most answers into the operating system's errors and let the rest through as their own
libraries raise it. Those are named here, by where they are defined, so that nothing is imported that is not in use.
"""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from warehouse.errors import StoreError, StoreUnreachableError

_OF_CLIENTS = (
    "botocore.exceptions.BotoCoreError",
    "aiohttp.ClientError",
    "gcsfs.retry.HttpError",
    "gcsfs.retry.ChecksumError",
    "google.auth.exceptions.GoogleAuthError",
    "azure.core.exceptions.AzureError",
    "fsspec.exceptions.FSTimeoutError",
)
_PASSING_OF_CLIENTS = (
    "botocore.exceptions.ConnectionError",
    "botocore.exceptions.HTTPClientError",
    "aiohttp.ClientConnectionError",
    "aiohttp.ClientPayloadError",
    "requests.exceptions.ConnectionError",
    "requests.exceptions.ChunkedEncodingError",
    "requests.exceptions.Timeout",
    "gcsfs.retry.ChecksumError",
    "google.auth.exceptions.TransportError",
    "azure.core.exceptions.ServiceRequestError",
    "azure.core.exceptions.ServiceResponseError",
    "azure.core.exceptions.IncompleteReadError",
    "fsspec.exceptions.FSTimeoutError",
)
_PASSING = {errno.EBUSY, errno.EIO, errno.ETIMEDOUT, getattr(errno, "EREMOTEIO", errno.EIO)}
"""What s3fs makes of throttling (EBUSY), of a file replaced while it was read (EBUSY) and of a server's fault."""

_PASSING_STATUS = {408, 429, 500, 502, 503, 504}
"""What gcsfs and adlfs tell of such answers: the status of HTTP."""

_KEYS = {"s3": "AWS_…", "gs": "GOOGLE_APPLICATION_CREDENTIALS", "gcs": "GOOGLE_APPLICATION_CREDENTIALS"}
_KEYS |= {"abfs": "AZURE_STORAGE_…", "az": "AZURE_STORAGE_…"}


@contextmanager
def reading(url: str) -> Iterator[None]:
    """Turn a store's refusals into a `StoreError`; that a file is not there passes through as FileNotFoundError.

    Raises:
        StoreError: the store refuses, or (`StoreUnreachableError`) does not answer.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except _refusals() as error:
        raise _told("read", url, error, "Nothing was changed.") from error


@contextmanager
def writing(url: str) -> Iterator[None]:
    """Turn a store's refusals into a `StoreError`.

    Raises:
        StoreError: the store refuses, or (`StoreUnreachableError`) does not answer.
    """
    try:
        yield
    except _refusals() as error:
        raise _told("write", url, error, "The last good file is untouched.") from error


def is_passing(error: BaseException) -> bool:
    """Whether the same may work when tried again: no answer, a timeout, a busy or failing server."""
    if isinstance(error, (ConnectionError, TimeoutError, *_known(_PASSING_OF_CLIENTS))):
        return True
    return _status(error) in _PASSING_STATUS or (isinstance(error, OSError) and error.errno in _PASSING)


def is_replaced(error: BaseException) -> bool:
    """Whether the version that was asked for is no longer the one that is there."""
    return isinstance(error, FileNotFoundError) or _status(error) in {404, 412}


def _status(error: BaseException) -> int | None:
    """The status of HTTP, of gcsfs (as a number or as text) and of Azure's client."""
    found = getattr(error, "status_code", None) or getattr(error, "code", None)
    return int(found) if isinstance(found, int) or (isinstance(found, str) and found.isdecimal()) else None


def _told(doing: str, url: str, error: Exception, state: str) -> StoreError:
    reason = " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split()).rstrip(".")
    if isinstance(error, FileNotFoundError) and error.strerror is None:
        reason = f"not found ({reason})"
    protocol = url.partition("://")[0]
    if is_passing(error):
        other = " (AWS_ENDPOINT_URL names another than Amazon's)" if protocol == "s3" else ""
        return StoreUnreachableError(
            f"Can't {doing} {url} just now: {reason}. {state} See that the store is up{other}, then run again: it goes "
            "on from there."
        )
    return StoreError(
        f"Can't {doing} {url}: {reason}. {state} See that the bucket is there and that the keys in the environment "
        f"({_KEYS.get(protocol, 'of its client')}) may use it, or choose another place with --warehouse."
    )


def _refusals() -> tuple[type[Exception], ...]:
    return OSError, *_known(_OF_CLIENTS)


def _known(names: tuple[str, ...]) -> tuple[type[Exception], ...]:
    """Those of the exceptions whose module somebody has imported: others can't be on their way."""
    found = []
    for name in names:
        module, _, member = name.rpartition(".")
        if module in sys.modules:
            found.append(getattr(sys.modules[module], member))
    return tuple(found)
