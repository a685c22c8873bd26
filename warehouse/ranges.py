"""A file of an object store as it was when it was opened: ranges of one version of it, or an error.

s3fs asks for each range on the condition that the file is still the one it opened. gcsfs and adlfs ask for ranges of
whatever lies there by then, and a reader could get rows of two files; here they are told which version to ask for.
"""

import errno
from collections.abc import Callable
from typing import Any

from fsspec.asyn import sync
from fsspec.spec import AbstractBufferedFile

from warehouse.refusals import is_replaced


def open_version(files: Any, path: str, protocol: str) -> Any:
    """A file that fetches the ranges it is asked for, all of the version that is there now.

    Args:
        files: the fsspec file system.
        path: of the file, as the file system or as a URL.
        protocol: which client that is.

    Raises:
        FileNotFoundError: there is no file.
        OSError: by a read, with EBUSY: the file was replaced or deleted since it was opened.
    """
    fetch = _FETCH.get(protocol)
    return files.open(path, "rb", cache_type="none") if fetch is None else _OneVersion(files, path, fetch)


class _OneVersion(AbstractBufferedFile):  # type: ignore[misc]
    def __init__(self, files: Any, path: str, fetch: Callable[..., bytes]) -> None:
        super().__init__(files, files._strip_protocol(path), "rb", cache_type="none")
        self._fetch = fetch

    def _fetch_range(self, start: int, end: int) -> bytes:
        try:
            return self._fetch(self.fs, self.path, self.details, start, end)
        except Exception as error:
            if is_replaced(error):
                raise OSError(errno.EBUSY, "the file was replaced while it was read") from error
            raise


def _of_google(files: Any, path: str, details: dict[str, Any], start: int, end: int) -> bytes:
    content: bytes = files.cat_file(path, start=start, end=end, generation=details["generation"])
    return content


def _of_azure(files: Any, path: str, details: dict[str, Any], start: int, end: int) -> bytes:
    from azure.core import MatchConditions

    async def ask() -> bytes:
        container, name, _ = files.split_path(path)
        async with files.service_client.get_blob_client(container, name) as client:
            stream = await client.download_blob(
                offset=start, length=end - start, etag=details["etag"], match_condition=MatchConditions.IfNotModified
            )
            content: bytes = await stream.readall()
            return content

    found: bytes = sync(files.loop, ask)
    return found


_FETCH: dict[str, Callable[..., bytes]] = {"gs": _of_google, "gcs": _of_google, "abfs": _of_azure, "az": _of_azure}
