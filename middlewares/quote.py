"""What a request may come to, before it is known: bounds for money, an estimate for token limits."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tollhouse._native import RequestView

BYTES_PER_TOKEN = 4  # of English text: for estimates, never for bounds
# Where neither the request nor the price says how long an answer may be, the upstream is told this.
DEFAULT_OUTPUT = 4096
MOST_OUTPUT = 100_000_000  # tokens of all answers together, which is more than anybody generates; prices end at 10^9
LARGEST_CONTEXT = 2_000_000  # of a prompt that nothing in its body bounds, by a model that nobody knows
MOST_PER_IMAGE = 50_000
_AT_ONCE = 16 * 1024  # bytes of a body that is counted in half a millisecond
_AROUND = 256  # tokens that stand around a conversation, and that no count of its texts has
_USEFUL = 16  # tokens of an answer below which it is not worth asking for one


class Bounds(Protocol):
    """What a price has to say of a request before it is known; `tollhouse._native.Price` says it."""

    def bound(self, prompt_tokens: int, output_tokens: int, /) -> int: ...
    def affordable_output(self, prompt_tokens: int, amount: int, choices: int = 1, /) -> int | None: ...
    @property
    def max_output(self) -> int | None: ...
    @property
    def context(self) -> int | None: ...


class Quote:
    """Of one request to a model.

    prompt: tokens that are read, at most; estimate: about so many. output: tokens that are written for each of
    `choices` answers, at most. must_limit: nobody else enforces that bound, so the upstream is to be told. tokens: what
    buckets of tokens are asked for. price: bounds of all who may answer; None: unpriced. count: counts the
    prompt exactly. thinks: whether the request asks for thoughts; None: it does not say.
    """

    __slots__ = (
        "_count",
        "choices",
        "estimate",
        "is_capped",
        "must_limit",
        "output",
        "price",
        "prompt",
        "thinks",
        "tokens",
    )

    bytes_per_token = BYTES_PER_TOKEN

    def __init__(
        self,
        *,
        prompt: int,
        estimate: int,
        output: int,
        tokens: int,
        choices: int = 1,
        must_limit: bool = False,
        price: Bounds | None = None,
        count: Callable[[], Awaitable[int | None]] | None = None,
        thinks: bool | None = None,
    ) -> None:
        self.prompt = prompt
        self.estimate = estimate
        self.output = output
        self.choices = choices
        self.tokens = tokens
        self.must_limit = must_limit
        self.price = price
        self.thinks = thinks
        self.is_capped = False  # policy has lowered `output`, so the upstream is to be told
        self._count = count

    @property
    def want(self) -> int:
        """Nano-USD that are surely enough."""
        return 0 if self.price is None else self.price.bound(self.prompt, self.output * self.choices)

    @property
    def minimum(self) -> int:
        """Nano-USD that are enough for the beginning of an answer."""
        return 0 if self.price is None else self.price.bound(self.prompt, min(self.output, _USEFUL) * self.choices)

    def affordable(self, granted: int) -> int:
        """Tokens that each answer may have for so many nano-USD."""
        if self.price is None:
            return self.output
        tokens = self.price.affordable_output(self.prompt, granted, self.choices)
        return min(self.output, tokens or 0)

    @property
    def may_be_counted(self) -> bool:
        return self._count is not None

    def lowered(self, output: int) -> Quote:
        """For answers of at most so many tokens."""
        found = self._with(self.prompt, self.estimate, output, self._count)
        found.is_capped = True
        return found

    async def refined(self) -> Quote | None:
        """With the prompt counted, which takes its time; None if that is done already, or makes no difference."""
        if self._count is None:
            return None
        prompt = await self._count()
        if prompt is None or prompt >= self.prompt:
            return None
        found = self._with(prompt, prompt, self.output, None)
        found.is_capped = self.is_capped
        return found

    def _with(
        self, prompt: int, estimate: int, output: int, count: Callable[[], Awaitable[int | None]] | None
    ) -> Quote:
        return Quote(
            prompt=prompt,
            estimate=estimate,
            output=output,
            tokens=min(self.tokens, self.estimate + output * self.choices),
            choices=self.choices,
            must_limit=self.must_limit,
            price=self.price,
            count=count,
            thinks=self.thinks,
        )


def quoted(
    view: RequestView,
    kind: str,
    *,
    price: Bounds | None,
    encoding: str | None = None,
    tokens_per_image: int = MOST_PER_IMAGE,
) -> Quote:
    """What a body of `kind` may come to. encoding: that of the model, as `count_tokens` takes it; None: not known."""
    prompt, estimate, output, choices, tokens, must_limit = view.quote(
        max_output=None if price is None else price.max_output,
        context=None if price is None else price.context,
        tokens_per_image=tokens_per_image,
    )
    if kind == "embeddings":
        return Quote(prompt=prompt, estimate=estimate, output=0, tokens=estimate, price=price)
    return Quote(
        prompt=prompt,
        estimate=estimate,
        output=output,
        choices=choices,
        tokens=tokens,
        must_limit=must_limit,
        price=price,
        count=None if encoding is None else partial(_count, view, encoding),
        thinks=view.thinks,
    )


async def _count(view: RequestView, encoding: str) -> int | None:
    """The prompt counted, and what the model is told besides; None for one that cannot be counted."""
    if any(kind == "media" for _, _, kind, _ in view.segments()):
        return None
    if len(view.body) < _AT_ONCE:
        found = view.prompt_tokens(encoding)
    else:
        found = await asyncio.to_thread(view.prompt_tokens, encoding)
    # Tools are printed for the model in a form that nobody publishes, so there is some room.
    return found + found // 8 + _AROUND
