"""What the services know, and what they keep: in memory, and the receipts on disk if there is a folder for them."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from scripts.reference_services.faults import Control
from scripts.reference_services.issuer import Issuer
from tollhouse._native import SigningKey
from tollhouse.config.signing import POLICY, Signer

SERVICES = ("iam", "policy", "data-governance", "budget", "eris", "alerting")
_POLICY = b'{"policy": 1, "version": "1", "rules": [{"id": "all", "effect": "allow", "tools": ["*"]}]}'


class World:
    """folder: where receipts outlive the process (receipts.jsonl), and whence policy.json is served if it is there."""

    def __init__(self, folder: Path | None = None, *, token: str | None = None) -> None:
        self.folder = folder
        self.token = token  # that callers have to bring; None: none
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self.signer = _signer(folder)
        self.forget()
        if folder is not None and self._receipts.exists():
            for line in self._receipts.read_text().splitlines():
                record = json.loads(line)
                self.batches[record["key"]] = record["digest"], record["receipts"]

    def forget(self) -> None:
        """Back to what is known at the start."""
        self.controls = {name: Control() for name in SERVICES}
        self.issuer = Issuer()
        self.jwks_uri: str | None = None  # where discovery says the keys are; None: here
        self.tokens: dict[str, dict[str, Any]] = {"demo-token": {"sub": "demo", "tenant": "acme", "team": "research"}}
        self.classifications: dict[str, dict[str, Any]] = {
            "acme": {"classification": "confidential", "request": {"pii": "redact", "secrets": "block"}},
            "default": {"classification": "internal", "request": {"pii": "flag", "secrets": "redact"}},
        }
        self.budgets: dict[str, dict[str, Any]] = {
            "acme": {"allowed": True, "remaining_nano_usd": 5_000_000_000},
            "default": {"allowed": True, "remaining_nano_usd": None},
        }
        self.policy = self.signed(_POLICY)
        self.spent: dict[str, dict[str, Any]] = {}  # by id
        self.alerts: list[dict[str, Any]] = []
        self.batches: dict[str, tuple[str, list[Any]]] = {}  # by key: digest, receipts

    @property
    def _receipts(self) -> Path:
        assert self.folder is not None
        return self.folder / "receipts.jsonl"

    def signed(self, content: bytes) -> bytes:
        """A policy as it is handed out: the line of its signature, then its bytes."""
        return self.signer.sign(POLICY, content).encode() + b"\n" + content

    def document(self) -> tuple[bytes, str]:
        """The policy and its tag."""
        path = None if self.folder is None else self.folder / "policy.json"
        document = path.read_bytes() if path is not None and path.exists() else self.policy
        return document, f'"{hashlib.sha256(document).hexdigest()[:32]}"'

    def spend(self, charges: list[dict[str, Any]]) -> bool:
        """Take charges off what is left; whether any of them was new."""
        is_new = False
        for charge in charges:
            if charge["id"] in self.spent:
                continue
            is_new = True
            self.spent[charge["id"]] = charge
            budget = self.budgets.get(charge["tenant"], {})
            if budget.get("remaining_nano_usd") is not None:
                budget["remaining_nano_usd"] = max(0, budget["remaining_nano_usd"] - charge["nano_usd"])
        return is_new

    def keep(self, key: str, body: bytes, receipts: list[Any]) -> bool | None:
        """True: kept from now on; False: it was kept already; None: the key is that of another batch."""
        digest = hashlib.sha256(body).hexdigest()
        known = self.batches.get(key)
        if known is not None:
            return False if known[0] == digest else None
        if self.folder is not None:
            with self._receipts.open("a") as out:
                out.write(json.dumps({"key": key, "digest": digest, "receipts": receipts}) + "\n")
                out.flush()
                os.fsync(out.fileno())
        self.batches[key] = digest, receipts
        return True


def _signer(folder: Path | None) -> Signer:
    """Of policies; in a folder it outlives the process."""
    if folder is None:
        return Signer(SigningKey.generate())
    path = folder / "policy.pem"
    return Signer.read(path) if path.exists() else Signer.make(path)
