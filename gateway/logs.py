"""Logs: JSON or text lines on standard error, written by one thread so that a slow reader never stops the loop."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import traceback
from collections import deque
from datetime import UTC, datetime
from types import TracebackType

import orjson

PIPE_ATOMIC = 4096  # writes up to this size do not mix with those of other processes on one pipe (POSIX PIPE_BUF)
MAX_LINES = 50_000  # waiting; beyond that lines are dropped and counted, memory is not


class LineWriter:
    """Takes lines from any thread and writes them in batches. `write` costs an append."""

    def __init__(self, fd: int, *, interval_s: float = 0.05) -> None:
        self._fd = fd
        self._interval_s = interval_s
        self._lines: deque[bytes] = deque()
        self._dropped = 0
        self._wake = threading.Event()
        self._closing = False
        self._idle = True
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def write(self, line: bytes) -> None:
        lines = self._lines
        if len(lines) >= MAX_LINES:
            self._dropped += 1
            return
        lines.append(line)
        if self._idle:
            self._idle = False
            self._wake.set()

    def close(self) -> None:
        """Write what is left and stop."""
        if self._thread.is_alive():
            self._closing = True
            self._wake.set()
            self._thread.join(timeout=2.0)

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait()
            self._wake.clear()
            # Lines of the next moment go out together with the first.
            if not self._closing:
                threading.Event().wait(self._interval_s)
            self._idle = True
            self._flush()
        self._flush()  # what came between the last look and the order to stop

    def _flush(self) -> None:
        lines = self._lines
        if self._dropped:
            lines.append(b'{"level":"warning","msg":"log lines dropped","count":%d}\n' % self._dropped)
            self._dropped = 0
        batch = b""
        while lines:
            line = lines.popleft()
            if batch and len(batch) + len(line) > PIPE_ATOMIC:
                self._put(batch)
                batch = b""
            batch += line
        self._put(batch)

    def _put(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                threading.Event().wait(0.01)
            except OSError:  # nobody reads any more
                return


class JsonFormatter(logging.Formatter):
    """One JSON object per line. Of an exception the type and the places are told, not its message: that may quote
    what a caller sent.
    """

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "ts": record.created,
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            fields["exception"] = record.exc_info[0].__name__
            fields["trace"] = _places(record.exc_info[2])
        return orjson.dumps(fields).decode()


class TextFormatter(logging.Formatter):
    """For eyes."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = f"{when} {record.levelname} {record.name}: {record.getMessage()}"
        if record.exc_info and record.exc_info[0] is not None:
            line += f" [{record.exc_info[0].__name__} at {' > '.join(_places(record.exc_info[2]))}]"
        return line


class _LineHandler(logging.Handler):
    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._writer.write(self.format(record).encode("utf-8", "replace") + b"\n")
        except Exception:  # noqa: BLE001 - a log line must never end a request
            self.handleError(record)


def configure(*, level: str, fmt: str) -> LineWriter:
    """Send the root logger through a LineWriter on standard error; returns it, for the access log."""
    writer = LineWriter(sys.stderr.fileno())
    handler = _LineHandler(writer)
    handler.setFormatter(JsonFormatter() if fmt == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.raiseExceptions = False
    # Granian reports every write to a client that has gone, one line per chunk.
    logging.getLogger("_granian").setLevel(logging.CRITICAL)
    logging.getLogger("granian").setLevel(logging.WARNING)
    return writer


def _places(trace: TracebackType | None) -> list[str]:
    return [f"{os.path.basename(f.filename)}:{f.lineno}:{f.name}" for f in traceback.extract_tb(trace)]
