"""The shape of a policy document. Strict: what is not known may have meant something."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from tollhouse.config.parts import Count, Text, listed
from tollhouse.config.schema import ScanSide


def _unreserved(name: str) -> str:
    """The gateway's own headers say what is so."""
    if name.startswith(("x-gateway-", "x-ratelimit-", "x-request-id", "x-should-retry")):
        msg = "is a header of the gateway itself"
        raise ValueError(msg)
    return name


_NAMED = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$"
Identifier = Annotated[str, StringConstraints(pattern=_NAMED)]
# "*" stands for any rest, and only at the end.
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^*\x00-\x1f\x7f]*\*?$")]
Patterns = Annotated[list[Pattern], Field(min_length=1), BeforeValidator(listed)]
RoutePattern = Annotated[str, StringConstraints(max_length=200, pattern=r"^(\*|/[^*\s]*\*?)$")]
Routes = Annotated[list[RoutePattern], Field(min_length=1), BeforeValidator(listed)]
HeaderName = Annotated[str, StringConstraints(pattern=r"^x-[a-z0-9-]{1,60}$"), AfterValidator(_unreserved)]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]([\x20-\x7e]{0,198}[\x21-\x7e])?$")]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=False)


class Findings(ScanSide):
    """What is done about findings in one direction, as in `scan`."""

    model_config = ConfigDict(extra="forbid")


class Directions(Strict):
    request: Findings | None = None
    response: Findings | None = None


class CapsEntry(Strict):
    max_tokens: Count | None = None
    max_cost_usd: Annotated[Decimal, Field(gt=0, lt=9_000_000, decimal_places=9)] | None = None
    over: Literal["lower", "refuse"] = "lower"


class Obligations(Strict):
    receipt: bool = False
    headers: Annotated[dict[HeaderName, HeaderValue], Field(max_length=16)] | None = None


class RuleEntry(Strict):
    id: Identifier
    description: Text | None = None
    effect: Literal["allow", "deny"]
    tenants: Patterns = ["*"]
    keys: Patterns = ["*"]
    users: Patterns = ["*"]
    routes: Routes = ["*"]
    models: Patterns = ["*"]
    tools: Annotated[list[Pattern], BeforeValidator(listed)] = []
    findings: Directions | None = None
    caps: CapsEntry | None = None
    obligations: Obligations | None = None


class PolicyDocument(Strict):
    policy: Literal[1]  # of the language, so that a later one is not misread
    version: Identifier
    description: Text | None = None
    rules: Annotated[list[RuleEntry], Field(min_length=1, max_length=1000)]
