"""The command line. What a command needs is imported by that command: `--help` answers at once.

Exit codes: 0 fine, 1 a check failed (a bad configuration is one), 2 wrong usage.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from tollhouse.gateway import change_commands
from tollhouse.gateway.audit_commands import audit
from tollhouse.gateway.policy_commands import policy as policy_commands

if TYPE_CHECKING:
    from tollhouse import Scanner
    from tollhouse.config.files import Files
    from tollhouse.config.settings import Settings
    from tollhouse.middlewares.stores.keys import KeyRecord, KeyStore

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's shape
    if wanted and not context.resilient_parsing:
        from tollhouse import __version__

        click.echo(f"tollhouse {__version__}")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show it.")
def cli() -> None:
    """An LLM gateway: one OpenAI-compatible endpoint in front of every model provider."""


@cli.command()
@click.option("--config", "path", type=click.Path(dir_okay=False), help="Configuration file (YAML).")
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on.")
@click.option("--workers", type=click.IntRange(1, 256), help="Worker processes.")
@click.option("--server", type=click.Choice(["builtin", "granian"]), help="HTTP server.")
def serve(path: str | None, host: str | None, port: int | None, workers: int | None, server: str | None) -> None:
    """Run the gateway."""
    from tollhouse.gateway.serve import serve as run

    given = {"host": host, "port": port, "workers": workers, "server": server}
    files = _files()
    overrides: dict[str, object] = {name: value for name, value in given.items() if value is not None}
    sys.exit(run(_settings(path, overrides, files), files))


@cli.command()
@click.argument("file", type=click.Path(dir_okay=False))
def validate(file: str) -> None:
    """Check a configuration file; tells every error at once."""
    from tollhouse.config.loader import check

    problems = check(file, os.environ)
    for problem in problems:
        click.echo(str(problem), err=True)
    errors = sum(problem.severity == "error" for problem in problems)
    if errors:
        click.echo(f"{file}: {errors} error{'s' if errors > 1 else ''}", err=True)
        sys.exit(1)
    click.echo(f"{file}: ok")
    policy = _settings(file, {}).policy
    if policy is not None:
        from tollhouse.config.policy import explained

        click.echo("\n".join(explained(policy)))


@cli.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True), default="-")
@click.option("--jsonl", is_flag=True, help="One JSON object with `id` and `text` per line; one answer per line.")
@click.option(
    "--config", type=click.Path(exists=True, dir_okay=False), help="Take policy and rules of this file's scan section."
)
@click.option("--policy", help="What to do: pii=redact,secrets=block,EMAIL_ADDRESS=allow,github-token=flag.")
@click.option("--rules", multiple=True, type=click.Path(dir_okay=False), help="More rules (TOML or YAML). Repeatable.")
def scan(file: str, config: str | None, policy: str | None, rules: tuple[str, ...], *, jsonl: bool) -> None:
    """Find personal data, secrets and attacks in FILE (default: standard input).

    Of a text, what may pass goes to standard output and what was found to standard error; the exit code is 1 if the
    text was blocked. With --jsonl each line has its own decision, and 1 means that a line could not be read.
    """
    from tollhouse.gateway.scan import BadInput, parse_policy, scan_lines, scan_text

    try:
        given = None if policy is None else parse_policy(policy)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--policy") from None
    scanner = _scanner(config, given, rules)
    with click.open_file(file, "rb") as source:
        try:
            if jsonl:
                scan_lines(scanner, source, sys.stdout.buffer)
            elif not scan_text(scanner, source, sys.stdout, sys.stderr):
                sys.exit(1)
        except BadInput as error:
            sys.stdout.flush()
            _fail(f"{'standard input' if file == '-' else file}: {error}")


@cli.command()
@click.argument("corpus", type=click.Path(exists=True, dir_okay=False))
@click.argument("out", type=click.Path(dir_okay=False))
@click.option(
    "--baseline",
    type=click.Path(exists=True, dir_okay=False),
    help="Compare with an earlier OUT instead of what the corpus expects.",
)
@click.option("--config", type=click.Path(exists=True, dir_okay=False), help="Whose policy decides.")
@click.option("--url", help="Ask a gateway that is served there; its key in TOLLHOUSE_KEY.")
@click.option("--model", default="tollhouse/echo", show_default=True, help="What is asked for.")
@click.option("--strict", is_flag=True, help="Fail on what was tightened, too.")
def replay(
    corpus: str, out: str, baseline: str | None, config: str | None, url: str | None, model: str, *, strict: bool
) -> None:
    """Send each conversation of CORPUS through the gateway; write what a caller is told to OUT.

    CORPUS has a JSON object per line: id, messages, expected_decision, tags; where that matters, model, caller and
    request (docs/RUNBOOK.md). Without --url the gateway runs in this process with the built-in model, and where nothing
    configures a scan, with the default policy. The exit code is 1 if a decision is looser than it was, or an entry had
    none.
    """
    import asyncio
    import http.client
    import json

    from tollhouse.gateway import corpus as corpora
    from tollhouse.gateway import decisions
    from tollhouse.gateway import replay as replaying
    from tollhouse.gateway.scan import BadInput

    async def records() -> list[dict[str, Any]]:
        if url is None:
            async with replaying.local(_settings(config, {}), {entry.caller for entry in entries}) as caller:
                return await replaying.run(entries, caller, model)
        remote = replaying.Remote.at(url, os.environ.get("TOLLHOUSE_KEY", ""))
        try:
            return await replaying.run(entries, remote, model)
        finally:
            remote.close()

    path = corpus
    try:
        entries = corpora.read(corpus)
        path = baseline or corpus
        before = None if baseline is None else corpora.baseline(baseline)
        found = asyncio.run(records())
    except BadInput as error:
        _fail(f"{path}: {error}")
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--url") from None
    except (OSError, http.client.HTTPException) as error:
        _fail(f"the gateway cannot be asked: {getattr(error, 'strerror', None) or type(error).__name__}")
    with open(out, "w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(record, ensure_ascii=False)}\n" for record in found)
    report = decisions.compared(found, before)
    for what in ("failed", "loosened", "tightened"):
        for line in getattr(report, what):
            click.echo(f"{what}: {line}")
    numbers = [f"{len(getattr(report, what))} {what}" for what in ("loosened", "tightened", "failed")]
    click.echo(f"{len(found)} entries: {', '.join(numbers)}")
    if not report.passes(strict=strict):
        sys.exit(1)


@cli.group()
def keys() -> None:
    """Make, list and revoke virtual keys."""


@keys.command("create")
@click.option("--name", default="unnamed", show_default=True, help="Whose it is.")
@click.option("--team", help="Team it belongs to.")
@click.option("--models", help="Models it may use, separated by commas; a trailing * matches the rest.")
@click.option("--expires", help="How long it lives: 90s, 30m, 12h, 30d.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def create_key(name: str, team: str | None, models: str | None, expires: str | None, *, as_json: bool) -> None:
    """Make a key and print it, this one time."""
    allowed = None if models is None else tuple(m.strip() for m in models.split(",") if m.strip())
    expires_at = _expiry(expires)
    store = _store()
    try:
        record, key = store.create(name=name, team=team, models=allowed, expires_at=expires_at)
    finally:
        store.close()
    if as_json:
        _print_json(_shown(record) | {"key": key})
    else:
        click.echo(key)


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_keys(*, as_json: bool) -> None:
    """List keys; the keys themselves are not kept."""
    store = _store()
    try:
        records = store.list()
    finally:
        store.close()
    if as_json:
        _print_json([_shown(record) for record in records])
        return
    for record in records:
        state = "revoked" if record.revoked_at else "active"
        models = "all models" if record.models is None else ",".join(record.models)
        click.echo(f"{record.public}  {state:7}  {record.name}  {record.team or '-'}  {models}")


@keys.command("revoke")
@click.argument("key_id", metavar="ID")
def revoke_key(key_id: str) -> None:
    """Revoke a key by its id (the twelve characters after sk-th-) or its name."""
    from tollhouse.middlewares.stores.keys import AmbiguousName

    store = _store()
    try:
        found = store.revoke(key_id)
    except AmbiguousName as error:
        _fail(str(error))
    finally:
        store.close()
    if not found:
        _fail(f"there is no active key {key_id!r}")
    click.echo(f"revoked {key_id}")


@cli.command()
@click.option(
    "--by", default="day", show_default=True, help="day, key, team, user, model, provider, status; with commas."
)
@click.option("--since", help="First day or moment (UTC), like 2026-11-01.")
@click.option("--until", help="Day or moment that is not included any more.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.option("--state-dir", type=click.Path(file_okay=False), help="Where the ledger is.")
def usage(by: str, since: str | None, until: str | None, state_dir: str | None, *, as_json: bool) -> None:
    """What was used and what it cost: requests, tokens and USD, from the ledger."""
    import sqlite3
    from pathlib import Path

    from tollhouse.gateway import usage as shown
    from tollhouse.gateway.quota import LEDGER
    from tollhouse.middlewares.stores.ledger import LedgerFile

    path = Path(state_dir or _settings(None, {}).state_dir) / LEDGER
    if not path.exists():
        _fail(f"there is no ledger at {path}")
    try:
        groups = [name for name in by.split(",") if name]
        ledger = LedgerFile(path, read_only=True)
        rows = ledger.usage(groups, since_ms=shown.moment(since), until_ms=shown.moment(until))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except sqlite3.Error as error:
        _fail(f"the ledger {path} cannot be read: {error}")
    if as_json:
        for row in rows:
            _print_json(shown.shown(row))
    else:
        click.echo(shown.table(rows))


cli.add_command(policy_commands)
cli.add_command(audit)
cli.add_command(change_commands.reload)
cli.add_command(change_commands.rollback)


def _files() -> Files:
    """Those that there are, or of a version that was kept, if the supervisor says so."""
    from tollhouse.config.files import Files
    from tollhouse.gateway import kept
    from tollhouse.gateway.change import KEPT

    folder = os.environ.get(KEPT)
    if folder is None:
        return Files()
    version = kept.read(folder)
    try:
        return Files(kept.contents(version), version.digests)
    except kept.Damaged as error:
        _fail(str(error))


def _settings(path: str | None, overrides: dict[str, object], files: Files | None = None) -> Settings:
    from tollhouse.config.loader import ConfigError, load

    try:
        return load(path, os.environ, overrides=overrides, files=files)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        sys.exit(1)


def _scanner(config: str | None, policy: dict[str, object] | None, files: tuple[str, ...]) -> Scanner:
    from tollhouse import Scanner

    rules: list[Any] = list(files)
    if config is not None:
        section = _settings(config, {}).scan
        if section is None:
            _fail(f"{config} has no scan section")
        rules += section.rules
        policy = (section.request or section.response) if policy is None else policy
    try:
        return Scanner(policy, rules or None)
    except ValueError as error:
        for problem in str(error).splitlines():
            click.echo(f"error: {problem}", err=True)
        sys.exit(1)


def _store() -> KeyStore:
    import sqlite3
    from pathlib import Path

    from tollhouse.middlewares.stores.keys import KeyStore

    state_dir = Path(_settings(None, {}).state_dir)
    try:
        return KeyStore(state_dir / "tollhouse.db")
    except (OSError, sqlite3.Error) as error:
        _fail(f"the key store in {state_dir} cannot be used: {error}")


def _shown(record: KeyRecord) -> dict[str, object]:
    names = ("name", "team", "models", "created_at", "expires_at", "revoked_at")
    return {"id": record.public} | {name: getattr(record, name) for name in names}


def _expiry(text: str | None) -> float | None:
    if text is None:
        return None
    from time import time

    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not number.isdecimal() or not 0 < int(number[:10]) < 10**9:
        msg = "must be a whole number and one of s, m, h, d, like 30d"
        raise click.BadParameter(msg, param_hint="--expires")
    return time() + int(number) * _UNITS[unit]


def _print_json(value: object) -> None:
    import json

    click.echo(json.dumps(value))


def _fail(message: str) -> NoReturn:
    click.echo(f"error: {message}", err=True)
    sys.exit(1)


def main() -> None:
    """Entry point of `tollhouse`."""
    cli(prog_name="tollhouse")
