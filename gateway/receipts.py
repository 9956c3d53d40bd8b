"""Keeps receipts: a batch every 20 ms goes into this process's chain, off the loop, and a signed head after it.

What a kill -9 can take is what was decided in the last 50 ms, and a power cut the last 300. What cannot be written is
kept and tried again; what has no room any more is refused beforehand, or, where `on_failure: allow` says so, counted,
and the chain says how many are missing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import orjson

from tollhouse._native import DigestedSend, KeyedDigest, __version__
from tollhouse.config.signing import HEAD, Signer
from tollhouse.gateway.delivery import Delivery
from tollhouse.gateway.receipt_batches import ChainBatches, Orphans
from tollhouse.gateway.receipt_metrics import ReceiptMetrics
from tollhouse.middlewares.stores import chain
from tollhouse.middlewares.stores.chain_check import signed

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from tollhouse.config.settings import ReceiptSettings, Settings
    from tollhouse.gateway.neighbours.collector import Collector
    from tollhouse.middlewares.metrics import MetricsStage
    from tollhouse.middlewares.stores.chain import Chain, Position

T = TypeVar("T")
FOLDER = "receipts"
EVERY_S = 0.02
SYNC_S = 0.25
RETRY_S = 0.25
STUCK_S = 2.0  # a disk that takes longer takes nothing
MOST_PENDING = 20_000  # receipts that are not written yet
MOST_PENDING_BYTES = 64 * 1024 * 1024  # of bodies, which wait for their digests
logger = logging.getLogger("tollhouse.receipts")


def book(
    settings: Settings, eris: Collector | None, metrics: MetricsStage, registry: CollectorRegistry
) -> Receipts | None:
    """Where receipts of this configuration go, if there are any."""
    given = settings.receipts
    if given is None:
        return None
    made = Receipts(given, Path(settings.state_dir), eris)
    metrics.before_flush.append(ReceiptMetrics(made, registry=registry).flush)
    return made


class Receipts:
    """The book of the receipt stage. eris: where receipts are delivered; None: they stay here."""

    def __init__(self, settings: ReceiptSettings, state_dir: Path, eris: Collector | None) -> None:
        self._settings = settings
        self._root = state_dir / FOLDER
        self._eris = eris
        self._chain: Chain | None = None
        self._signer: Signer | None = None
        self.digest: KeyedDigest | None = None
        self._pending: list[_Taken] = []
        self._pending_bytes = 0
        self._flushing: asyncio.Task[None] | None = None
        self._began: float | None = None  # when a batch was given to the disk that is not there yet
        self._failed = False
        self._is_closed = False
        self._headed_at = self._synced_at = 0.0
        self._is_headed = self._is_synced = True
        self._timer: asyncio.TimerHandle | None = None  # for what was taken
        self._idle: asyncio.TimerHandle | None = None  # for what is left to do
        self.delivery: Delivery | None = None
        self.taken = 0
        self.lost = 0  # all of them
        self._unsaid = 0  # of those, what the chain does not say yet
        # The disk may take its time; the loop must not.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="receipts")

    @property
    def waiting(self) -> int:
        """Bytes that are to be delivered."""
        return self._chain.waiting if self._chain is not None and self._eris is not None else 0

    def has_room(self) -> bool:
        return self._settings.on_failure == "allow" or self.is_well

    @property
    def is_well(self) -> bool:
        """Whether a receipt that is taken now is kept, and reaches whom it must in time."""
        if self._chain is None or self._failed or len(self._pending) >= MOST_PENDING:
            return False
        if self._pending_bytes >= MOST_PENDING_BYTES or self.waiting >= self._settings.buffer_bytes:
            return False
        if self._began is not None and monotonic() - self._began > STUCK_S:
            return False
        most = self._settings.max_lag_s
        return most is None or self.delivery is None or self.delivery.lag_s <= most

    def take(self, receipt: dict[str, Any], body: bytes = b"", answer: bytes | DigestedSend = b"") -> None:
        if self._is_closed or len(self._pending) >= MOST_PENDING or self.waiting >= 2 * self._settings.buffer_bytes:
            self.lost += 1
            self._unsaid += 1
            return
        if self._pending_bytes >= MOST_PENDING_BYTES:
            body = b""
            answer = b"" if isinstance(answer, bytes) else answer
        self.taken += 1
        self._pending.append(_Taken(receipt, body, answer))
        self._pending_bytes += self._pending[-1].size
        if self._timer is None and self._flushing is None and not self._failed:
            self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._flush)

    @property
    def _unsettled(self) -> bool:
        return not (self._is_synced and self._is_headed)

    async def open(self) -> None:
        """Raises OSError or ValueError for a chain or key that cannot be used."""
        await self.run(self._open)
        assert self._chain is not None
        dropped = self._chain.dropped
        self.take(_event("open", version=__version__, dropped_bytes=dropped))
        if dropped:
            logger.warning("the last %d bytes of the receipts were no whole record, and were dropped", dropped)
        if self._eris is not None:
            keep_bytes = self._settings.keep_bytes
            self.delivery = Delivery(
                "receipts",
                self._eris.deliver,
                ChainBatches(self._chain, self._head, keep_bytes=keep_bytes),
                run=self.run,
                orphans=Orphans(self._root, self._chain, self._head, keep_bytes=keep_bytes),
            )
            self.delivery.open()

    async def close(self) -> None:
        """Everything that was taken is written, and delivered if that goes at once."""
        if self._chain is not None:
            self.take(_event("close"))
            self._is_closed = True
            await self.flush()
            if self.delivery is not None:
                await self.delivery.close()
            await self.run(self._finish)
        self._thread.shutdown(wait=False)

    async def flush(self) -> None:
        """Write what was taken so far, once; what cannot be written stays."""
        while self._flushing is not None:
            await asyncio.wait({self._flushing})
        for timer in (self._timer, self._idle):
            if timer is not None:
                timer.cancel()
        self._idle = None
        self._flush()
        if self._flushing is not None:
            await asyncio.wait({self._flushing})

    async def run(self, job: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, job)

    def _flush(self) -> None:
        self._timer = None
        if self._flushing is None and (self._pending or self._failed or self._unsettled):
            self._flushing = asyncio.get_running_loop().create_task(self._write())

    def _later(self) -> None:
        """What has to be done when nobody asks for anything: try again, sync, sign the last head."""
        self._idle = None
        self._flush()

    async def _write(self) -> None:
        batch, self._pending = self._pending, []
        unsaid = self._unsaid
        self._began = monotonic()
        fault: Exception | None = None
        try:
            fault = await self.run(lambda: self._written(batch, unsaid))
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing of the batch is there, and none of it is lost
            fault = error
            self._pending[:0] = batch
        else:
            self._pending_bytes -= sum(taken.size for taken in batch)
            self._unsaid -= unsaid
            if self.delivery is not None:
                self.delivery.wake()
        finally:
            self._began = None
            self._flushing = None
        self._note(fault)
        self._schedule()

    def _note(self, fault: Exception | None) -> None:
        if fault is not None and not self._failed:
            # Other messages may quote what was to be written.
            why = fault.strerror if isinstance(fault, OSError) else None
            logger.error("receipts cannot be written: %s", why or type(fault).__name__)
        if fault is None and self._failed:
            logger.info("receipts can be written again")
        self._failed = fault is not None

    def _schedule(self) -> None:
        if self._is_closed:
            return
        loop = asyncio.get_running_loop()
        if self._pending and not self._failed:
            self._timer = loop.call_later(EVERY_S, self._flush)
        elif self._idle is None and (self._failed or self._unsettled):
            self._idle = loop.call_later(RETRY_S, self._later)

    # --- in the thread

    def _open(self) -> None:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._signer = _signer(self._root)
        self.digest = KeyedDigest(_digest_key(self._root))
        self._chain = chain.claim(self._root)

    def _written(self, batch: list[_Taken], unsaid: int) -> Exception | None:
        """Raises if nothing of the batch is there; returns what went wrong if it is, and could not be vouched for."""
        assert self._chain is not None
        assert self.digest is not None
        for taken in batch:
            taken.tell_digests(self.digest)
        lost = [_event("lost", count=unsaid)] if unsaid else []
        if batch or lost:
            records = [*lost, *(taken.receipt for taken in batch)]
            try:
                self._chain.append(records)
            except orjson.JSONEncodeError:  # somebody's name is no text, say; nothing is written yet
                self._chain.append([_writable(record) for record in records])
            self._is_synced = self._is_headed = False
        try:
            self._vouch(monotonic())
        except Exception as error:  # noqa: BLE001 - to write the batch again would have it there twice
            return error
        return None

    def _vouch(self, now: float) -> None:
        """Rarely: a sync, which is for machines that lose their power, costs as much as 40 receipts, a head as 10."""
        assert self._chain is not None
        if not self._is_synced and now - self._synced_at >= SYNC_S:
            self._chain.sync()
            self._synced_at, self._is_synced = now, True
        if not self._is_headed and now - self._headed_at >= self._settings.head_s:
            self._write_head()
            self._headed_at, self._is_headed = now, True

    def _write_head(self) -> None:
        """Beside the chain, and wherever else heads are kept."""
        assert self._chain is not None
        head = orjson.dumps(self._head(self._chain, None))
        path = self._chain.folder / "head.json"
        part = path.with_name(".head.json.part")
        part.write_bytes(head)
        part.replace(path)
        if self._settings.head_file is not None:
            with Path(self._settings.head_file).open("ab") as file:
                file.write(head + b"\n")

    def _head(self, of: Chain, position: Position | None) -> dict[str, Any]:
        """The signed head of a chain, as it is or as it was at a position."""
        assert self._signer is not None
        where = position or of
        at_ms = int(time() * 1000)
        signature = self._signer.sign(HEAD, signed(of.id, where.seq, where.hash, at_ms))
        return {"chain": of.id, "seq": where.seq, "hash": where.hash, "at_ms": at_ms, "signature": signature}

    def _finish(self) -> None:
        assert self._chain is not None
        try:
            self._chain.sync()
            self._write_head()
        except OSError as error:
            logger.error("the last head cannot be written: %s", error.strerror)  # noqa: TRY400
        self._chain.close()


class _Taken(NamedTuple):
    """body: what came; answer: what went out, or what that went through."""

    receipt: dict[str, Any]
    body: bytes
    answer: bytes | DigestedSend

    @property
    def size(self) -> int:
        """Bytes that are held until there are digests of them."""
        return len(self.body) + (len(self.answer) if isinstance(self.answer, bytes) else 0)

    def tell_digests(self, digest: KeyedDigest) -> None:
        receipt, answer = self.receipt, self.answer
        if self.body:
            receipt["body_bytes"], receipt["body_hmac"] = len(self.body), digest.of(self.body)
        if not isinstance(answer, bytes):
            if answer.sent:
                receipt["answer_bytes"], receipt["answer_hmac"] = answer.sent, answer.hexdigest()
        elif answer:
            receipt["answer_bytes"], receipt["answer_hmac"] = len(answer), digest.of(answer)


def _writable(record: dict[str, Any]) -> dict[str, Any]:
    """As it is, but for members that JSON cannot have: half a surrogate pair in a name that a token brought, say."""
    found: dict[str, Any] = {}
    for name, value in record.items():
        try:
            orjson.dumps(value)
        except orjson.JSONEncodeError:
            found[name] = "?"
        else:
            found[name] = value
    return found


def _event(kind: str, **more: Any) -> dict[str, Any]:
    return {"seq": 0, "prev": "", "type": kind, "at_ms": int(time() * 1000), **more}


def _signer(root: Path) -> Signer:
    """The key of this folder; its public half lies beside it."""
    path = root / "signing.key"
    try:
        own = Signer.read(path) if path.exists() else Signer.make(path)
    except FileExistsError:  # another worker was first
        own = Signer.read(path)
    public = root / "signing.pub"
    if not public.exists():
        public.write_text(own.public.text + "\n", encoding="ascii")
    return own


def _digest_key(root: Path) -> bytes:
    """Digests of bodies are keyed: whoever reads receipts must not find out what was said by trying."""
    path = root / "digest.key"
    part = root / f".digest.key.{os.getpid()}"
    if not path.exists():
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as out:
            out.write(secrets.token_bytes(32))
        try:
            os.link(part, path)
        except FileExistsError:
            """Another worker was first."""
        finally:
            part.unlink()
    return path.read_bytes()
