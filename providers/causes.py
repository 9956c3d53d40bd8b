"""Why an upstream did not serve a request, in the words that fallbacks are configured with."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from time import time
from typing import TYPE_CHECKING, NamedTuple

from tollhouse.providers import refusals
from tollhouse.providers.errors import (
    UpstreamBusy,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeout,
    UpstreamUnreachable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

TIMEOUT = "timeout"  # it was silent for too long, or said 408 or 504
RATE_LIMIT = "rate_limit"  # 429
SERVER_ERROR = "server_error"  # 5xx, or an answer that makes no sense
CONNECTION = "connection"  # no connection, or it was lost
AUTH = "auth"  # 401, 403 or 404: the deployment is set up wrongly, as far as can be told
CONTEXT_WINDOW = "context_window"  # the prompt is too long for this model
CONTENT_POLICY = "content_policy"  # the provider will not answer this
BUSY = "busy"  # the gateway's own limit of requests to this upstream
REQUEST = "request"  # the caller's own mistake
UNSUPPORTED = "unsupported"  # the deployment has no words for what was asked

GENERAL = frozenset({TIMEOUT, RATE_LIMIT, SERVER_ERROR, CONNECTION, AUTH, BUSY})
EVERY = GENERAL | {CONTEXT_WINDOW, CONTENT_POLICY}
OF_MODEL = frozenset({CONTEXT_WINDOW, CONTENT_POLICY})  # another deployment of the same model would say the same
HARMLESS = OF_MODEL | {REQUEST, BUSY, UNSUPPORTED}  # they say nothing against the deployment
RETRY_AFTER = (b"retry-after-ms", b"retry-after")
_LONGEST_S = 1e6  # it makes no difference how much longer
ASKED_FOR = frozenset({"upstream_too_large"})  # by code: of an answer whose size the caller has chosen, perhaps
_LOST = frozenset({"upstream_lost", "upstream_truncated"})
_REFUSED = frozenset({401, 403, 404})

_CONTEXT = re.compile(
    rb"context_length_exceeded|context_window_exceeded|string_above_max_length"
    rb"|maximum context length|context window|prompt is too long|input is too long|input length and .?max_tokens"
    rb"|exceeds? the (?:maximum|limit)[^.\"]{0,40}tokens|too many (?:input )?tokens|input token count",
    re.IGNORECASE,
).search
_POLICY = re.compile(
    rb"content_policy_violation|content_filter|ResponsibleAIPolicyViolation|content management policy|safety system"
    rb"|moderation_blocked|PROHIBITED_CONTENT|usage guidelines|input was flagged",
    re.IGNORECASE,
).search
# A 429 of this request alone: it is larger than the limit of a minute (OpenAI, Anthropic), or asked for a cheap tier
# that has no room (OpenAI's "flex").
_OF_ONE = re.compile(
    rb'"message":\s*"(?:Request too large|Extra usage is required for long)|"resource_unavailable"'
).search


class Failure(NamedTuple):
    """What went wrong with one attempt.

    may_be_billed: the upstream was asked and did not refuse, so it may have worked. retry_after_s: it says when to come
    back. is_doubtful: another caller might be served.
    """

    cause: str
    may_be_billed: bool = False
    retry_after_s: float | None = None
    is_doubtful: bool = False


def of_status(status: int, body: bytes, *, model: str | None) -> Failure:
    """Why an answer with this status, which is no 2xx, is none.

    model: what the operator calls it upstream; None: the caller named it.
    """
    if status < 400:
        return Failure(AUTH)
    if status in {408, 504}:
        return Failure(TIMEOUT)
    if status == 429:
        return Failure(RATE_LIMIT, is_doubtful=_OF_ONE(body) is not None)
    if status >= 500:
        return Failure(SERVER_ERROR, is_doubtful=status == 501)  # the caller chooses what it has not
    if status in _REFUSED:
        if status == 403 and _POLICY(body):
            return Failure(CONTENT_POLICY)
        whose = refusals.whose(status, body, model=model)
        return Failure(REQUEST if whose == refusals.REQUEST else AUTH, is_doubtful=whose == refusals.UNCLEAR)
    if status in {400, 413, 422}:
        if _CONTEXT(body):
            return Failure(CONTEXT_WINDOW)
        return Failure(CONTENT_POLICY if _POLICY(body) else REQUEST)
    return Failure(REQUEST)


def of_error(error: UpstreamError) -> str:
    """Why there was no answer at all."""
    if isinstance(error, UpstreamTimeout):
        return TIMEOUT
    if isinstance(error, UpstreamBusy):
        return BUSY
    if isinstance(error, UpstreamUnreachable) or (isinstance(error, UpstreamProtocolError) and error.code in _LOST):
        return CONNECTION
    return SERVER_ERROR


def retry_after(headers: Collection[tuple[bytes, bytes]], *, now: Callable[[], float] = time) -> float | None:
    """Seconds by `retry-after-ms` or `retry-after`, which may be a date (RFC 9110, 10.2.3).

    now: seconds since the epoch.
    """
    given = dict(headers)
    for name, scale in zip(RETRY_AFTER, (1000.0, 1.0), strict=True):
        said = given.get(name)
        if said is None:
            continue
        try:
            seconds = float(said) / scale
        except ValueError:
            if scale != 1.0:
                continue
            until = _moment(said)
            if until is None:
                continue
            seconds = max(0.0, until - now())
        if seconds >= 0.0:  # no, if it is NaN
            return min(seconds, _LONGEST_S)
    return None


def _moment(date: bytes) -> float | None:
    try:
        moment = parsedate_to_datetime(date.decode("latin-1"))
        # Without a zone (asctime's form, which is to be accepted) it is UTC, and not that of this machine.
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
