"""The price of a request that any of several may answer: what the dearest of them would take, at every length."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tollhouse._native import Price


class Dearest:
    """Bounds of all of `prices`. One has dearer prompts, another dearer answers: no single price bounds both."""

    def __init__(self, prices: Sequence[Price | Dearest]) -> None:
        self._prices = tuple(prices)

    def bound(self, prompt_tokens: int, output_tokens: int, /) -> int:
        return max(price.bound(prompt_tokens, output_tokens) for price in self._prices)

    def affordable_output(self, prompt_tokens: int, amount: int, choices: int = 1, /) -> int | None:
        found = [price.affordable_output(prompt_tokens, amount, choices) for price in self._prices]
        known = [tokens for tokens in found if tokens is not None]
        return min(known) if len(known) == len(found) else None

    def variant(self, name: str, /) -> Dearest:
        return Dearest([price.variant(name) or price for price in self._prices])

    @property
    def max_output(self) -> int | None:
        return _largest([price.max_output for price in self._prices])

    @property
    def context(self) -> int | None:
        return _largest([price.context for price in self._prices])


def of(prices: Sequence[Price | Dearest]) -> Price | Dearest:
    """The bounds of prices, of which there is at least one."""
    different = list(dict.fromkeys(prices))
    return different[0] if len(different) == 1 else Dearest(different)


def _largest(numbers: list[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return max(known) if len(known) == len(numbers) else None
