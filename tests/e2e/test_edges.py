"""Requests that no library would send: the right status, an error that clients can read, a connection that is either in
step or closed. Never a 5xx, and never two readings of one request.
"""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Self

import orjson
import pytest

from tests.support.client import Answer, chat_body, checked_error, request_bytes
from tests.support.gateway import KEY, Gateway, echo_only, model, running_gateway
from tests.support.net import LOOPBACK
from tests.support.stalls import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from tests.support.upstream import ScriptedUpstream

MAX_BODY = 256 * 1024
READ_TIMEOUT_S = 1.0
ECHO = "tollhouse/echo"
BODY = orjson.dumps(chat_body(ECHO))
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
HOST = "host: gateway.test"
AUTH = f"authorization: Bearer {KEY}"
LENGTH = f"content-length: {len(BODY)}"
TE = "transfer-encoding: chunked"


@pytest.fixture(scope="module", params=["builtin", "granian", "uvicorn"])
def edge(request: pytest.FixtureRequest, upstream: ScriptedUpstream) -> Iterator[Gateway]:
    body = {"max_bytes": MAX_BODY, "read_timeout_s": READ_TIMEOUT_S}
    config = echo_only(body=body, model_list=[model("hostile/*", upstream.base_url)])
    with running_gateway(config, server=request.param) as gateway:
        yield gateway


class Line:
    """A connection, answer by answer; bytes that nobody asked for are not lost."""

    def __init__(self, gateway: Gateway) -> None:
        self.socket = socket.create_connection((LOOPBACK, gateway.port), timeout=10)
        self._file: IO[bytes] = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may have answered already
            self.socket.sendall(data)

    def answer(self) -> Answer | None:
        """The next answer; None when the connection was closed instead."""
        try:
            start = self._file.readline()
        except ConnectionResetError:
            return None
        if not start:
            return None
        assert start.startswith(b"HTTP/1."), start
        status = int(start.split(b" ")[1])
        headers = {}
        while (line := self._file.readline().strip()) != b"":
            name, _, value = line.decode("latin-1").partition(":")
            assert name.lower() not in headers, f"{name} is repeated"
            headers[name.lower()] = value.strip()
        if status < 200:
            return self.answer()
        body = b""
        if "chunked" in headers.get("transfer-encoding", ""):
            while size := int(self._file.readline(), 16):
                body += self._file.read(size)
                self._file.readline()
            self._file.readline()
        elif "content-length" in headers:
            body = self._file.read(int(headers["content-length"]))
        elif "close" in headers.get("connection", ""):
            body = self._file.read()
        return Answer(status, headers, body)


def request(
    *lines: str, body: bytes = BODY, start: str = "POST /v1/chat/completions HTTP/1.1", end: str = "\r\n"
) -> bytes:
    """Exactly these lines."""
    return (end.join([start, *lines]) + end + end).encode("latin-1") + body


def is_in_step(line: Line, gateway: Gateway) -> bool:
    """Whether the connection still works, and belongs to us alone; False when it was closed."""
    line.send(request_bytes(gateway, chat_body(ECHO, content="in step")))
    answer = line.answer()
    if answer is None:
        return False
    assert answer.status == 200, answer
    assert answer.json["choices"][0]["message"]["content"] == "in step"
    return True


def judge(gateway: Gateway, data: bytes, statuses: set[int], code: str | None = None) -> Answer | None:
    """Send; check status, shape of the error and state of the connection."""
    with Line(gateway) as line:
        line.send(data)
        answer = line.answer()
        if answer is None:
            assert 0 in statuses, "closed without an answer"
            return None
        assert answer.status in statuses, answer
        in_step = is_in_step(line, gateway)
        if answer.status == 200:
            return answer
        if answer.headers.get("content-type") == "application/json":
            checked_error(answer.body, code)
            assert answer.headers["x-request-id"]
        else:
            # The server's own word on what is no HTTP, before any app could see it.
            assert code is None or not in_step
            assert not in_step, "a connection on which somebody lost count is closed"
            assert len(answer.body) < 100
        return answer


@dataclass(frozen=True)
class Case:
    name: str
    data: bytes
    statuses: set[int] = field(default_factory=lambda: {400})
    code: str | None = None


