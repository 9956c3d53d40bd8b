"""Configurations that were accepted, with the files that they were made of, to go back to.

STATE/configurations/<id of the configuration's path>/v000007/ has `manifest.json` and the files, numbered; `current`
names the version that runs. What comes from the environment is not in there, and where secrets stand in the files in
clear, no copy is made (clear_secrets.py). Folders are for this user alone (0700) and files too (0600).
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tollhouse.config.files import Files

MANIFEST = "manifest.json"
ENTRIES = "entries.json"
CURRENT = "current"
WITHDRAWN = "withdrawn"  # a file in the folder of a version that somebody went back from
STAGED = "staged-"
_STALE_S = 600.0


class Damaged(Exception):
    """A version that is not what was kept."""


@dataclass(frozen=True, slots=True)
class Version:
    """One that was accepted. files: names in the folder by path; times are seconds since the epoch."""

    number: int
    folder: str
    fingerprint: str  # SHA-256 over all files, hexadecimal
    source: str
    accepted_at: float
    by: str  # start, reload
    files: dict[str, tuple[str, str]]  # path: name in the folder, SHA-256
    digests: dict[str, str]  # of files that are not kept, by path
    is_withdrawn: bool  # somebody went back from it


def folder_of(state_dir: str, source: str | None) -> str:
    """Where the versions of the configuration at `source` are, and the sockets of gateways that run with it."""
    name = _digest(os.path.abspath(source).encode())[:12] if source else "environment"
    return os.path.join(os.path.abspath(state_dir), "configurations", name)


def make(folder: str) -> None:
    """The folder, and those around it. Raises OSError."""
    os.makedirs(os.path.dirname(os.path.dirname(folder)), exist_ok=True)
    for path in (os.path.dirname(folder), folder):
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            continue


def stage(staged: str, source: str, files: Files, entries: Mapping[str, str]) -> None:
    """Write a candidate to the folder `staged`, which is made. entries: expected decisions by id. Raises OSError."""
    os.mkdir(staged, 0o700)
    copies = {}
    for number, (path, content) in enumerate(sorted(files.contents.items())):
        name = f"{number}-{os.path.basename(path)[-100:]}"
        copies[path] = name, _digest(content)
        write(os.path.join(staged, name), content)
    manifest = {
        "source": os.path.abspath(source),
        "fingerprint": files.fingerprint,
        "files": copies,
        "digests": files.digests,
    }
    write(os.path.join(staged, ENTRIES), json.dumps(dict(entries)).encode())
    write(os.path.join(staged, MANIFEST), json.dumps(manifest).encode())


def write(path: str, content: bytes, mode: int = 0o600) -> None:
    """A file that was not there, on the disk when this returns. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


