"""Policy documents: read, checked against their signatures, and made into plain values. Doubt is an error."""

from __future__ import annotations

from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tollhouse.config import document, signing
from tollhouse.config.defects import placed, said
from tollhouse.config.policy_schema import PolicyDocument
from tollhouse.config.problems import Problem
from tollhouse.config.settings import PolicySettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tollhouse.config.document import Document
    from tollhouse.config.policy_schema import RuleEntry
    from tollhouse.config.problems import Place
    from tollhouse.config.schema import PolicySection

SIGNATURE = ".sig"
MOST_BYTES = 4 * 1024 * 1024
_NANO = 10**9
_WHO = ("tenants", "keys", "users", "routes", "models")


def resolve(
    section: PolicySection,
    source: Document,
    path: str | None,
    *,
    rules: Sequence[dict[str, Any]] = (),
    has_receipts: bool = True,
    has_service: bool = False,
) -> PolicySettings | None:
    """The policy that the section names, and its shadows. rules: of the scan, which actions may name.

    has_service: the policy service has documents, so that a file may be missing; keys are then checked with its own.

    Errors are reported to `source`; there is no policy then, and no configuration either.
    """
    if section.file is None:
        if not has_service:
            source.report(("policy", "file"), "is missing, and no policy service is configured")
        for name in ("signature", "shadow"):
            if getattr(section, name) is not None:
                source.report(("policy", name), "belongs to a file, and there is none")
        return None
    folder = Path(path).parent if path else Path()
    keys = _keys(section, source)
    if not section.require_signature:
        source.report(("policy", "require_signature"), "policies need no signature, so any file will do", warning=True)
    elif not section.keys:
        source.report(
            ("policy", "keys"), "are missing: whose signature counts? (`tollhouse policy keygen` makes a key)"
        )
    reader = _Reader(source, keys if section.require_signature else None, rules)
    signature = folder / section.signature if section.signature is not None else None
    real = reader.read(folder / section.file, ("policy", "file"), signature)
    shadows = [reader.read(folder / name, ("policy", "shadow", i)) for i, name in enumerate(section.shadow or [])]
    if real is None or None in shadows:
        return None
    for rule in real["rules"]:
        if rule["needs_receipt"] and not has_receipts:
            message = f"rule {rule['id']} wants receipts, and there are none: what it fits is refused"
            source.report(("policy",), message, warning=True)
    return PolicySettings(**real, shadows=tuple(PolicySettings(**one) for one in shadows if one is not None))


def _keys(section: PolicySection, source: Document) -> list[signing.PublicKey]:
    found = []
    for i, text in enumerate(section.keys or []):
        try:
            found.append(signing.PublicKey(text))
        except signing.BadKey as error:
            source.report(("policy", "keys", i), str(error))
    return found


class _Reader:
    """keys: whose signatures count; None: none is needed."""

    def __init__(self, source: Document, keys: list[signing.PublicKey] | None, rules: Sequence[dict[str, Any]]) -> None:
        self._source = source
        self._keys = keys
        self._rules = list(rules)

    def read(self, path: Path, place: Place, signature: Path | None = None) -> dict[str, Any] | None:
        """Fields of PolicySettings; None: what is wrong has been reported."""
        try:
            content = self._source.files.read(path)
            signer = "" if self._keys is None else self._signer(content, signature or Path(f"{path}{SIGNATURE}"))
        except OSError as error:
            self._source.report(place, f"{error.filename} cannot be read: {error.strerror}")
            return None
        except signing.BadSignature as error:
            self._source.report(place, f"{path} {error}")
            return None
        # From the very bytes that were signed.
        found, problems = checked(content, str(path), self._rules, signer=signer)
        self._source.problems += problems
        return found

    def _signer(self, content: bytes, path: Path) -> str:
        try:
            line = self._source.files.read(path).decode("ascii", errors="replace")
        except FileNotFoundError:
            msg = f"is not signed: there is no {path} (`tollhouse policy sign` makes it)"
            raise signing.BadSignature(msg) from None
        return signing.verify(signing.POLICY, content, line, self._keys or ()).id


def checked(
    content: bytes, file: str, scan_rules: list[dict[str, Any]], *, signer: str
) -> tuple[dict[str, Any] | None, list[Problem]]:
    """Fields of PolicySettings, unless an error is among the problems. signer: who has signed this very content."""
    parsed, problems = _read(content, file, scan_rules)
    if parsed is None or any(problem.severity == "error" for problem in problems):
        return None, problems
    return {
        "version": parsed.version,
        "digest": sha256(content).hexdigest(),
        "signer": signer,
        "file": file,
        "rules": tuple(_plain(rule) for rule in parsed.rules),
    }, problems


def problems_of(content: bytes, file: str) -> list[Problem]:
    """What is wrong with a policy by itself; which rules there are to scan by is not known."""
    return _read(content, file, None)[1]


