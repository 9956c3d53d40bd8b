"""Long prompts go to a larger model. Most are known to be short by their bytes; only the others are counted."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tollhouse._native import RequestView
    from tollhouse.config.settings import Escalation
    from tollhouse.middlewares.exchange import Exchange

_AT_ONCE = 16 * 1024  # bytes of a body that is counted in half a millisecond
_USUAL = "o200k_base"


class Escalations:
    """encoding: that of a model's tokens, None where nobody knows it: then OpenAI's newer one is counted with."""

    def __init__(self, rules: Sequence[Escalation], *, encoding: Callable[[str], str | None]) -> None:
        self._by_model: dict[str, list[Escalation]] = {}
        for rule in sorted(rules, key=lambda rule: -rule.over):
            self._by_model.setdefault(rule.model, []).append(rule)
        self._encoding = encoding

    def of(self, exchange: Exchange, model: str, label: str) -> Callable[[], Awaitable[str | None]] | None:
        """What finds the model to go to instead, or that it is None; nothing where that is known already.

        label: the name or pattern that serves the model; its rules hold where the model has none.
        """
        rules = self._by_model.get(model) or self._by_model.get(label)
        view = exchange.view
        if rules is None or view is None:
            return None
        # Images are not counted as text is: a rule about the length of prompts is about their words.
        bound = view.prompt_bound(tokens_per_image=0)
        if bound is not None and bound <= rules[-1].over:
            return None
        return partial(self._find, view, rules, self._encoding(model) or _USUAL)

    async def _find(self, view: RequestView, rules: list[Escalation], encoding: str) -> str | None:
        if len(view.body) < _AT_ONCE:
            tokens = view.prompt_tokens(encoding)
        else:
            tokens = await asyncio.to_thread(view.prompt_tokens, encoding)
        return next((rule.to for rule in rules if tokens > rule.over), None)
