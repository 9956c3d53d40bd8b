"""A client that hides nothing: whole answers, streams chunk by chunk, and requests that no library would send."""

from __future__ import annotations

import http.client
import re
import socket
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import orjson

from tests.support.grammar.watch import Watch
from tests.support.net import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from tests.support.gateway import Gateway

CHAT = "/v1/chat/completions"
ERROR_KEYS = {"message", "type", "param", "code"}


@dataclass(frozen=True)
class Answer:
    """A complete response; names of headers are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def events(self) -> list[bytes]:
        return events_of(self.body)

    def error(self, status: int, code: str | None = None, *, param: str | None = None) -> dict[str, Any]:
        """The error object, after checking that it is one as OpenAI's clients expect it."""
        assert self.status == status, (self.status, self.body[:500])
        assert self.headers["content-type"].startswith("application/json"), self.headers
        return checked_error(self.body, code, param=param)


def checked_error(body: bytes, code: str | None = None, *, param: str | None = None) -> dict[str, Any]:
    """`body` as `{"error": {...}}` with all four keys of the right types."""
    value = orjson.loads(body)
    assert list(value) == ["error"], value
    fault: dict[str, Any] = value["error"]
    assert set(fault) >= ERROR_KEYS, fault
    assert isinstance(fault["message"], str), fault
    assert fault["message"], fault
    assert isinstance(fault["type"], str), fault
    assert isinstance(fault["code"], str | None), fault
    assert isinstance(fault["param"], str | None), fault
    if code is not None:
        assert fault["code"] == code, fault
    if param is not None:
        assert fault["param"] == param, fault
    return fault


def checked_messages_error(body: bytes) -> dict[str, Any]:
    """`body` as Anthropic's clients expect an error: `{"type": "error", "error": {...}, "request_id"}`."""
    value = orjson.loads(body)
    assert list(value) == ["type", "error", "request_id"], value
    assert value["type"] == "error", value
    fault: dict[str, Any] = value["error"]
    assert all(isinstance(fault[name], str) and fault[name] for name in ("type", "message")), fault
    return fault


def chat_body(model: str, *, stream: bool = False, content: str = "hello", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": content}], "stream": stream, **more}


def request_bytes(
    gateway: Gateway,
    body: Any,
    *,
    path: str = CHAT,
    method: str = "POST",
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """A whole request; `body` is bytes, or a value that is sent as JSON."""
    payload = body if isinstance(body, bytes) else orjson.dumps(body)
    lines = {
        "host": f"{LOOPBACK}:{gateway.port}",
        "authorization": f"Bearer {key or gateway.key}",
        "content-type": "application/json",
        "content-length": str(len(payload)),
    } | dict(headers or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + payload


def post(
    gateway: Gateway,
    body: Any,
    *,
    path: str = CHAT,
    method: str = "POST",
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 15.0,
) -> Answer:
    """Send and read to the end."""
    data = request_bytes(gateway, body, path=path, method=method, key=key, headers=headers)
    return raw(gateway, data, timeout_s=timeout_s)


def raw(gateway: Gateway, data: bytes, *, timeout_s: float = 15.0) -> Answer:
    """Send these very bytes and read one response to its end."""
    with Stream(gateway, data, timeout_s=timeout_s) as stream:
        return Answer(stream.status, stream.headers, stream.read())


class Stream:
    """A request whose answer is read as it comes; the head has been read once the block is entered.

    What was read is checked against the grammar of its dialect at the end, or when the block is left.
    """

    def __init__(
        self, gateway: Gateway, data: bytes, *, timeout_s: float = 15.0, receive_buffer: int | None = None
    ) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout_s)
        self.socket.connect((LOOPBACK, gateway.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(data)
        self.response = http.client.HTTPResponse(self.socket, method="POST")
        self.status = 0
        self.headers: dict[str, str] = {}
        self._sent = data
        self._watch: Watch | None = None

    def __enter__(self) -> Self:
        try:
            self.response.begin()
        except BaseException:
            self.close()  # nobody leaves a block that was never entered
            raise
        self.status = self.response.status
        self.headers = {name.lower(): value for name, value in self.response.getheaders()}
        head, _, body = self._sent.partition(b"\r\n\r\n")
        path = head.split(b" ", 2)[1].decode("latin-1") if head.count(b" ") > 1 else ""
        self._watch = Watch(path, body, self.status, self.headers)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
        if self._watch is not None and kind is None:
            self._watch.close(complete=False)

    def read(self) -> bytes:
        """Everything that is left; raises http.client.IncompleteRead when the body is cut short."""
        return self._watched(self.response.read(), is_end=True)

    def read_some(self) -> bytes:
        """What comes next, b"" at the end."""
        piece = self.response.read1(65536)
        return self._watched(piece, is_end=not piece)

    def _watched(self, data: bytes, *, is_end: bool) -> bytes:
        assert self._watch is not None
        self._watch.feed(data)
        if is_end:
            self._watch.close(complete=True)
        return data

    def read_until(self, marker: bytes) -> bytes:
        """Everything up to the chunk in which `marker` is complete."""
        got = b""
        while marker not in got:
            piece = self.read_some()
            assert piece, f"the stream ended without {marker!r}: {got[-300:]!r}"
            got += piece
        return got

    def timed(self) -> Iterator[tuple[float, bytes]]:
        """Pieces with the time of their arrival (time.monotonic)."""
        while piece := self.read_some():
            yield time.monotonic(), piece

    def close(self) -> None:
        """Go away in order."""
        self.response.close()
        self.socket.close()

    def reset(self) -> None:
        """Go away with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


def stream_chat(
    gateway: Gateway,
    model: str,
    *,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 15.0,
    receive_buffer: int | None = None,
    **more: Any,
) -> Stream:
    """Ask for a streamed chat; enter it to read the head."""
    data = request_bytes(gateway, chat_body(model, stream=True, **more), headers=headers)
    return Stream(gateway, data, timeout_s=timeout_s, receive_buffer=receive_buffer)


def events_of(body: bytes) -> list[bytes]:
    """The data of all events, read as the HTML standard says (so that what we forward is judged by it, not by us).

    https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
    """
    lines = re.split(rb"\r\n|\n|\r", body.removeprefix(b"\xef\xbb\xbf"))
    found: list[bytes] = []
    data: list[bytes] = []
    for line in lines:
        if not line:
            if data:
                found.append(b"\n".join(data))
            data = []
        elif line.startswith(b"data"):
            name, _, value = line.partition(b":")
            if name == b"data":
                data.append(value.removeprefix(b" "))
    return found


def text_of(events: list[bytes], *, index: int = 0) -> str:
    """The text of one choice over all events."""
    texts = []
    for event in events:
        if event == b"[DONE]":
            continue
        choices = orjson.loads(event).get("choices", ())
        texts += [choice["delta"].get("content") or "" for choice in choices if choice["index"] == index]
    return "".join(texts)
