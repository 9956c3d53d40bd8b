"""What the providers have in common: a threaded HTTP server that answers in pieces, and what was asked of it."""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

WORDS = ("Hel", "lo, w\u00f6rld \U0001f600", "!")
THOUGHT = "They greet me."


class Say:
    """What a text has to begin with for a behaviour other than a greeting."""

    THROTTLE = "throttle me"
    BREAK = "break in the middle"
    FAIL = "fail in the middle"
    REFUSE = "refuse"
    THINK = "think"
    EMPTY = "say nothing"
    BAD_CALL = "call badly"


@dataclass(frozen=True)
class Asked:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes
    method: str = "POST"

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """Pieces are chunks of a chunked body. is_cut: the connection closes in the middle of it."""

    pieces: Sequence[bytes]
    status: int = 200
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    is_cut: bool = False


def as_json(value: object, status: int = 200, **headers: str) -> Answer:
    return Answer([orjson.dumps(value)], status=status, headers={k.replace("_", "-"): v for k, v in headers.items()})


class Provider(ABC):
    """Context manager: serves while it is entered. Subclasses say what comes back."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self) -> None:
                with contextlib.suppress(ConnectionError):  # a gateway that has gone
                    super().handle()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.path, headers, body, self.command)
                provider.asked.append(asked)
                answer = provider.answer(asked)
                self.send_response(answer.status)
                self.send_header("content-type", answer.kind)
                self.send_header("transfer-encoding", "chunked")
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.close_connection = answer.is_cut
                with contextlib.suppress(ConnectionError):  # a gateway that has read enough
                    for piece in answer.pieces:
                        self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                        self.wfile.flush()
                    if not answer.is_cut:
                        self.wfile.write(b"0\r\n\r\n")

            def do_GET(self) -> None:
                self.do_POST()

            def do_PUT(self) -> None:
                self.do_POST()

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def last(self) -> Asked:
        return self.asked[-1]

    @abstractmethod
    def answer(self, asked: Asked) -> Answer:
        """What comes back."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
