"""An S3 server on 127.0.0.1 that can be stopped and started again with all that it holds."""

import logging
from types import TracebackType
from typing import Self
from uuid import uuid4

from moto.server import ThreadedMotoServer

from warehouse.places import ObjectPlace, place

BUCKET = "vesalius"


class ObjectStore:
    """The server; as a context, it runs within."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        self._port = 0
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """On the port of last time; what the server holds outlives it within this process."""
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self._port, verbose=False)
        self._server.start()
        self._port = self._server.get_host_and_port()[1]

    def stop(self) -> None:
        """As if its plug were pulled: whoever connects is refused."""
        self._server.stop()
        assert self._server._server is not None
        self._server._server.server_close()

    def make_bucket(self) -> None:
        place(f"s3://{BUCKET}").files().mkdir(BUCKET)  # type: ignore[union-attr]

    def place(self, prefix: str = BUCKET) -> ObjectPlace:
        """A prefix that nobody has used."""
        found = place(f"s3://{prefix}-{uuid4().hex[:8]}" if "/" in prefix else f"s3://{prefix}/{uuid4().hex[:8]}")
        assert isinstance(found, ObjectPlace)
        return found