class History:
    """The versions in a folder. Several gateways may share it; changes are made under a lock."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def versions(self) -> list[Version]:
        """In the order in which they were accepted; what cannot be read is left out."""
        try:
            names = sorted(name for name in os.listdir(self.folder) if name[:1] == "v" and name[1:].isdecimal())
        except FileNotFoundError:
            return []
        return [one for one in map(self._read, names) if one is not None]

    def current(self) -> Version | None:
        """None: what runs is not kept."""
        try:
            with open(os.path.join(self.folder, CURRENT), encoding="ascii") as file:
                return self._read(file.read().strip())
        except OSError:
            return None

    def find(self, number: int) -> Version | None:
        return self._read(_name(number))

    def before(self, version: Version) -> Version | None:
        """The latest one before `version` that differs from it, and that nobody went back from."""
        earlier = [one for one in self.versions() if one.number < version.number and not one.is_withdrawn]
        return next((one for one in reversed(earlier) if one.fingerprint != version.fingerprint), None)

    def forget(self, *, all_of_it: bool = False) -> None:
        """What runs now is not kept; all_of_it: and neither are others any more. Raises OSError."""
        with self._locked():
            _unlink(os.path.join(self.folder, CURRENT))
            for old in self.versions() if all_of_it else ():
                shutil.rmtree(old.folder, ignore_errors=True)

    def commit(self, staged: str, *, by: str, keep: int) -> Version:
        """What was staged is what runs now; the latest `keep` are kept. Raises OSError."""
        with self._locked():
            manifest = _manifest(staged)
            running = self.current()
            if running is not None and running.fingerprint == manifest["fingerprint"]:
                shutil.rmtree(staged, ignore_errors=True)
                return running
            numbers = [int(name[1:]) for name in os.listdir(self.folder) if name[:1] == "v" and name[1:].isdecimal()]
            name = _name(max(numbers, default=0) + 1)
            _replace(os.path.join(staged, MANIFEST), json.dumps(manifest | {"accepted_at": time.time(), "by": by}))
            os.rename(staged, os.path.join(self.folder, name))
            self._point(name)
            versions = self.versions()
            for is_withdrawn in (False, True):  # those that nobody goes back to take no place of others
                for old in [one for one in versions if one.is_withdrawn is is_withdrawn][:-keep]:
                    shutil.rmtree(old.folder, ignore_errors=True)
            return read(os.path.join(self.folder, name))

    def turn_to(self, version: Version) -> None:
        """An earlier one is what runs now. Raises OSError."""
        with self._locked():
            left = self.current()
            if left is not None and left.number > version.number and not left.is_withdrawn:
                write(os.path.join(left.folder, WITHDRAWN), b"")
            _unlink(os.path.join(version.folder, WITHDRAWN))
            self._point(_name(version.number))

    def sweep(self) -> None:
        """Take away what processes that were killed have left."""
        now = time.time()
        for name in os.listdir(self.folder):
            path = os.path.join(self.folder, name)
            if name.startswith(STAGED) and now - os.stat(path).st_mtime > _STALE_S:
                shutil.rmtree(path, ignore_errors=True)

    def _point(self, name: str) -> None:
        _replace(os.path.join(self.folder, CURRENT), name)

    def _read(self, name: str) -> Version | None:
        try:
            return read(os.path.join(self.folder, name))
        except Damaged:
            return None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fd = os.open(os.path.join(self.folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def read(folder: str) -> Version:
    """The version in this folder. Raises Damaged."""
    try:
        found = _manifest(folder)
        return Version(
            number=int(os.path.basename(folder)[1:]),
            folder=folder,
            fingerprint=found["fingerprint"],
            source=found["source"],
            accepted_at=found["accepted_at"],
            by=found["by"],
            files={path: (copy, digest) for path, (copy, digest) in found["files"].items()},
            digests=found["digests"],
            is_withdrawn=os.path.exists(os.path.join(folder, WITHDRAWN)),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise Damaged(f"{folder} is not what was kept") from None


def contents(version: Version) -> dict[str, bytes]:
    """What its files held, by path. Raises Damaged."""
    found = {}
    for path, (name, digest) in version.files.items():
        try:
            with open(os.path.join(version.folder, name), "rb") as file:
                found[path] = file.read()
        except OSError as error:
            raise Damaged(f"version {version.number}: the copy of {path} cannot be read: {error.strerror}") from None
        if _digest(found[path]) != digest:
            raise Damaged(f"version {version.number}: the copy of {path} is not what was kept")
    return found


def _digest(content: bytes) -> str:
    from hashlib import sha256  # noqa: PLC0415 - 3 MB of OpenSSL, which the supervisor does without

    return sha256(content).hexdigest()


def _manifest(folder: str) -> dict[str, Any]:
    with open(os.path.join(folder, MANIFEST), encoding="utf-8") as file:
        found: dict[str, Any] = json.load(file)
        return found


def _name(number: int) -> str:
    return f"v{number:06d}"


def _replace(path: str, text: str) -> None:
    part = f"{path}.{os.getpid()}"
    try:
        write(part, text.encode())
        os.replace(part, path)
    finally:
        _unlink(part)
    fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)
