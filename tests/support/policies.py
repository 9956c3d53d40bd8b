"""Policies as operators have them: a document, a key, a signature, and the section of the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from tollhouse.config.signing import POLICY, Signer

if TYPE_CHECKING:
    from pathlib import Path

ANYTHING: dict[str, Any] = {"id": "all", "effect": "allow"}


def written(folder: Path, *rules: dict[str, Any], version: str = "v1", name: str = "policy.yaml") -> Path:
    """An unsigned document."""
    path = folder / name
    path.write_text(yaml.safe_dump({"policy": 1, "version": version, "rules": list(rules)}, sort_keys=False))
    return path


def signer(folder: Path) -> Signer:
    """The one key of this folder."""
    path = folder / "policy.pem"
    return Signer.read(path) if path.exists() else Signer.make(path)


def sign(path: Path) -> str:
    """Sign a document as it is now; the public key."""
    own = signer(path.parent)
    path.with_name(f"{path.name}.sig").write_text(own.sign(POLICY, path.read_bytes()) + "\n")
    return own.public.text


def section(folder: Path, *rules: dict[str, Any], shadow: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """What stands under `policy` for these rules, and for shadow rules beside them."""
    path = written(folder, *rules)
    found: dict[str, Any] = {"file": str(path), "keys": [sign(path)]}
    if shadow is not None:
        beside = written(folder, *shadow, version="v2", name="shadow.yaml")
        sign(beside)
        found["shadow"] = [str(beside)]
    return found