# What HTTP itself says. 0: closed without a word.
FRAMING = [
    Case("chunked", request(HOST, AUTH, TE, body=CHUNKED), {200}),
    Case("chunk-extension", request(HOST, AUTH, TE, body=b"%x;a=b\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)), {200}),
    Case("chunk-trailer", request(HOST, AUTH, TE, body=b"%x\r\n%b\r\n0\r\nx: y\r\n\r\n" % (len(BODY), BODY)), {200}),
    Case("chunk-size-no-number", request(HOST, AUTH, TE, body=b"zz\r\n{}\r\n0\r\n\r\n"), {400}, "incomplete_body"),
    Case("chunk-size-huge", request(HOST, AUTH, TE, body=b"f" * 17 + b"\r\n{}\r\n0\r\n\r\n"), {400}, "incomplete_body"),
    Case("chunk-size-too-small", request(HOST, AUTH, TE, body=b"2\r\n{}{}\r\n0\r\n\r\n"), {400}, "incomplete_body"),
    Case("unknown-transfer-encoding", request(HOST, AUTH, "transfer-encoding: xchunked", body=CHUNKED)),
    Case("two-transfer-encodings", request(HOST, AUTH, TE, "transfer-encoding: identity", body=CHUNKED)),
    Case("lengths-differ", request(HOST, AUTH, LENGTH, "content-length: 5")),
    Case("lengths-agree", request(HOST, AUTH, LENGTH, LENGTH), {200, 400}),
    Case("length-list", request(HOST, AUTH, f"content-length: {len(BODY)}, {len(BODY)}")),
    Case("length-negative", request(HOST, AUTH, "content-length: -1")),
    Case("length-signed", request(HOST, AUTH, "content-length: +5")),
    Case("length-hex", request(HOST, AUTH, "content-length: 0x5")),
    Case("length-beyond-64-bits", request(HOST, AUTH, "content-length: 99999999999999999999999")),
    Case("no-host", request(AUTH, LENGTH), {400}, "invalid_host"),
    Case("two-hosts", request(HOST, "host: other.test", AUTH, LENGTH), {400}, "invalid_host"),
    Case("same-host-twice", request(HOST, HOST, AUTH, LENGTH), {400}, "invalid_host"),
    Case("empty-host", request("host: ", AUTH, LENGTH), {400}, "invalid_host"),
    Case("http-1.0-without-host", request(AUTH, LENGTH, start="POST /v1/chat/completions HTTP/1.0"), {200}),
    # A lone LF may be taken for a line's end (RFC 9112, 2.2). Granian does, uvicorn does not.
    Case("bare-lf", request(HOST, AUTH, LENGTH, end="\n"), {200, 400}),
    Case("bare-cr", request(HOST, AUTH, LENGTH, end="\r")),
    Case("folded-line", request(HOST, AUTH, LENGTH, "x-a: b\r\n  c")),
    Case("space-before-colon", request(HOST, AUTH, LENGTH, "x-a : b")),
    Case("nul-in-header", request(HOST, AUTH, LENGTH, "x-a: b\0c")),
    Case("cr-in-header", request(HOST, AUTH, LENGTH, "x-a: b\rc")),
    Case("gzip-body", request(HOST, AUTH, LENGTH, "content-encoding: gzip"), {415}, "unsupported_content_encoding"),
    Case("two-encodings", request(HOST, AUTH, LENGTH, "content-encoding: identity, gzip"), {415}),
    Case("identity-body", request(HOST, AUTH, LENGTH, "content-encoding: identity"), {200}),
    # uvicorn has no limit of its own.
    Case("headers-350-kib", request(HOST, AUTH, LENGTH, "x-a: " + "a" * 350 * 1024), {431, 200, 0}),
    Case("headers-1000", request(HOST, AUTH, LENGTH, *(f"x-{i}: 1" for i in range(1000))), {431, 200}),
    Case("headers-50", request(HOST, AUTH, LENGTH, *(f"x-{i}: 1" for i in range(50))), {200}),
    Case("expect-continue", request(HOST, AUTH, LENGTH, "expect: 100-continue"), {200}),
    Case("empty-lines-first", b"\r\n\r\n" + request(HOST, AUTH, LENGTH), {200}),
    Case("method-with-bracket", request(HOST, AUTH, LENGTH, start="P(ST /v1/chat/completions HTTP/1.1")),
    Case("unknown-method", request(HOST, AUTH, LENGTH, start="FOO /v1/chat/completions HTTP/1.1"), {400, 405}),
    Case("http-3", request(HOST, AUTH, LENGTH, start="POST /v1/chat/completions HTTP/3.0")),
    Case("http-2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 0}),
    Case("tls-hello", bytes.fromhex("160301020001") + b"a" * 600),
    Case("noise", b"\x00\xff" * 500 + b"\r\n\r\n"),
    Case("byte-above-127-in-path", request(HOST, AUTH, body=b"", start="GET /v1/models/\xe9 HTTP/1.1")),
    Case("h2c-upgrade", request(HOST, AUTH, LENGTH, "connection: upgrade", "upgrade: h2c"), {200, 400}),
]

# Routes, methods and keys: each in OpenAI's shape.
ROUTES = [
    Case("get-chat", request(HOST, AUTH, body=b"", start="GET /v1/chat/completions HTTP/1.1"), {405}),
    Case("put-chat", request(HOST, AUTH, LENGTH, start="PUT /v1/chat/completions HTTP/1.1"), {405}),
    Case("unknown-route", request(HOST, AUTH, LENGTH, start="POST /v1/nothing HTTP/1.1"), {404}, "not_found"),
    Case("unknown-route-without-key", request(HOST, LENGTH, start="POST /v1/nothing HTTP/1.1"), {401}),
    Case("slash-at-the-end", request(HOST, AUTH, LENGTH, start="POST /v1/chat/completions/ HTTP/1.1"), {404}),
    Case("two-slashes", request(HOST, AUTH, LENGTH, start="POST //v1/chat/completions HTTP/1.1"), {404}),
    Case("absolute-form", request(HOST, AUTH, LENGTH, start="POST http://x.test/v1/chat/completions HTTP/1.1"), {200}),
    Case("options-star", request(HOST, AUTH, body=b"", start="OPTIONS * HTTP/1.1"), {404}),
    Case("trace", request(HOST, AUTH, body=b"", start="TRACE / HTTP/1.1"), {404}),
    Case("connect", request(HOST, AUTH, body=b"", start="CONNECT x.test:443 HTTP/1.1"), {400, 404}),
    Case("long-path", request(HOST, AUTH, body=b"", start=f"GET /{'a' * 60_000} HTTP/1.1"), {404}),
    Case("broken-escapes", request(HOST, AUTH, body=b"", start="GET /v1/models/%ff%zz%00 HTTP/1.1"), {404}),
    Case("admin-by-dots", request(HOST, body=b"", start="GET /health/../admin/keys HTTP/1.1"), {401}),
    Case("admin-by-escape", request(HOST, body=b"", start="GET /%61dmin/keys HTTP/1.1"), {401}),
    Case("admin-by-slash-escape", request(HOST, body=b"", start="GET /health%2f..%2fadmin/keys HTTP/1.1"), {401}),
    Case("admin-with-a-callers-key", request(HOST, AUTH, body=b"", start="GET /admin/keys HTTP/1.1"), {401, 403}),
    Case("no-key", request(HOST, LENGTH), {401}, "invalid_api_key"),
    Case("empty-key", request(HOST, LENGTH, "authorization: Bearer "), {401}, "invalid_api_key"),
    Case("basic-credentials", request(HOST, LENGTH, "authorization: Basic YTpi"), {401}, "invalid_api_key"),
    Case("key-of-odd-bytes", request(HOST, LENGTH, "authorization: Bearer \xff\xfe"), {401}, "invalid_api_key"),
    Case("key-of-50-kib", request(HOST, LENGTH, "authorization: Bearer " + "k" * 50_000), {401}, "invalid_api_key"),
    Case("two-keys", request(HOST, AUTH, LENGTH, "authorization: Bearer sk-other"), {401}, "invalid_api_key"),
    Case("keys-contradict", request(HOST, AUTH, LENGTH, "x-api-key: sk-other"), {401}, "invalid_api_key"),
]

MESSAGES = b'"messages":[{"role":"user","content":"hi"}]'
CONTENT = b'{"model":"tollhouse/echo","messages":[{"role":"user","content":%b}]}'

# Bodies: name, bytes, code, param.
BODIES: list[tuple[str, bytes, str, str | None]] = [
    ("nothing", b"", "invalid_json", None),
    ("null", b"null", "invalid_type", None),
    ("array", b"[]", "invalid_type", None),
    ("string", b'"x"', "invalid_type", None),
    ("cut-off", BODY[:-5], "invalid_json", None),
    ("something-behind", BODY + b" x", "invalid_json", None),
    ("two-objects", BODY + BODY, "invalid_json", None),
    ("byte-order-mark", b"\xef\xbb\xbf" + BODY, "invalid_utf8", None),
    ("utf-16", BODY.decode().encode("utf-16"), "invalid_utf8", None),
    ("single-quotes", b"{'model':1}", "invalid_json", None),
    ("comment", b'{"model":"tollhouse/echo",/*c*/' + MESSAGES + b"}", "invalid_json", None),
    ("arrays-100000-deep", b'{"model":"x","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too_deep", None),
    ("objects-30000-deep", b'{"a":' * 30_000 + b"1" + b"}" * 30_000, "too_deep", None),
    ("never-closed", b"[" * 200_000, "too_deep", None),
    ("too-many-values", b'{"x":[' + b"1," * 100_001 + b"1]," + MESSAGES + b"}", "too_many_values", None),
    ("key-twice", b'{"model":"a","model":"tollhouse/echo",' + MESSAGES + b"}", "duplicate_key", None),
    ("key-twice-escaped", b'{"model":"a","\\u006dodel":"tollhouse/echo",' + MESSAGES + b"}", "duplicate_key", None),
    ("key-twice-inside", b'{"model":"a","messages":[{"role":"user","role":"system"}]}', "duplicate_key", None),
    ("nan", b'{"temperature":NaN,' + MESSAGES + b"}", "invalid_json", None),
    ("infinity", b'{"temperature":-Infinity,' + MESSAGES + b"}", "invalid_json", None),
    ("leading-zero", b'{"n":01,' + MESSAGES + b"}", "invalid_json", None),
    ("exponent-too-large", b'{"model":"tollhouse/echo","temperature":1e999,' + MESSAGES + b"}", "invalid_value", None),
    ("number-of-5000-digits", b'{"model":"tollhouse/echo","seed":' + b"9" * 5000 + b"," + MESSAGES + b"}",
     "invalid_value", None),
    ("high-surrogate", CONTENT % rb'"\ud800"', "lone_surrogate", None),
    ("low-surrogate", CONTENT % rb'"\udc00x"', "lone_surrogate", None),
    ("surrogate-as-key", b'{"\\ud800":1,' + MESSAGES + b"}", "lone_surrogate", None),
    ("surrogate-as-utf-8", CONTENT % b'"\xed\xa0\x80"', "invalid_utf8", None),
    ("invalid-utf-8", CONTENT % b'"\xff"', "invalid_utf8", None),
    ("control-character", CONTENT % b'"a\nb"', "invalid_json", None),
    ("unknown-escape", CONTENT % rb'"\x41"', "invalid_json", None),
    ("no-messages", b'{"model":"tollhouse/echo"}', "missing_required_parameter", "messages"),
    ("no-model", b"{" + MESSAGES + b"}", "missing_required_parameter", "model"),
    ("no-role", b'{"model":"x","messages":[{"content":"x"}]}', "missing_required_parameter", "messages[0].role"),
    *(
        (f"{name}:{value}", b'{"model":"tollhouse/echo",%b,"%b":%b}' % (MESSAGES, name.encode(), value.encode()),
         code, name)
        for name, value, code in [
            ("stream", '"yes"', "invalid_type"),
            ("stream", "1", "invalid_type"),
            ("max_tokens", '"5"', "invalid_type"),
            ("max_tokens", "-1", "invalid_value"),
            ("max_tokens", "1.5", "invalid_value"),
            ("max_tokens", "1e99", "invalid_value"),
            ("n", "0", "invalid_value"),
            ("n", "1000000", "invalid_value"),
            ("stream_options", "5", "invalid_type"),
            ("tools", "5", "invalid_value"),
        ]
    ),
    *(
        (f"model:{value}", b'{"model":%b,%b}' % (value.encode(), MESSAGES), "invalid_type", "model")
        for value in ("5", "[]", "{}", '""', "true")
    ),
    *(
        (f"messages:{value}", b'{"model":"tollhouse/echo","messages":%b}' % value.encode(), "invalid_type", param)
        for value, param in [
            ("5", "messages"),
            ("[]", "messages"),
            ("[5]", "messages[0]"),
            ('[{"role":5}]', "messages[0].role"),
            ('[{"role":"user","content":5}]', "messages[0].content"),
        ]
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", FRAMING, ids=lambda case: case.name)
def test_framing(edge: Gateway, case: Case) -> None:
    judge(edge, case.data, case.statuses, case.code)


@pytest.mark.parametrize("lines", [(LENGTH, TE), (TE, LENGTH), ("content-length: 3", TE)], ids=str)
def test_length_and_chunked_are_never_read_in_two_ways(edge: Gateway, lines: tuple[str, ...]) -> None:
    """Request smuggling. Whoever does not refuse it has to go by the chunks and to close (RFC 9112, 6.1)."""
    smuggled = request_bytes(edge, chat_body(ECHO, content="SMUGGLED"))
    with Line(edge) as line:
        line.send(request(HOST, AUTH, *lines, body=CHUNKED + smuggled))
        answer = line.answer()
        assert answer is not None
        assert answer.status in {200, 400}
        assert b"SMUGGLED" not in answer.body
        assert line.answer() is None, "nothing that follows is a request"


@pytest.mark.parametrize("case", ROUTES, ids=lambda case: case.name)
def test_routes_and_keys(edge: Gateway, case: Case) -> None:
    judge(edge, case.data, case.statuses, case.code)


@pytest.mark.parametrize(("body", "code", "param"), [case[1:] for case in BODIES], ids=[case[0] for case in BODIES])
def test_bodies(edge: Gateway, body: bytes, code: str, param: str | None) -> None:
    answer = judge(edge, request_bytes(edge, body), {400}, code)
    assert answer is not None
    assert answer.error(400, code)["param"] == param


def test_pipelined_requests_are_answered_in_order(edge: Gateway) -> None:
    with Line(edge) as line:
        line.send(b"".join(request_bytes(edge, chat_body(ECHO, content=f"number {i}")) for i in range(5)))
        for i in range(5):
            answer = line.answer()
            assert answer is not None
            assert answer.json["choices"][0]["message"]["content"] == f"number {i}"


@pytest.mark.parametrize("body_is_sent", [False, True], ids=["announced", "sent"])
def test_too_large_a_body_is_refused_by_its_length(edge: Gateway, *, body_is_sent: bool) -> None:
    size = MAX_BODY + 1
    with Line(edge) as line:
        line.send(request(HOST, AUTH, f"content-length: {size}", body=b" " * size if body_is_sent else b""))
        answer = line.answer()
        assert answer is not None
        assert "262144" in answer.error(413, "request_too_large")["message"], "the limit is named"


def test_too_large_a_body_is_refused_without_a_length(edge: Gateway) -> None:
    with Line(edge) as line:
        line.send(request(HOST, AUTH, TE, body=b""))
        for _ in range(MAX_BODY // 8192 + 1):
            line.send(b"2000\r\n%b\r\n" % (b" " * 8192))
        answer = line.answer()
        assert answer is not None
        answer.error(413, "request_too_large")


@pytest.mark.parametrize("framing", [LENGTH, TE], ids=["length", "chunked"])
@pytest.mark.parametrize("drips", [False, True], ids=["silent", "dripping"])
def test_slow_body_times_out(edge: Gateway, framing: str, *, drips: bool) -> None:
    with contextlib.ExitStack() as stack, Line(edge) as line:
        line.send(request(HOST, AUTH, framing, body=b""))
        started = time.monotonic()
        took = stack.enter_context(Stopwatch())
        if drips:
            line.socket.settimeout(0.05)
            for byte in BODY[:-1]:
                piece = bytes([byte])
                line.send(piece if framing == LENGTH else b"1\r\n%b\r\n" % piece)
                try:
                    if line.socket.recv(1, socket.MSG_PEEK):
                        break
                except TimeoutError:
                    continue
            line.socket.settimeout(10)
        answer = line.answer()
        waited = time.monotonic() - started
        stack.close()
        assert answer is not None
        answer.error(408, "request_timeout")
        assert answer.headers["x-should-retry"] == "true"
        assert waited > READ_TIMEOUT_S * 0.9
        assert took.seconds < READ_TIMEOUT_S * 2


@pytest.mark.parametrize("name", ["fine@\r\nx-evil: 1", "fine@\0", "fine@é\u2028😀", "fine@" + "x" * 100_000])
def test_models_name_cannot_forge_a_header(edge: Gateway, name: str) -> None:
    with Line(edge) as line:
        line.send(request_bytes(edge, chat_body(f"hostile/{name}")))
        answer = line.answer()
        assert answer is not None
        assert answer.status == 200
        assert "x-evil" not in answer.headers
        assert answer.headers["x-gateway-model"].startswith("hostile/fine@")
        assert is_in_step(line, edge)


def test_nothing_of_this_is_an_error_of_ours(edge: Gateway) -> None:
    """Runs last: what the requests above left behind."""
    edge.wait_idle()
    statuses = {line["status"] for line in edge.log_lines if line.get("msg") == "request"}
    assert {200, 400, 401, 404, 405, 408, 413, 415} <= statuses
    assert not [status for status in statuses if status >= 500]
