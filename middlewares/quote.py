"""What a request may come to, before it is known: bounds for money, an estimate for token limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tollhouse._native import Price

BYTES_PER_TOKEN = 4  # of English text: for estimates, never for bounds
_USEFUL = 16  # tokens of an answer below which it is not worth asking for one


class Quote:
    """Of one request to a model.

    prompt: tokens that are read, at most; estimate: about so many. output: tokens that are written for each of
    `choices` answers, at most. must_limit: nobody else enforces that bound, so the upstream is to be told. tokens: what
    buckets of tokens are asked for. price: the dearest of those who may answer; None: unpriced. count: counts the
    prompt exactly.
    """

    __slots__ = ("_count", "choices", "estimate", "must_limit", "output", "price", "prompt", "tokens")

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
        price: Price | None = None,
        count: Callable[[], Awaitable[int | None]] | None = None,
    ) -> None:
        self.prompt = prompt
        self.estimate = estimate
        self.output = output
        self.choices = choices
        self.tokens = tokens
        self.must_limit = must_limit
        self.price = price
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

    async def refined(self) -> Quote | None:
        """With the prompt counted, which takes its time; None if that is done already, or makes no difference."""
        if self._count is None:
            return None
        prompt = await self._count()
        if prompt is None or prompt >= self.prompt:
            return None
        return Quote(
            prompt=prompt,
            estimate=prompt,
            output=self.output,
            tokens=self.tokens,
            choices=self.choices,
            must_limit=self.must_limit,
            price=self.price,
        )
