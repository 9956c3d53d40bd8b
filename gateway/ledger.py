"""Takes the records of charges from the store of quotas into the ledger's file, a batch at a time, off the loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from tollhouse.middlewares.stores.ledger import LedgerFile
from tollhouse.middlewares.tasks import ended

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")
EVERY_S = 0.2
logger = logging.getLogger("tollhouse.ledger")


class Source(Protocol):
    """Where records come from: in order, each until it was said to be stored."""

    def may_have_more(self) -> bool:
        """False where there is surely nothing to bring."""

    async def bring(self, ledger: LedgerKeeper) -> bool:
        """Bring the next batch into the ledger; whether there may be another."""


class LedgerKeeper:
    """Keeps the ledger at `path`."""

    def __init__(self, path: Path, *, every_s: float = EVERY_S) -> None:
        self._path = path
        self._every_s = every_s
        self._file: LedgerFile | None = None
        self._source: Source | None = None
        self._task: asyncio.Task[None] | None = None
        # SQLite waits for the disk; the loop must not.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        """Raises OSError or sqlite3.Error."""
        self._file = await self._run(lambda: LedgerFile(self._path))

    async def position(self, name: str) -> str | None:
        """Up to where the file has the records of the source that is called `name`."""
        return await self.run(lambda file: file.last(name))

    async def start(self, source: Source) -> None:
        """Take in what `source` has, from here on."""
        self._source = source
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        """Take in what there is, and close the file."""
        if self._task is not None:
            await ended(self._task)
            with contextlib.suppress(Exception):
                await self.drain()
        if self._file is not None:
            await self._run(self._file.close)
            self._file = None
        self._thread.shutdown(wait=False)

    async def drain(self) -> None:
        """Take in everything that the source has now."""
        source = self._source
        if source is None:
            return
        async with self._turn:
            while source.may_have_more() and await source.bring(self):
                pass

    async def ask(self, question: Callable[[LedgerFile], T]) -> T:
        """The answer of the file, all that was charged before included."""
        await self.drain()
        return await self.run(question)

    async def run(self, job: Callable[[LedgerFile], T]) -> T:
        """What `job` makes of the file, in the thread that has it."""
        assert self._file is not None
        return await self._run(partial(job, self._file))

    async def _run(self, job: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, job)

    async def _keep(self) -> None:
        failed = False
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.drain()
            except (OSError, sqlite3.Error) as error:
                # The store keeps its records until they are here, and admits nothing more when there are too many.
                if not failed:
                    logger.error("the ledger cannot be written: %s", type(error).__name__)  # noqa: TRY400
                failed = True
            except Exception as error:  # noqa: BLE001 - of the store, which tells of its state itself
                logger.debug("the ledger waits for the store: %s", type(error).__name__)
            else:
                if failed:
                    logger.info("the ledger can be written again")
                failed = False
