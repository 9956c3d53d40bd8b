"""What can go wrong between the gateway and an upstream.

UpstreamError
├── UpstreamUnreachable    no connection: refused, unknown host, TLS, a forbidden address         502
├── UpstreamBusy           no free connection within the queue's time                              503
├── UpstreamTimeout        connect, first event, idle or total time is over                        504
├── UpstreamProtocolError  malformed, truncated, too large or encoded against our wish             502
├── UpstreamStreamError    the upstream reported an error in its stream                            502 or its own
├── UpstreamCannot         it has no words for what was asked, or no such endpoint                 400
├── UpstreamSpent          its stream went beyond what was reserved for it, and was ended          429
└── UpstreamShutdown       the gateway itself is stopping                                          503

Each carries what a responder needs: an HTTP status, a code for the error body, and whether another upstream may be
tried. Messages name the provider and never quote a body, unless the upstream wrote the text as its error message.
"""

from __future__ import annotations


class UpstreamError(Exception):
    status = 502
    code = "upstream_error"
    retryable = True

    def __init__(self, message: str, *, status: int | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if status is not None:
            self.status = status
        if code is not None:
            self.code = code


class UpstreamUnreachable(UpstreamError):
    code = "upstream_unreachable"


class UpstreamBusy(UpstreamError):
    status = 503
    code = "upstream_busy"


class UpstreamTimeout(UpstreamError):
    status = 504
    code = "upstream_timeout"
    is_total = False  # it was not silent, but took too long in all


class UpstreamProtocolError(UpstreamError):
    code = "upstream_protocol_error"


class UpstreamStreamError(UpstreamError):
    code = "upstream_stream_error"


class UpstreamCannot(UpstreamError):
    """`param` names the member of the body at fault, if there is one."""

    status = 400
    code = "unsupported_by_model"

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message, code=code)
        self.param = param


class UpstreamSpent(UpstreamError):
    status = 429
    code = "budget_exceeded"
    retryable = False


class UpstreamShutdown(UpstreamError):
    status = 503
    code = "server_shutting_down"
    retryable = False
