"""The embedded store of quotas: native, in this process, durable in a folder of its own. For one process at a time.

A process that stops hands the store over before its last answers have ended (`hand_over`): its successor opens it at
once, and what the last answers came to is told in a file of the inbox, which whoever has the store reads.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from binascii import a2b_base64, b2a_base64
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tollhouse._native import QuotaPlan, QuotaStore
from tollhouse.middlewares.stores.ledger import Charge
from tollhouse.middlewares.stores.quota import (
    LIMIT,
    MAX_EXPIRY_MS,
    Admitted,
    Bucket,
    Budget,
    Denied,
    Meter,
    Stale,
    StoreUnavailable,
    check_admission,
    check_plan,
    check_settlement,
)
from tollhouse.middlewares.tasks import ended

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from tollhouse._native import QuotaRecords
    from tollhouse.middlewares.stores.quota import Admission

BUSY_POLL_S = 0.01
INBOX_POLL_S = 0.1
EXPIRE_EVERY_S = 1.0
EXPIRE_AT_ONCE = 1000
_ALL = 1 << 62  # more records than there will be
_tuple = tuple.__new__  # a NamedTuple of what is a tuple already: its own way goes through a function of Python's
logger = logging.getLogger("tollhouse.quota")

if TYPE_CHECKING:
    Last = Callable[[int], Awaitable[int]]


class Plan(NamedTuple):
    """Meters that are charged together."""

    meters: tuple[Meter, ...]
    native: QuotaPlan | None
    opening: int  # which opening of the store has made it


class EmbeddedQuota:
    """Limits, budgets and the records of their ledger in this process.

    folder: where they are kept; None keeps them in memory. slots: how many processes may have a store of their own
    there, which is right only where nothing is limited; with one, a process waits for the one before it. keeps_charges:
    False where nobody reads the `charges` of a store in memory.
    Answers at once; only opening and closing are awaited.
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None = None, *, slots: int = 1, keeps_charges: bool = True
    ) -> None:
        self._folder = None if folder is None else Path(folder)
        self._slots = slots
        self.slot = 0
        self._last: Last = _nothing
        self.native: QuotaStore | None = QuotaStore() if folder is None else None
        self._natives: dict[tuple[Meter, ...], QuotaPlan] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.openings = 0  # of `native`, which others may use but not keep: it goes with the last reference
        self._opened = asyncio.Event()
        self._inbox: int | None = None
        self._is_over = False  # handed over
        if self.native is not None:
            self._opened.set()
            if not keeps_charges:
                self.native.stored(_ALL)

    def __repr__(self) -> str:
        return f"EmbeddedQuota({self._folder or 'memory'})"

    @property
    def available(self) -> bool:
        return self.native is not None

    async def open(self, last: Last | None = None) -> None:
        """Read what is there; while another process has the store, wait for it in the background.

        last: given a slot, the number of its last record that is in the ledger. Raises OSError for a folder that cannot
        be used.
        """
        self._last = last or _nothing
        if self._folder is not None and not await self._try():
            logger.info("waiting for another process to hand the store over")
            self._tasks.append(asyncio.create_task(self._wait()))
        self._tasks.append(asyncio.create_task(self._look_after()))

    async def opened(self) -> None:
        """Wait until the store is this process's."""
        await self._opened.wait()

    def hand_over(self) -> None:
        """Admit nothing more, and let the next process have the store. What is still to end goes to its inbox."""
        if self._folder is None:
            return
        # One that still waits for it must not get it now, and keep it from its own successor for as long as it drains.
        self._is_over = True
        if self.native is not None:
            self._opened.clear()
            self.native = None
            self._natives.clear()

    async def regain(self) -> None:
        """Have the store back, if nobody has taken it: for what was left in the inbox."""
        if self._inbox is not None:
            os.close(self._inbox)
            self._inbox = None
            self._is_over = False
            try:
                await self._try()
            except Exception as error:  # noqa: BLE001 - what is in the inbox stays there for the next process
                logger.error("the store of limits and budgets cannot be opened: %s", error)  # noqa: TRY400

    async def close(self) -> None:
        """Everything is on the disk when this returns."""
        await ended(*self._tasks)
        self._tasks.clear()
        if self._folder is not None:
            self.native = None
            self._natives.clear()

    def plan(self, meters: Iterable[Meter]) -> Plan:
        """Meters to be charged together, in the order in which they are asked. Raises ValueError."""
        made = tuple(meters)
        if made:
            check_plan(made)
        return Plan(made, self._native(made), self.openings)

    def known(self, plan: Plan) -> QuotaPlan | None:
        """As the present `native` knows it."""
        return plan.native if plan.opening == self.openings else self._native(plan.meters)

    def admit(
        self,
        plan: Plan,
        *,
        tokens: int = 0,
        want: int = 0,
        minimum: int = 0,
        expires_in_ms: int,
        meta: bytes = b"",
        now_ms: int | None = None,
    ) -> Admission:
        """Take 1 or `tokens` from its buckets, a place, and up to `want` but no less than `minimum` from its budgets.

        Raises StoreUnavailable; nothing is held then.
        """
        if not (0 <= tokens < LIMIT and 0 <= minimum <= want < LIMIT and 0 < expires_in_ms <= MAX_EXPIRY_MS):
            check_admission(tokens, want, minimum, expires_in_ms)
        store = self.native
        if store is None:
            msg = "the store of limits and budgets is being handed over"
            raise StoreUnavailable(msg, kind="handover")
        native = plan.native if plan.opening == self.openings else self.known(plan)
        assert native is not None
        try:
            found: Any = store.admit(native, tokens, want, minimum, expires_in_ms, meta, now_ms)
        except OSError as error:
            raise StoreUnavailable(str(error), kind="journal") from error
        if len(found) == 4:
            return _tuple(Admitted, found)
        return Denied._make(found) if len(found) == 3 else Stale._make(found)

    def settle(self, hold: int, *, amount: int, tokens: int = 0, entry: bytes = b"", now_ms: int | None = None) -> str:
        """What a request came to. Answers settled, late, duplicate or unknown; `kept` when a successor will be told.

        Raises StoreUnavailable: it could not be written down, try again.
        """
        if not (0 <= amount < LIMIT and 0 <= tokens < LIMIT):
            check_settlement(amount, tokens)
        store = self.native
        if store is None:
            return self._leave_word(f"settle {hold} {amount} {tokens}", entry)
        try:
            return store.settle(hold, amount, tokens, entry, now_ms)
        except OSError as error:
            raise StoreUnavailable(str(error), kind="journal") from error

    def release(self, hold: int, *, now_ms: int | None = None) -> str:
        """Give everything back: only where the upstream has surely not been asked. Raises StoreUnavailable."""
        store = self.native
        if store is None:
            return self._leave_word(f"release {hold} 0 0", b"")
        try:
            return store.release(hold, now_ms)
        except OSError as error:
            raise StoreUnavailable(str(error), kind="journal") from error

    def expire_due(self, limit: int = EXPIRE_AT_ONCE, *, now_ms: int | None = None) -> int:
        """Charge up to `limit` holds whose time is over; how many. Raises StoreUnavailable."""
        try:
            return self.native.expire_due(limit, now_ms) if self.native is not None else 0
        except OSError as error:
            raise StoreUnavailable(str(error), kind="journal") from error

    @property
    def records(self) -> QuotaRecords | None:
        """What is not known to be in the ledger, for its file to take: it does not keep the store."""
        return None if self.native is None else self.native.records()

    def charges(self, limit: int) -> list[Charge]:
        """Records that are not known to be in the ledger, oldest first."""
        if self.native is None:
            return []
        return [
            Charge(seq, _STATUS[verb], str(hold), amount, at_ms, entry or meta)
            for seq, verb, hold, amount, at_ms, meta, entry in self.native.unstored(limit)
        ]

    def stored(self, position: int) -> None:
        """The ledger has everything up to and with this record."""
        if self.native is not None:
            self.native.stored(position)

    def accounts(self) -> list[tuple[str, int, int, int]]:
        """Of each budget's window: name, start, posted, reserved."""
        return [] if self.native is None else self.native.accounts()

    @property
    def open_holds(self) -> int:
        return 0 if self.native is None else self.native.open_holds

    def _native(self, meters: tuple[Meter, ...]) -> QuotaPlan | None:
        if self.native is None:
            return None
        native = self._natives.get(meters)
        if native is None:
            if len(self._natives) >= 100_000:
                self._natives.clear()
            native = self._natives[meters] = self.native.plan([_described(meter) for meter in meters])
        return native

    async def _try(self) -> bool:
        """Whether one of the slots was free."""
        assert self._folder is not None
        loop = asyncio.get_running_loop()
        for slot in range(self._slots):
            stored = await self._last(slot)
            try:
                # Not as a result: the executor's thread keeps that for a while, and with it the store's lock.
                made: list[QuotaStore] = []
                await loop.run_in_executor(None, _open, self._folder / str(slot), stored, made)
            except BlockingIOError:
                continue
            store = made.pop()
            if self._is_over:
                return True  # and so is the store, with this frame
            self.slot = slot
            self.native = store
            self.openings += 1
            self._opened.set()
            self._visit(store)
            return True
        return False

    async def _wait(self) -> None:
        failed = False
        while not self._is_over:
            try:
                if await self._try():
                    logger.info("the store was handed over")
                    return
            except Exception as error:  # noqa: BLE001 - whatever it is may pass, and nothing is admitted meanwhile
                if not failed:
                    logger.error("the store of limits and budgets cannot be opened: %s", error)  # noqa: TRY400
                failed = True
            # No event tells that another process has let go.
            await asyncio.sleep(1.0 if failed else BUSY_POLL_S)

    async def _look_after(self) -> None:
        rounds = 0
        while True:
            await asyncio.sleep(INBOX_POLL_S)
            rounds += 1
            # Not by a name of this frame's: a store that is handed over must be let go of at once.
            if self.native is not None:
                self._visit(self.native, expire=rounds * INBOX_POLL_S % EXPIRE_EVERY_S < INBOX_POLL_S)

    def _visit(self, store: QuotaStore, *, expire: bool = False) -> None:
        try:
            self._read_inbox(store)
            if expire:
                store.expire_due(EXPIRE_AT_ONCE)
        except OSError as error:
            logger.error("the store of limits and budgets: %s", error)  # noqa: TRY400

    def _leave_word(self, ending: str, entry: bytes) -> str:
        assert self._folder is not None
        try:
            if self._inbox is None:
                self._inbox = _new_file(self._folder / str(self.slot) / "inbox")
            # One write, so that what is there to be read is whole lines.
            os.write(self._inbox, f"{ending} {b2a_base64(entry, newline=False).decode()}\n".encode())
        except OSError as error:
            raise StoreUnavailable(str(error), kind="journal") from error
        return "kept"

    def _read_inbox(self, store: QuotaStore) -> None:
        """Do what earlier processes have left word of. What is done twice has no effect the second time."""
        inbox = None if self._folder is None else self._folder / str(self.slot) / "inbox"
        if inbox is None or not inbox.is_dir():
            return
        for path in sorted(inbox.iterdir()):
            with path.open("rb") as file:
                # Locked, so that nobody begins to write to a file that is about to go.
                is_over = _is_free(file.fileno())
                for line in file.read().split(b"\n")[:-1]:
                    _do(store, line)
                if is_over:
                    path.unlink(missing_ok=True)


