"""Files put back as they were: all of them, or, short of a crash between two renames, none."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from tollhouse.gateway import kept

if TYPE_CHECKING:
    from collections.abc import Mapping

PART = ".tollhouse-rollback"


def differing(contents: Mapping[str, bytes]) -> list[str]:
    """Paths whose files hold something else now, are gone, or cannot be read."""
    found = []
    for path, content in contents.items():
        try:
            is_same = _held(path) == content
        except OSError:
            is_same = False
        if not is_same:
            found.append(path)
    return found


def put_back(contents: Mapping[str, bytes]) -> list[str]:
    """Paths that were written. A link stays a link: what it leads to is replaced, with its owner and mode.

    Raises OSError, and leaves everything as it is, where one of them cannot be written.
    """
    wanted = {path: os.path.realpath(path) for path in differing(contents)}
    before = {target: _held(target) for target in wanted.values()}
    parts: dict[str, str] = {}
    try:
        for path, target in wanted.items():
            parts[target] = _staged(target, contents[path])
        _swap(parts, before)
    finally:
        for part in parts.values():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)
    return list(wanted)


def _swap(parts: Mapping[str, str], before: Mapping[str, bytes | None]) -> None:
    done: list[str] = []
    try:
        for target, part in parts.items():
            os.replace(part, target)
            done.append(target)
    except OSError:
        for target in done:
            content = before[target]
            if content is None:
                os.unlink(target)
            else:
                os.replace(_staged(target, content), target)
        raise


def _staged(target: str, content: bytes) -> str:
    """A file beside `target` with this content, and what else is to be as it was."""
    part = f"{target}{PART}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(part)  # of a rollback that was killed
    try:
        known = os.stat(target)
    except FileNotFoundError:
        known = None
    kept.write(part, content)
    if known is not None:
        with contextlib.suppress(PermissionError):
            os.chown(part, known.st_uid, known.st_gid)
        os.chmod(part, stat.S_IMODE(known.st_mode))
    return part


def _held(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
