"""A hub on 127.0.0.1: the few addresses that the hub's own client asks when it looks at a model and fetches it."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "89abcdef0123456789abcdef0123456789abcdef"


@dataclass
class Hub:
    """What the hub has, and what it was asked.

    Attributes:
        url: its address.
        files: content by name, of the one model.
        hub_id: the model's name.
        token: what it lets in; None lets in everyone.
        broken: bytes of a file after which a connection is cut; None for never.
        asked: paths, in order.
    """

    url: str
    files: dict[str, bytes]
    hub_id: str = "maker/small"
    token: str | None = None
    broken: int | None = None
    status: int = 200
    asked: list[str] = field(default_factory=list)


@contextmanager
def hub_of(folder: Path, **more: object) -> Iterator[Hub]:
    """A hub that has one model: the files of a folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    files = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    server.hub = Hub(f"http://127.0.0.1:{server.server_port}", files, **more)  # type: ignore[arg-type, attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.hub  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        found: Hub = self.server.hub  # type: ignore[attr-defined]
        return found

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        hub, path = self.hub, unquote(self.path.split("?")[0])
        hub.asked.append(path)
        if hub.status != 200:
            return self._refuse(hub.status, "", "The hub is being mended.")
        parts = path.strip("/").split("/")
        if path.startswith("/api/models/"):
            name, what = "/".join(parts[2:4]), parts[4:]
        else:
            name, what = "/".join(parts[:2]), parts[2:]
        if name != hub.hub_id:
            return self._refuse(401, "RepoNotFound", "Repository not found")
        if hub.token is not None and self.headers.get("Authorization") != f"Bearer {hub.token}":
            return self._refuse(403 if self.headers.get("Authorization") else 401, "GatedRepo", "Access is restricted")
        revision = "/".join(what[1:]) if what[:1] == ["revision"] else what[1] if len(what) > 1 else "main"
        if what and revision not in {"main", "refs/pr/1", COMMIT}:
            return self._refuse(404, "RevisionNotFound", "Invalid rev id")
        if what[:1] == ["resolve"]:
            return self._send_file("/".join(what[2:]), with_body=with_body)
        found = self._tree() if what[:1] == ["tree"] else self._info()
        return self._send(json.dumps(found).encode(), with_body=with_body)

    def _info(self) -> dict[str, object]:
        siblings = [{"rfilename": name, "size": len(data)} for name, data in self.hub.files.items()]
        return {"_id": "1", "id": self.hub.hub_id, "modelId": self.hub.hub_id, "sha": COMMIT, "siblings": siblings}

    def _tree(self) -> list[dict[str, object]]:
        return [
            {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for name, data in self.hub.files.items()
        ]

    def _send_file(self, name: str, *, with_body: bool) -> None:
        data = self.hub.files.get(name)
        if data is None:
            return self._refuse(404, "EntryNotFound", "Entry not found")
        headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        wanted = self.headers.get("Range")
        if wanted:
            data = data[int(wanted.removeprefix("bytes=").split("-")[0]) :]
        return self._send(data, headers, with_body=with_body, status=206 if wanted else 200)

    def _send(self, data: bytes, headers: dict[str, str] | None = None, *, with_body: bool, status: int = 200) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if with_body:
            broken = self.hub.broken
            if broken is not None and len(data) > broken:
                self.wfile.write(data[:broken])
                self.close_connection = True
                self.connection.close()
                return
            self.wfile.write(data)

    def _refuse(self, status: int, code: str, message: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        self.send_header("Content-Length", "0")
        self.end_headers()
