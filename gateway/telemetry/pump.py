"""From the event loop to whoever sends: a bounded queue and one thread."""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from collections import deque
from typing import TYPE_CHECKING, Protocol

from prometheus_client import Counter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prometheus_client import CollectorRegistry

    from tollhouse.config.settings import Settings
    from tollhouse.middlewares.trace import Record

MOST = 8192  # records that wait; more are dropped, and counted
PAUSE_S = 0.2  # how long records are gathered
CLOSE_S = 5.0
logger = logging.getLogger("tollhouse.telemetry")


class Sink(Protocol):
    """Takes records in the pump's thread."""

    def write(self, record: Record) -> None: ...

    def close(self) -> None:
        """Send what is left. May take seconds."""


class Pump:
    """make: the sinks, called in the thread, because what they import takes long."""

    def __init__(self, make: Callable[[], Sequence[Sink]], *, registry: CollectorRegistry) -> None:
        self._make = make
        self._records: deque[Record] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._dropped = Counter(
            "gateway_telemetry_dropped", "Records of requests that were not sent on.", registry=registry
        )

    def take(self, record: Record) -> None:
        """From the event loop; never waits."""
        if len(self._records) >= MOST:
            self._dropped.inc()
            return
        self._records.append(record)
        if not self._wake.is_set():
            self._wake.set()

    async def open(self) -> None:
        self._thread.start()

    async def close(self) -> None:
        """Everything is sent when this returns, if that takes no longer than CLOSE_S."""
        self._stopping = True
        self._wake.set()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._thread.join, CLOSE_S)
        if self._thread.is_alive():
            logger.warning("telemetry that could not be sent is left behind")

    def _run(self) -> None:
        sinks: Sequence[Sink] = ()
        try:
            sinks = self._make()
        except Exception:  # requests are served all the same
            logger.exception("telemetry cannot be sent")
        while True:
            self._wake.wait()
            self._wake.clear()
            self._write(sinks)
            if self._stopping:
                break
            threading.Event().wait(PAUSE_S)
        self._write(sinks)
        for sink in sinks:
            self._guarded(sink.close)

    def _write(self, sinks: Sequence[Sink]) -> None:
        while self._records:
            record = self._records.popleft()
            if not sinks:
                self._dropped.inc()
            for sink in sinks:
                self._guarded(lambda sink=sink, record=record: sink.write(record))  # type: ignore[misc]

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:  # one that fails must not stop the others
            self._dropped.inc()
            logger.exception("telemetry was not sent")


class Telemetry:
    """What the configuration asks for; without a pump, nothing.

    sample: the share of traces that begin here. hash_key: of prompts, where hashes of them are wanted.
    """

    def __init__(self, settings: Settings, *, registry: CollectorRegistry) -> None:
        wanted = settings.telemetry
        self.hash_key: bytes | None = None
        self.sample = 0.0
        self.pump: Pump | None = None
        if wanted is None:
            return
        self.sample = wanted.sample if wanted.otlp is not None or wanted.langfuse is not None else 0.0
        if wanted.sentry is not None:
            scan = settings.scan
            given = scan.pseudonym_key if scan is not None else None
            self.hash_key = given.reveal().encode() if given is not None else secrets.token_bytes(32)

        def make() -> list[Sink]:
            sinks: list[Sink] = []
            if wanted.otlp is not None or wanted.langfuse is not None:
                from tollhouse.gateway.telemetry.otlp import OTLPSink  # noqa: PLC0415 - an extra

                sinks.append(OTLPSink(wanted, environment=settings.env))
            if wanted.sentry is not None:
                from tollhouse.gateway.telemetry.sentry import SentrySink  # noqa: PLC0415 - an extra

                sinks.append(SentrySink(wanted.sentry.reveal(), environment=settings.env))
            return sinks

        self.pump = Pump(make, registry=registry)