async def _nothing(_: int) -> int:
    return 0


_STATUS = {"settle": "settled", "late": "late", "expire": "estimated"}


def _described(meter: Meter) -> tuple[Any, ...]:
    if isinstance(meter, Bucket):
        interval, counts_tokens = meter.refill == "interval", meter.unit == "tokens"
        return (meter.name, meter.capacity, meter.amount, meter.period_ms, interval, counts_tokens)
    if isinstance(meter, Budget):
        return (meter.name, meter.cap, meter.start_ms, meter.end_ms)
    return (meter.name, meter.capacity)


def _open(folder: Path, stored: int, made: list[QuotaStore]) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made.append(QuotaStore(folder, stored=stored))


def _new_file(inbox: Path) -> int:
    """A file of this process's own, which nobody deletes before it is closed."""
    inbox.mkdir(parents=True, exist_ok=True)
    path = inbox / str(os.getpid())
    while True:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)


def _is_free(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _do(store: QuotaStore, line: bytes) -> None:
    try:
        verb, hold, amount, tokens, entry = line.split(b" ")
        if verb == b"settle":
            store.settle(int(hold), int(amount), int(tokens), a2b_base64(entry))
        else:
            store.release(int(hold))
    except ValueError:
        logger.error("a line of the store's inbox cannot be read: its hold will be charged in full")  # noqa: TRY400
