"""One request and its response, as the middlewares share them: made by whoever comes first, under one scope key."""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Protocol

from tollhouse.middlewares.errors import Refusal, dialect_of, render

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tollhouse._native import RequestView
    from tollhouse.middlewares.auth import Principal
    from tollhouse.middlewares.guard import AnswerGuard, Guard
    from tollhouse.middlewares.quota import Charge, Outcome
    from tollhouse.middlewares.quote import Quote
    from tollhouse.middlewares.rulebook import Verdict
    from tollhouse.middlewares.trace import Trace
    from tollhouse.middlewares.types import Headers, Message, Receive, Scope, Send

SCOPE_KEY = "tollhouse"
GONE = 499  # the status that logs and metrics have where the client went before there was one
GONE_CODE = "client_disconnected"


class Connection(Protocol):
    """What a server offers beyond ASGI, for requests that have come whole. It calls `watcher` when the client goes."""

    watcher: Callable[[], None] | None
    waited_ns: int  # before it was begun, for its upstream

    def receive(self) -> Awaitable[Message]: ...
    def send(self, message: Message) -> Awaitable[None]: ...
    def take_body(self) -> bytes: ...
    def respond(self, status: int, headers: Headers, body: bytes) -> None: ...
    def carry(self, serving: Awaitable[None]) -> None: ...
    def end(self) -> None: ...


class Exchange:
    """State of one request. Middlewares read what earlier ones found, and leave headers for the response.

    `view` is the parsed body (None until somebody needs it), `started_ns` is on `time.perf_counter_ns`.
    """

    request_id = ""
    route = "unmatched"  # template of the path, safe for labels and logs
    kind: str | None = None  # of request body: "chat", "completions", "embeddings"
    principal: Principal | None = None
    body = b""
    view: RequestView | None = None
    status = 0  # of the response; 0: not started
    stream = False
    model = ""
    provider = ""
    upstream_ns = 0  # time spent waiting for the upstream's head
    overhead_ns = 0  # time to the start of the response less that wait
    usage: tuple[int, int, int, int] | None = None  # prompt, completion, cached, reasoning tokens
    usage_estimated = False
    decision = b"ALLOWED"  # or TRANSFORMED, BLOCKED: the strictest so far
    findings: dict[str, int] | None = None  # by type, of the request and its answer
    asked_model = ""  # what the caller called it; `model` is the name or pattern that serves it
    plan: Any = None  # which upstreams may serve it, where a router has said so
    passed: Any = None  # what is passed through, where it is no conversation
    quote: Quote | None = None  # what it may come to, where that does not follow from the view
    admitted: Any = None  # the store's answer, where it was asked before
    charge: Charge | None = None  # what is reserved for it
    outcome: Outcome | None = None  # what that is settled by
    cost: int | None = None  # nano-USD
    tighten: Callable[[Guard | None], Guard] | None = None  # makes what scans stricter, whatever else decides on that
    _guard: Guard | None = None
    answer_guard: AnswerGuard | None = None  # looks at the answer before it goes out
    cache = "bypass"  # or hit, semantic, miss
    trace: Trace | None = None  # where it stands in its caller's trace, if traces are kept
    verdict: Verdict | None = None  # of the policy
    shadows: list[tuple[str, str, str]] | None = None  # version, decision and reason of policies that decide nothing
    reasons: tuple[str, ...] = ()  # of the decision; names, never values
    scanned = False  # a guard has looked at it
    received: bytes | None = None  # the body as it came; None: nobody wants it
    answered: bytes | None = None  # a whole body that went past `raw_send`; None: nobody wants it
    error_code = ""
    gone = False  # the client has disconnected
    connection: Connection | None = None  # where the server lets a request be served without a task

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.raw_send = send  # the server's own, for the chunks of a stream
        self.started_ns = perf_counter_ns()
        # By (lower-case) name; of a repeated header the last.
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.has_repeated_headers = len(self.headers) != len(scope["headers"])
        self.response_headers: Headers = []

    @property
    def guard(self) -> Guard | None:
        """What scans; None: the usual one. Whoever sets it says what is wanted; what is read is `tighten`ed."""
        return self._guard if self.tighten is None else self.tighten(self._guard)

    @guard.setter
    def guard(self, wanted: Guard | None) -> None:
        self._guard = wanted

    async def send(self, message: Message) -> None:
        """ASGI `send` that adds the collected headers to the start of the response and remembers its status."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.response_headers:
                message["headers"] = [*message.get("headers", ()), *self.response_headers]
        await self.raw_send(message)

    def because(self, reason: str) -> None:
        """Note a reason of the decision, for the caller, the log and the receipt."""
        headers = self.response_headers
        before = (b"x-gateway-reasons", ", ".join(self.reasons).encode()) if self.reasons else None
        self.reasons += (reason,)
        after = (b"x-gateway-reasons", ", ".join(self.reasons).encode())
        if before in headers:
            headers[headers.index(before)] = after
        else:
            headers.append(after)

    async def start(self, status: int, headers: Headers) -> None:
        self.status = status
        await self.raw_send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": headers + self.response_headers,
            }
        )

    async def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole response; sets its length."""
        self.status = status
        headers = [*headers, (b"content-length", b"%d" % len(body)), *self.response_headers]
        if self.connection is not None:
            if self.answered is not None:
                self.answered = body
            self.connection.respond(status, headers, body)
            return
        send = self.raw_send
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def refuse(self, refusal: Refusal, send: Send | None = None) -> None:
        """Answer with an error, unless the response has begun already.

        send: of the middleware that refuses, where others may stand around it that want to see the answer.
        """
        self.error_code = refusal.code or refusal.type
        if self.status:
            return
        kind = self.kind or dialect_of(route_path(self.scope))
        status, headers, body = render(refusal, kind, self.request_id)
        if send is None:
            await self.respond(status, headers, body)
            return
        headers = [*headers, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def route_path(scope: Scope) -> str:
    """The path as the routes of this app have it: without that of a mount or of the server before it (`root_path`)."""
    path: str = scope["path"]
    root: str = scope.get("root_path") or ""
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def exchange_of(scope: Scope) -> Exchange | None:
    """The exchange of this request, if a middleware further out has made it."""
    found: Any = scope.get(SCOPE_KEY)
    return found if isinstance(found, Exchange) else None


def exchange_for(scope: Scope, receive: Receive, send: Send) -> tuple[Exchange, Send]:
    """The exchange of this request, and what the app inside is to send with.

    Made here for the outermost of the middlewares, and only that one wraps `send`, however many are stacked. Those of
    others may stand between: what they have read or replaced is what comes.
    """
    exchange = exchange_of(scope)
    if exchange is None:
        exchange = scope[SCOPE_KEY] = Exchange(scope, receive, send)
        return exchange, exchange.send
    exchange.receive = receive
    return exchange, send


async def raised(error: BaseException) -> None:
    """For who expects something to await."""
    raise error
