"""Refusals by limits and budgets: 429 that name the level, who it is of, the limit and when it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tollhouse._native import duration, usd
from tollhouse.middlewares.errors import Forbidden, Refusal, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tollhouse.middlewares.allowances import Charged, Label
    from tollhouse.middlewares.stores.quota import Denied
    from tollhouse.middlewares.types import Headers

_SOON_MS = 60_000  # what is worth waiting for
_EXCEEDED = {"requests": "requests per minute", "tokens": "tokens per minute", "parallel": "requests at once"}


class RateLimited(Refusal):
    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"

    @property
    def passes(self) -> bool:
        """Whether the same request may be let through later."""
        return any(name == b"retry-after" for name, _ in self.headers)


class BudgetExceeded(Refusal):
    status = 429
    type = "insufficient_quota"
    code = "budget_exceeded"


def denied(charged: Charged, answer: Denied, needed: int) -> Refusal:
    """Why a meter has refused. needed: nano-USD or tokens that would have been enough."""
    label = charged.labels[answer.index]
    wait_ms = answer.wait_ms
    headers: Headers = []
    if wait_ms is not None:
        headers.append((b"retry-after", b"%d" % max(1, -(-wait_ms // 1000))))
        headers.append((b"retry-after-ms", b"%d" % wait_ms))
    if label.what == "budget":
        return BudgetExceeded(_budget(label, answer, needed), retry=False, headers=headers)
    if label.what in {"requests", "tokens"}:
        suffix = label.what.encode()
        headers.append((b"x-ratelimit-limit-" + suffix, b"%d" % label.limit))
        headers.append((b"x-ratelimit-remaining-" + suffix, b"%d" % max(0, answer.remaining)))
        if wait_ms is not None:
            headers.append((b"x-ratelimit-reset-" + suffix, duration(wait_ms).encode()))
    if label.what == "parallel":
        headers.append((b"retry-after", b"1"))
        return RateLimited(f"{limited(label)} are running", retry=True, headers=headers)
    if wait_ms is None:
        message = f"this request needs {needed} tokens, and {_whose(label)} has a limit of {_limit(label)}"
        return RateLimited(message, retry=False, headers=headers)
    rest = f"{max(0, answer.remaining)} are left, try again in {duration(wait_ms)}"
    return RateLimited(f"{limited(label)}; {rest}", retry=wait_ms <= _SOON_MS, headers=headers)


def limited(label: Label) -> str:
    """How refusals by a rate begin, whoever writes them: requests that are alike are told natively."""
    return f"rate limit of {_whose(label)}: {_limit(label)}"


def unpriced(model: str, charged: Charged) -> Refusal:
    """A model without a price cannot be charged to a budget that must hold."""
    label = next(label for label in charged.labels if label.what == "budget")
    message = f"the model {model!r} has no price, so it cannot be charged to the budget of {_whose(label)}"
    return Forbidden(message, code="model_unpriced", param="model")


def unavailable(retry_after_s: int = 1) -> Refusal:
    """What cannot be counted is not let through."""
    headers: Headers = [(b"retry-after", b"%d" % retry_after_s)]
    message = "limits and budgets cannot be checked at the moment"
    return Unavailable(message, code="store_unavailable", retry=True, headers=headers)


def standing(charged: Charged, meters: Sequence[tuple[int, int]], headers: Headers) -> None:
    """Add OpenAI's headers for the tightest of the buckets that count requests, and of those that count tokens."""
    for indexes, suffix in ((charged.requests, b"requests"), (charged.tokens, b"tokens")):
        if indexes:
            index = indexes[0] if len(indexes) == 1 else min(indexes, key=lambda i: meters[i][0])
            remaining, reset_ms = meters[index]
            headers.append((b"x-ratelimit-limit-" + suffix, b"%d" % charged.labels[index].limit))
            headers.append((b"x-ratelimit-remaining-" + suffix, b"%d" % (max(0, remaining))))
            headers.append((b"x-ratelimit-reset-" + suffix, duration(reset_ms).encode()))


def _budget(label: Label, answer: Denied, needed: int) -> str:
    reset = "it does not reset" if answer.wait_ms is None else f"it resets in {duration(answer.wait_ms)}"
    per = "in total" if label.window == "total" else f"per {label.window}"
    left = usd(max(0, answer.remaining))
    return (
        f"the budget of {_whose(label)} is exceeded: {usd(label.limit)} USD {per}, {left} are left and this request "
        f"needs at least {usd(needed)}; {reset}"
    )


def _limit(label: Label) -> str:
    return f"{label.limit} {_EXCEEDED[label.what]}"


def _whose(label: Label) -> str:
    return "all requests together" if label.level == "global" else f"the {label.level} {label.id!r}"
