"""A chain of records in a folder: lines of JSON, each with the digest of the line before it, in segments.

A line is `{"seq":8,"prev":"<SHA-256 of line 7>",...}`; the first names the digest of the chain's id. One process has a
chain at a time; it holds a lock on the folder.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from tollhouse.middlewares.stores.files import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SEGMENT_BYTES = 32 * 1024 * 1024
MOST_CHAINS = 1024  # of a folder
_GENESIS = b"tollhouse receipts chain v1\n"
_EMPTY = sha256()
_DELIVERED = "delivered.json"
_TAIL = 1024 * 1024  # more than a line has


class Position(NamedTuple):
    """Up to and with record `seq`, whose digest is `hash`; the next begins in `segment` at byte `offset`."""

    seq: int
    hash: str
    segment: str
    offset: int


class ChainBusy(OSError):
    """Another process has this chain."""


class ChainCut(OSError):
    """Others were told of records that are not there any more: going on would give their numbers to other records."""


def genesis(chain_id: str) -> str:
    """What stands before the first record."""
    return sha256(_GENESIS + chain_id.encode()).hexdigest()


def chains(root: Path) -> list[Path]:
    """Folders of chains, in order."""
    return sorted(path for path in root.glob("chain-*") if (path / "id").exists())


def segments(folder: Path) -> list[Path]:
    """Files of a chain, in the order of their records."""
    return sorted(folder.glob("*.jsonl"))


def claim(root: Path) -> Chain:
    """The first chain that nobody has, made if there is none. Raises OSError."""
    for number in range(MOST_CHAINS):
        with suppress(ChainBusy, ChainCut):
            return Chain(root / f"chain-{number:04}")
    msg = f"all {MOST_CHAINS} chains in {root} are taken"
    raise OSError(msg)


class Chain:
    """Opens a chain, or makes it; for one thread at a time.

    Raises OSError (ChainBusy and ChainCut among them), or ValueError for a file that is no chain.

    dropped: bytes at the end that were no whole record, because a process was killed while it wrote them.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise ChainBusy(error.errno, "the chain is another process's", str(folder)) from None
        self._fd = -1
        self._size = 0  # of the last segment
        self.seq, self.hash = 0, ""
        self.dropped = 0
        try:
            self.id = self._read_id()
            self._open_last()
            self.delivered = self._read_delivered()
            self.waiting = self._waiting()
        except BaseException:
            self.close()
            raise

    def append(self, records: Sequence[dict[str, Any]]) -> None:
        """Write records, whose members `seq` and `prev` are set; all or none. A process that dies leaves them there,
        whole; only `sync` holds against a machine that does. Raises OSError.
        """
        if self._size >= SEGMENT_BYTES:
            self._begin(self.seq + 1)
        seq, prev = self.seq, self.hash
        lines = []
        for record in records:
            seq += 1
            record["seq"], record["prev"] = seq, prev
            line = orjson.dumps(record)
            digest = _EMPTY.copy()  # half of what a new one costs
            digest.update(line)
            prev = digest.hexdigest()
            lines.append(line)
        lines.append(b"")
        data = b"\n".join(lines)
        try:
            written = os.write(self._fd, data)
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._fd, self._size)
            raise
        self._size += len(data)
        self.waiting += len(data)
        self.seq, self.hash = seq, prev

    def sync(self) -> None:
        """What was appended is on the disk when this has returned. Raises OSError."""
        os.fdatasync(self._fd)

    def read(self, most: int, most_bytes: int) -> tuple[list[bytes], Position]:
        """Lines that were not delivered, oldest first, and where the next ones begin."""
        position = self.delivered
        files = [path for path in segments(self.folder) if path.name >= position.segment]
        lines: list[bytes] = []
        size = 0
        for path in files:
            offset = position.offset if path.name == position.segment else 0
            with path.open("rb") as file:
                file.seek(offset)
                for line in file:
                    if len(lines) >= most or (lines and size + len(line) > most_bytes) or not line.endswith(b"\n"):
                        return lines, position
                    size += len(line)
                    offset += len(line)
                    lines.append(line[:-1])
                    digest = sha256(line[:-1]).hexdigest()
                    position = Position(position.seq + 1, digest, path.name, offset)
        return lines, position

    def mark_delivered(self, position: Position) -> None:
        """Everything up to there has arrived. Raises OSError."""
        replace(self.folder / _DELIVERED, orjson.dumps(position._asdict()))
        self.delivered = position
        self.waiting = self._waiting()

    def trim(self, keep_bytes: int, anchor: Callable[[Position], bytes]) -> None:
        """Delete the oldest segments that were delivered, until about so many bytes are left. Raises OSError.

        anchor: what is written down of the last record that goes, so that the rest can still be checked.
        """
        files = segments(self.folder)
        size = sum(path.stat().st_size for path in files)
        for path in files:
            own = path.stat().st_size
            if size <= keep_bytes or path.name >= self.delivered.segment:
                return
            seq, digest = _last_of(path)
            replace(self.folder / "anchor.json", anchor(Position(seq, digest, path.name, own)))
            path.unlink()
            size -= own

    def close(self) -> None:
        for fd in (self._fd, self._lock):
            if fd >= 0:
                os.close(fd)
        self._fd = self._lock = -1

    def _read_id(self) -> str:
        path = self.folder / "id"
        if not path.exists():
            replace(path, secrets.token_hex(16).encode())
        return path.read_text(encoding="ascii")

    def _open_last(self) -> None:
        files = segments(self.folder)
        if not files:
            self.seq, self.hash = 0, genesis(self.id)
            self._begin(1)
            return
        last = files[-1]
        self._fd = os.open(last, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        size = os.fstat(self._fd).st_size
        tail = os.pread(self._fd, _TAIL, max(0, size - _TAIL))
        whole = tail.rfind(b"\n") + 1
        self.dropped = len(tail) - whole
        self._size = size - self.dropped
        if self.dropped:
            os.ftruncate(self._fd, self._size)
        if whole:
            line = tail[:whole].splitlines()[-1]
            self.seq, self.hash = _seq_of(line, last), sha256(line).hexdigest()
        elif len(files) > 1:
            self.seq, self.hash = _last_of(files[-2])
        else:
            self.seq, self.hash = 0, genesis(self.id)

    def _begin(self, first: int) -> None:
        """A new segment, named by its first record."""
        if self._fd >= 0:
            os.fdatasync(self._fd)
        path = self.folder / f"{first:016}.jsonl"
        # If there is no room for it, the old one stays what is written to.
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self._size = os.fstat(fd).st_size
        _sync_folder(self.folder)

    def _read_delivered(self) -> Position:
        files = segments(self.folder)
        try:
            found = Position(**orjson.loads((self.folder / _DELIVERED).read_bytes()))
        except (OSError, TypeError, orjson.JSONDecodeError):
            """Then everything that is there is told again, which changes nothing for whoever has it."""
        else:
            if found.seq > self.seq:
                raise ChainCut(0, "records that were delivered are missing", str(self.folder))
            if (self.folder / found.segment).exists():
                return found
        return Position(int(files[0].stem) - 1, "", files[0].name, 0)

    def _waiting(self) -> int:
        """Bytes that were not delivered."""
        position = self.delivered
        sizes = (path.stat().st_size for path in segments(self.folder) if path.name >= position.segment)
        return sum(sizes) - position.offset


def _last_of(path: Path) -> tuple[int, str]:
    line = path.read_bytes().splitlines()[-1]
    return _seq_of(line, path), sha256(line).hexdigest()


def _seq_of(line: bytes, path: Path) -> int:
    try:
        return int(orjson.loads(line)["seq"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        msg = f"the last record of {path} cannot be read: `tollhouse audit verify` says what is wrong"
        raise ValueError(msg) from None


def records(folder: Path) -> Iterator[tuple[Path, int, bytes]]:
    """Every line with its file and its number there, in order."""
    for path in segments(folder):
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield path, number, line


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
