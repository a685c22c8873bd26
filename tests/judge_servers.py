"""Endpoints for judges on 127.0.0.1: some answer well, others slowly, wrongly, with errors, or not at all.

A server calls a function for each request, with its number, and sends what the function gives back.
"""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Request:
    """What a server was sent: the number of the request, from 0, its path, headers and body."""

    number: int
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def compared(self) -> dict[str, str]:
        """The prompt and the answers that the judge is to compare."""
        found: dict[str, str] = json.loads(self.body["messages"][1]["content"])
        return found


@dataclass(frozen=True)
class Reply:
    """What a server sends."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    trickle: float = 0.0
    """Seconds between two letters."""


@dataclass
class Server:
    """A server that runs: its base URL, and what it was sent so far."""

    url: str
    requests: list[Request] = field(default_factory=list)
    together: int = 0
    """The most requests that it had at one time."""


def completion(content: str | None, *, read: int = 100, written: int = 10, model: str = "judge-1") -> Reply:
    """The reply of a chat endpoint whose model wrote this."""
    message = {"role": "assistant", "content": content}
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return Reply(
        {"id": "c", "object": "chat.completion", "created": 1, "model": model, "choices": choices, "usage": usage}
    )


def verdict(score: object, reason: str = "It says something else.") -> Reply:
    """The reply of a judge that knows its trade."""
    return completion(json.dumps({"reason": reason, "score": score}))


def failure(status: int, said: str = "no", *, code: str | None = None, **headers: str) -> Reply:
    """An error as such endpoints tell it; `retry_after="1"` sets the header Retry-After."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply({"error": {"message": said, "type": "error", "code": code}}, status, named)


@contextmanager
def serving(reply: Callable[[Request], Reply]) -> Iterator[Server]:
    """A server until the block ends."""
    lock = threading.Lock()
    under_way = 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            nonlocal under_way
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                request = Request(
                    len(server.requests), self.path, {name.lower(): value for name, value in self.headers.items()}, body
                )
                server.requests.append(request)
                under_way += 1
                server.together = max(server.together, under_way)
            try:
                self._send(reply(request))
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client waited no longer
            finally:
                with lock:
                    under_way -= 1

        def _send(self, found: Reply) -> None:
            time.sleep(found.delay)
            text = found.body if isinstance(found.body, str) else json.dumps(found.body)
            self.send_response(found.status)
            for name, value in {"Content-Type": "application/json", **found.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            for piece in [text.encode()] if not found.trickle else [bytes([letter]) for letter in text.encode()]:
                self.wfile.write(piece)
                time.sleep(found.trickle)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    server = Server(f"http://127.0.0.1:{listener.server_address[1]}/v1")
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


@contextmanager
def hanging_up() -> Iterator[str]:
    """The URL of a server that takes a connection and closes it without a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    listener.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        listener.shutdown(socket.SHUT_RDWR)


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