def _read(
    content: bytes, file: str, scan_rules: list[dict[str, Any]] | None
) -> tuple[PolicyDocument | None, list[Problem]]:
    """The document, unless its form is wrong, and everything that is. scan_rules: None leaves actions unchecked."""
    if len(content) > MOST_BYTES:
        return None, [Problem("", f"is larger than {MOST_BYTES} bytes", file)]
    try:
        found = document.parse(content.decode(), file)
    except UnicodeDecodeError:
        return None, [Problem("", "the file is not UTF-8", file)]
    if found.problems:
        return None, found.problems
    try:
        parsed = PolicyDocument.model_validate(found.data)
    except ValidationError as error:
        for defect in error.errors():
            found.report(placed(found.data, defect["loc"]), said(defect))
        return None, found.problems
    _check_order(parsed.rules, found)
    if scan_rules is not None:
        _check_findings(parsed.rules, scan_rules, found)
    return parsed, found.problems


def _check_findings(rules: list[RuleEntry], scan_rules: list[dict[str, Any]], found: Document) -> None:
    from tollhouse.config.scanning import refused  # noqa: PLC0415 - compiles rules

    known: dict[str, list[str]] = {}
    for i, rule in enumerate(rules):
        for side in ("request", "response"):
            actions = getattr(rule.findings, side, None)
            if actions is None:
                continue
            given = actions.model_dump(exclude_none=True)
            key = repr(given)
            if key not in known:
                known[key] = refused(given, scan_rules)
            for problem in known[key]:
                where, _, reason = problem.partition(": ")
                found.report(("rules", i, "findings", side, *where.split(".", 1)), reason)


def _check_order(rules: list[RuleEntry], found: Document) -> None:
    """Rules that have no turn because an earlier one fits wherever they would, and names that are there twice."""
    for i, rule in enumerate(rules):
        for j, earlier in enumerate(rules[:i]):
            if rule.id == earlier.id:
                found.report(("rules", i, "id"), f"the id {rule.id} is there twice")
            elif all(_covers(getattr(earlier, name), getattr(rule, name)) for name in _WHO):
                found.report(("rules", i), f"has no turn: rule {earlier.id} (rules[{j}]) fits first", warning=True)
                break


def _covers(wide: list[str], narrow: list[str]) -> bool:
    return all(
        any(one == other or (one.endswith("*") and other.startswith(one[:-1])) for one in wide) for other in narrow
    )


def _plain(rule: RuleEntry) -> dict[str, Any]:
    """Fields of the rule as the engine takes them."""
    found: dict[str, Any] = {"id": rule.id, "effect": rule.effect, "tools": tuple(rule.tools)}
    found |= {name: tuple(getattr(rule, name)) for name in _WHO}
    for side in ("request", "response"):
        actions = getattr(rule.findings, side, None)
        found[side] = None if actions is None else actions.model_dump(exclude_none=True)
    caps, duties = rule.caps, rule.obligations
    found["caps"] = caps and {
        "max_tokens": caps.max_tokens,
        "max_cost": None if caps.max_cost_usd is None else int(caps.max_cost_usd * _NANO),
        "refuse": caps.over == "refuse",
    }
    found["needs_receipt"] = duties is not None and duties.receipt
    found["headers"] = tuple(((duties.headers if duties else None) or {}).items())
    return found


def explained(policy: PolicySettings) -> list[str]:
    """What a policy says, for people: a line about the document, and one per rule."""
    signed = f"signed by key {policy.signer}" if policy.signer else "NOT SIGNED"
    what = f"policy {policy.version} (sha256 {policy.digest[:16]}, {signed})"
    order = f"the first of {len(policy.rules)} rules that fits decides; where none fits, the request is refused"
    lines = [f"{what}: {order}"]
    lines += [f"  {i}. {_explained(rule)}" for i, rule in enumerate(policy.rules, 1)]
    for shadow in policy.shadows:
        first, *rest = explained(shadow)
        lines += [f"shadow {first}", *rest]
    return lines


def _explained(rule: dict[str, Any]) -> str:
    who = [f"{name} {', '.join(rule[name])}" for name in _WHO if rule[name] != ("*",)]
    text = f"{rule['id']}: {rule['effect']} {'; '.join(who) or 'everybody everything'}"
    if rule["effect"] == "deny":
        return text
    parts = [f"tools {', '.join(rule['tools']) or 'none'}"]
    for side in ("request", "response"):
        if rule[side] is not None:
            flat = {k: v for k, v in rule[side].items() if not isinstance(v, dict)}
            flat |= rule[side].get("types", {}) | rule[side].get("rules", {})
            parts.append(f"{side} " + " ".join(f"{name}={action}" for name, action in flat.items()))
    caps = rule["caps"] or {}
    if caps.get("max_tokens"):
        parts.append(f"at most {caps['max_tokens']} tokens")
    if caps.get("max_cost"):
        parts.append(f"at most {Decimal(caps['max_cost']) / _NANO:f} USD")
    if caps.get("refuse"):
        parts.append("more is refused")
    if rule["needs_receipt"]:
        parts.append("only with a receipt")
    parts += [f"{name}: {value}" for name, value in rule["headers"]]
    return f"{text}; {'; '.join(parts)}"
