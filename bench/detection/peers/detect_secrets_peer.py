"""detect-secrets: files, its default plugins and filters."""

from __future__ import annotations

import contextlib
import pathlib
import tempfile

from detect_secrets import SecretsCollection
from detect_secrets.settings import default_settings

from bench.detection.peers.harness import Finding, ScanOne, place, serve

# Settings hold as long as their context is open.
OPEN = contextlib.ExitStack()


def prepare() -> ScanOne:
    folder = pathlib.Path(tempfile.mkdtemp())
    path = folder / "text.txt"
    OPEN.enter_context(default_settings())

    def scan(text: str) -> list[Finding]:
        path.write_text(text)
        secrets = SecretsCollection()
        secrets.scan_file(str(path))
        placed = (place(text, secret.secret_value or "", secret.line_number) for _, secret in secrets)
        return [finding for finding in placed if finding]

    return scan


if __name__ == "__main__":
    serve(prepare)
