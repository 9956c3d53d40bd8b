"""The files that a configuration is made of, as they were when they were read."""

from __future__ import annotations

import errno
import json
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Files:
    """Reads files whole and remembers what they held; or gives what was kept of an earlier reading, and nothing else.

    Names are absolute paths in which no link is followed: where a mount swaps the folder behind one, the name stays.
    kept: contents by name; digests: what `digest` told of others.
    """

    def __init__(self, kept: Mapping[str, bytes] | None = None, digests: Mapping[str, str] | None = None) -> None:
        self._kept = kept
        self.contents: dict[str, bytes] = {}
        self.digests: dict[str, str] = dict(digests or {})  # hexadecimal SHA-256 of files that are not kept

    def read(self, path: Path) -> bytes:
        """Raises OSError."""
        name = str(path.absolute())
        if self._kept is None:
            found = path.read_bytes()
        elif name in self._kept:
            found = self._kept[name]
        else:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        self.contents[name] = found
        return found

    def digest(self, path: Path) -> str:
        """Of a file that is too large to be kept. Raises OSError."""
        name = str(path.absolute())
        if self._kept is None or name not in self.digests:
            self.digests[name] = sha256(path.read_bytes()).hexdigest()
        return self.digests[name]

    @property
    def fingerprint(self) -> str:
        """Of everything that was read: hexadecimal SHA-256, "" if there was nothing."""
        known = self.digests | {name: sha256(content).hexdigest() for name, content in self.contents.items()}
        return sha256(json.dumps(sorted(known.items())).encode()).hexdigest() if known else ""
