"""The prices that come with the gateway. Free of pydantic and yaml: workers read them."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tollhouse.config.settings import Override

# The built-in model costs nobody anything.
# The built-in model, and what OpenAI asks nothing for.
BUILT_IN: dict[str, Override] = {
    "tollhouse/*": {"input": 0, "output": 0},
    "openai/omni-moderation-*": {"input": 0, "output": 0},
    "openai/text-moderation-*": {"input": 0, "output": 0},
}


def table() -> bytes:
    """The price table, as `tollhouse._native.PriceTable` takes it."""
    return (files("tollhouse.config") / "prices.json").read_bytes()
