"""The stages of the chain, each alone, with the exchange as those before it have left it."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client import CollectorRegistry

from bench.gateways.entry import KEY, LIMITS, MODEL, Setup
from bench.gateways.tollhouse import SCAN, config
from bench.hot import exchanges, texts
from bench.hot.piece import Piece, each, piece
from tollhouse._native import KeyedDigest, Tokens
from tollhouse.config import encodings, price_table
from tollhouse.config.loader import load_mapping
from tollhouse.gateway import deployed
from tollhouse.gateway.pricing import Pricing
from tollhouse.middlewares.access_log import AccessLogStage
from tollhouse.middlewares.allowances import Allowance, Allowances, BudgetRule
from tollhouse.middlewares.auth import AuthStage, StaticKeys
from tollhouse.middlewares.body import BodyStage
from tollhouse.middlewares.edge import EdgeStage
from tollhouse.middlewares.guard import Guard
from tollhouse.middlewares.metrics import MetricsStage
from tollhouse.middlewares.policy import Caps, Policy, PolicyStage, Rule
from tollhouse.middlewares.quota import QuotaStage
from tollhouse.middlewares.receipt import ReceiptStage
from tollhouse.middlewares.request_id import RequestIdStage
from tollhouse.middlewares.scan import ScanStage
from tollhouse.middlewares.stores.embedded import EmbeddedQuota
from tollhouse.providers.factory import UpstreamFactory

if TYPE_CHECKING:
    from bench.hot.piece import Prepare
    from tollhouse._native import DigestedSend
    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.middlewares.stage import Stage

MUCH = 10**9
ENOUGH = 10**15  # nano-USD
TOOL = {"type": "function", "function": {"name": "search_web", "parameters": {"type": "object", "properties": {}}}}


class Routing(NamedTuple):
    """What decides who answers, and what that may cost."""

    stage: Stage
    pricing: Pricing


def routing() -> Routing:
    """As a configuration of one model has it."""
    nowhere = Path()
    settings = load_mapping(config(Setup("hot", 9, nowhere, nowhere, LIMITS)), {})
    pricing = Pricing(price_table.table(), price_table.BUILT_IN | settings.prices, reading=encodings.reading)
    router = deployed.router(settings, UpstreamFactory(), pricing)
    return Routing(deployed.route_stage(settings, deployed.planner(settings, router)), pricing)


def _entered(stage: Callable[[], Stage], made: Callable[[], Exchange]) -> Prepare:
    return each(made, stage().enter)


def _left(stage: Callable[[], Stage], made: Callable[[], Exchange]) -> Prepare:
    """Both ways: what is counted at the end was begun."""
    one = stage()

    def through(exchange: Exchange) -> None:
        one.enter(exchange)
        one.leave(exchange)

    return each(made, through)


def _auth() -> Stage:
    return AuthStage(StaticKeys({KEY: exchanges.CALLER}), public=("/health",), admin=("/admin",))


def _policy() -> Stage:
    """200 rules, of which a late one fits."""
    rules = [
        Rule(id=f"rule-{i}", tenants=(f"team-{i % 50}",), models=(f"gpt-{i // 50}*",), caps=Caps(max_tokens=1000))
        for i in range(199)
    ]
    return PolicyStage(Policy([*rules, Rule(id="bench", tenants=("bench",))], version="2026-11-22.1"))


def _scan() -> Stage:
    return ScanStage(Guard(request=SCAN["request"], response=SCAN["response"], pseudonym_key="0" * 64))


class _Book:
    """Has always room, and keeps nothing."""

    digest = KeyedDigest(bytes(32))

    def has_room(self) -> bool:
        return True

    def take(self, receipt: dict[str, Any], body: bytes, answer: bytes | DigestedSend) -> None: ...


def _receipt() -> Stage:
    return ReceiptStage(_Book(), knows=frozenset({MODEL}).__contains__)


def _access_log() -> Stage:
    return AccessLogStage(deque[bytes](maxlen=1).append)


def _allowances() -> Allowances:
    """Limits and a budget of key and team, and a limit of everybody: nine meters."""
    each_of = {"rpm": MUCH, "tpm": MUCH, "parallel": 100_000, "budgets": (BudgetRule(ENOUGH, "1d", "hard", "UTC"),)}
    return Allowances(
        [
            Allowance(level="key", id="bench", **each_of),  # type: ignore[arg-type]
            Allowance(level="team", id="bench", **each_of),  # type: ignore[arg-type]
            Allowance(level="global", id="all", rpm=MUCH),
        ]
    )


@asynccontextmanager
async def _quota(*, durable: bool) -> AsyncIterator[Prepare]:
    """Admitted, answered and settled."""
    route, pricing = routing()
    tokens = Tokens(input=200, output=60)
    price = pricing.of("openai", MODEL)
    with tempfile.TemporaryDirectory() as folder:
        store = EmbeddedQuota(Path(folder) / "quota" if durable else None, keeps_charges=durable)
        await store.open()
        await store.opened()
        stage = QuotaStage(
            store,  # type: ignore[arg-type] # as gateway/quota.py has it
            _allowances(),
            pricing.quote,
            expires_in_ms=3_600_000,
            price_version=pricing.version,
        )

        def through(exchange: Exchange) -> None:
            stage.enter(exchange)
            outcome = exchange.outcome
            assert outcome is not None
            outcome.asked = outcome.answered = outcome.completed = True
            outcome.tokens, outcome.price = tokens, price
            outcome.provider, outcome.upstream_model = "openai", MODEL
            stage.leave(exchange)

        yield each(lambda: exchanges.read(texts.body(), route), through)
        await store.close()


def _begun() -> Exchange:
    return exchanges.begun(texts.body())


def _read(size: int = texts.KB, before: str = "") -> Exchange:
    return exchanges.read(texts.body(size, before=before))


PIECES: list[Piece] = [
    piece("request id", partial(_entered, RequestIdStage, _begun), units=256),
    piece("edge", partial(_entered, EdgeStage, _begun), units=200),
    piece("auth", partial(_entered, _auth, _begun), units=200),
    piece("body", partial(_left, BodyStage, _begun)),
    piece("policy", partial(_entered, _policy, _read), units=100),
    piece("scan: 1 KB", partial(_entered, _scan, _read), units=20),
    piece("scan: 64 KB", partial(_entered, _scan, partial(_read, 64 * texts.KB)), units=1),
    piece("scan: 1 KB with findings", partial(_entered, _scan, partial(_read, texts.KB, texts.SECRETIVE)), units=10),
    piece("route", partial(_entered, lambda: routing().stage, _read), units=200),
    Piece("quota: in memory", partial(_quota, durable=False)),
    Piece("quota: with the journal", partial(_quota, durable=True)),
    piece("access log", partial(_left, _access_log, exchanges.ended), units=100),
    piece("metrics", partial(_left, lambda: MetricsStage(registry=CollectorRegistry()), exchanges.ended), units=200),
    piece("receipt", partial(_left, _receipt, exchanges.ended), units=100),
]
