"""What the operator says about prices: LiteLLM's fields per model, and a section of our own. Plain integers come out.

Prices become nano-USD per million tokens, a fraction rounded up; what a request costs besides, nano-USD.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from tollhouse._native import PriceTable
from tollhouse.config.deployments import identity
from tollhouse.config.price_table import BUILT_IN, table

__all__ = ["BUILT_IN", "is_price", "overrides", "table"]

if TYPE_CHECKING:
    from tollhouse.config.document import Document
    from tollhouse.config.problems import Place
    from tollhouse.config.schema import ModelEntry
    from tollhouse.config.settings import Override

KINDS = (
    "input",
    "cached",
    "cache_write",
    "cache_write_1h",
    "audio_input",
    "audio_cached",
    "image_input",
    "output",
    "reasoning",
    "audio_output",
    "image_output",
)
# LiteLLM's names: USD per token.
_PER_TOKEN = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cached",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "input_cost_per_audio_token": "audio_input",
    "cache_read_input_audio_token_cost": "audio_cached",
    "input_cost_per_image_token": "image_input",
    "output_cost_per_reasoning_token": "reasoning",
    "output_cost_per_audio_token": "audio_output",
    "output_cost_per_image_token": "image_output",
}
_PER_REQUEST = "input_cost_per_request"
_LONG = re.compile(r"(?P<name>\w+)_above_(?P<thousands>\d{1,6})k_tokens").fullmatch
_MODEL = re.compile(r"[^\s/*]+/[^\s*]*[^\s/]").fullmatch

_NANO = 10**9
_MILLION = 10**6
_DEAREST = Decimal(2000)  # USD per million tokens; the table takes no more
_DEAREST_REQUEST = Decimal(1000)


def is_price(name: str) -> bool:
    """Whether a key of `litellm_params` is a price that counts."""
    long = _LONG(name)
    return (long["name"] if long else name) in _PER_TOKEN or name == _PER_REQUEST


def overrides(entries: list[ModelEntry], section: dict[str, Any] | None, document: Document) -> dict[str, Override]:
    """By "provider/model"; what cannot be a price is reported. The own section wins over the models' entries."""
    made = dict(BUILT_IN)
    first: dict[str, int] = {}
    same: list[tuple[Place, str, bool]] = []  # as what something costs; whether that may have no price
    for index, entry in enumerate(entries):
        place: Place = ("model_list", index)
        override = _of_entry(entry, place, document)
        if override is None:
            continue
        name = "/".join(identity(entry.litellm_params)).lower()
        if made.setdefault(name, override) != override and name in first:
            message = f"has another price than model_list[{first[name]}], which is {name} as well"
            document.report((*place, "litellm_params"), message)
        if isinstance(override, str):
            # LiteLLM takes any name.
            same.append(((*place, "model_info", "base_model"), override, True))
        made[name] = override
        first.setdefault(name, index)
    for name, value in (section or {}).items():
        own = _of_section(name, value, document)
        if own is not None:
            made[name.lower()] = own
            if isinstance(own, str):
                same.append((("prices", name), own, False))
    _check_same(same, made, document)
    return made


def _check_same(same: list[tuple[Place, str, bool]], made: dict[str, Override], document: Document) -> None:
    """Reports what costs the same as something without a price, or in the end as itself."""
    if not same:
        return
    prices = PriceTable(table(), made)
    for place, other, is_warning in same:
        if prices.find(*other.split("/", 1)) is None:
            document.report(place, f"{other} has no price", warning=is_warning)


def _of_entry(entry: ModelEntry, place: Place, document: Document) -> Override | None:
    """LiteLLM's fields; those among the parameters win over those of `model_info`."""
    info = entry.model_info or {}
    found: dict[str, tuple[Place, object]] = {}
    for where, fields in (("model_info", info), ("litellm_params", entry.litellm_params.model_extra or {})):
        for name, value in fields.items():
            if is_price(name) and value is not None:
                found[name] = ((*place, where, name), value)
    base = info.get("base_model")
    if not found:
        if isinstance(base, str) and base:
            return base if "/" in base else f"{identity(entry.litellm_params)[0]}/{base}"
        return None
    prices: dict[int, dict[str, int]] = {0: {}}
    for name, (at, value) in found.items():
        long = _LONG(name)
        kind = "request" if name == _PER_REQUEST else _PER_TOKEN[long["name"] if long else name]
        price = _nano(value, at, document, scale=1 if kind == "request" else _MILLION)
        if price is not None:
            prices.setdefault(int(long["thousands"]) * 1000 if long else 0, {})[kind] = price
    if "input_cost_per_token" not in found:
        at = next(iter(found.values()))[0]
        document.report((*at[:-1], "input_cost_per_token"), "is missing, so the other prices cannot be used")
        return None
    return _joined(prices)


def _of_section(name: str, value: object, document: Document) -> Override | None:
    place: Place = ("prices", name)
    if _MODEL(name.removesuffix("*") + ("x" if name.endswith("*") else "")) is None:
        document.report(place, "must be provider/model, and may end in *")
        return None
    if isinstance(value, str):
        if _MODEL(value) is None:
            document.report(place, "must be prices by kind, or the provider/model that it costs the same as")
            return None
        return value
    if not isinstance(value, dict):
        document.report(place, "must be prices by kind, or the provider/model that it costs the same as")
        return None
    longer = value.get("above") or {}
    if not isinstance(longer, dict):
        document.report((*place, "above"), "must be prices by kind, by the number of prompt tokens")
        longer = {}
    prices = {0: _by_kind({k: v for k, v in value.items() if k != "above"}, place, document)}
    for tokens, by_kind in longer.items():
        where: Place = (*place, "above", tokens)
        if not str(tokens).isdigit() or int(tokens) == 0 or not isinstance(by_kind, dict):
            document.report(where, "must be prices by kind, by the number of prompt tokens")
        else:
            prices[int(tokens)] = _by_kind(by_kind, where, document)
    if "input" not in value:
        document.report(place, "needs a price for input, if only 0")
        return None
    return _joined(prices)


def _by_kind(given: dict[str, Any], place: Place, document: Document) -> dict[str, int]:
    made = {}
    for kind, value in given.items():
        if kind not in KINDS and kind != "request":
            document.report((*place, kind), f"is no kind of tokens: {', '.join(KINDS)}, or request")
        elif (price := _nano(value, (*place, kind), document)) is not None:
            made[kind] = price
    return made


def _joined(prices: dict[int, dict[str, int]]) -> Override:
    """What says nothing about long prompts holds for them as well."""
    base = prices.pop(0)
    above = {tokens: base | longer for tokens, longer in sorted(prices.items())}
    return {**base, "above": above} if above else dict(base)


def _nano(value: object, place: Place, document: Document, *, scale: int = 1) -> int | None:
    """USD, times `scale`, as whole nano-USD. A float means what its shortest spelling says."""
    try:
        usd = None if isinstance(value, bool) else Decimal(str(value)) * scale
    except InvalidOperation:
        usd = None
    if usd is None or not usd.is_finite() or usd < 0:
        document.report(place, "must be a price in USD, 0 or more")
        return None
    if usd > (_DEAREST_REQUEST if place[-1] in {"request", _PER_REQUEST} else _DEAREST):
        document.report(place, "is more than any model costs; see which number of tokens it is for")
        return None
    return int((usd * _NANO).to_integral_value(ROUND_CEILING))
