"""`tollhouse serve`: checks what must hold before anything listens, then becomes the supervisor.

The command's process has loaded a parser and a validator that nobody needs any more, so it replaces itself (same
process id) by a small one and hands the settings over through an unnamed file in memory.
"""

from __future__ import annotations

import os
import pickle
import sqlite3
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tollhouse.config.hosts import is_loopback
from tollhouse.gateway import kept
from tollhouse.gateway.change import SNAPSHOT_FD, STAGED
from tollhouse.middlewares.stores.keys import KeyStore

if TYPE_CHECKING:
    from tollhouse.config.files import Files
    from tollhouse.config.settings import Settings

KEY_FILE = "default.key"
KEY_NAME = "default"


def serve(settings: Settings, files: Files) -> int:
    """Become the server. Returns an exit code if that must not be; otherwise not at all.

    files: what the settings were read from.
    """
    try:
        _check(settings)
        if SNAPSHOT_FD in os.environ:
            if STAGED in os.environ:
                _stage(os.environ[STAGED], settings, files)
            with os.fdopen(int(os.environ[SNAPSHOT_FD]), "wb") as out:
                pickle.dump(settings, out)
            return 0
        for warning in settings.warnings:
            click.echo(f"warning: {warning}", err=True)
        credential = _credential(settings)
    except _NotSafe as error:
        click.echo(f"error: {error}", err=True)
        return 1
    _banner(settings, credential)
    _stage_first(settings, files)
    _become_supervisor(settings)
    return 0  # unreachable, unless exec was replaced


class _NotSafe(Exception):
    """The gateway must not start like this; the message says why."""


def _check(settings: Settings) -> None:
    if settings.workers > 1 and settings.store == "embedded" and (settings.allowances or settings.key_default):
        msg = "limits and budgets over several workers need a shared store: set `store: redis://...`, or one worker"
        raise _NotSafe(msg)


def _credential(settings: Settings) -> str:
    """How a caller can authenticate, as it stands in a shell command. Makes the first key if there is none."""
    if settings.master_key is not None:
        variables = ("LLM_GATEWAY_MASTER_KEY", "LITELLM_MASTER_KEY")
        return f"${next((name for name in variables if os.environ.get(name)), 'YOUR_MASTER_KEY')}"
    path = Path(settings.state_dir) / KEY_FILE
    try:
        store = KeyStore(Path(settings.state_dir) / "tollhouse.db")
        try:
            if settings.keys or not store.is_empty_but_for(KEY_NAME):
                return "$YOUR_KEY"
            if not is_loopback(settings.host):
                msg = (
                    f"no key is configured, so the gateway listens on loopback only and not on {settings.host}: "
                    "set LLM_GATEWAY_MASTER_KEY, or make a key with `tollhouse keys create`"
                )
                raise _NotSafe(msg)
            ours = store.named(KEY_NAME)
            if ours and path.exists():
                return f"$(cat {path})"
            for record in ours:
                store.revoke(record.public)
            _, key = store.create(name=KEY_NAME)
        finally:
            store.close()
        _write_private(path, key)
    except OSError as error:
        msg = f"the state directory {settings.state_dir} cannot be used: {error.strerror}"
        raise _NotSafe(msg) from None
    except sqlite3.Error as error:
        msg = f"the key store in {settings.state_dir} cannot be used: {error}"
        raise _NotSafe(msg) from None
    return key


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as out:
        out.write(text)


def _stage_first(settings: Settings, files: Files) -> None:
    """What the supervisor keeps once its workers are ready."""
    folder = kept.folder_of(settings.state_dir, settings.source)
    try:
        kept.make(folder)
    except OSError as error:
        click.echo(f"warning: {folder} cannot be used, so nothing is kept and only SIGHUP reloads", err=True)
        click.echo(f"warning: {error.filename}: {error.strerror}", err=True)
        return
    os.environ[STAGED] = os.path.join(folder, f"{kept.STAGED}{os.getpid()}-{time.monotonic_ns()}")
    _stage(os.environ[STAGED], settings, files)


def _stage(folder: str, settings: Settings, files: Files) -> None:
    """A configuration that cannot be kept is used all the same."""
    if settings.source is None or not settings.reload.keep:
        return
    from tollhouse.gateway import clear_secrets, corpus  # noqa: PLC0415 - only where there is a file
    from tollhouse.gateway.scan import BadInput  # noqa: PLC0415

    if clear_secrets.found(settings, files.contents.values()):
        message = "this configuration is not kept, as secrets stand in it in clear: os.environ/NAME keeps them out"
        click.echo(f"warning: {message}", err=True)
        return

    try:
        entries = {
            entry.id: entry.expected
            for path, _ in settings.reload.corpora
            for entry in corpus.read(path)
            if entry.expected is not None
        }
        kept.stage(folder, settings.source, files, entries)
    except (OSError, BadInput) as error:
        click.echo(f"warning: this configuration is not kept: {error}", err=True)


def _banner(settings: Settings, credential: str) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{settings.port}"  # noqa: S104 - shown, not bound
    body = '{"model": "tollhouse/echo", "messages": [{"role": "user", "content": "Hello, Tollhouse!"}]}'
    click.echo(f"Tollhouse listens on {url}. Try:\n")
    click.echo(
        f'curl -s {url}/v1/chat/completions -H "Authorization: Bearer {credential}" '
        f"-H \"Content-Type: application/json\" -d '{body}'\n"
    )


def _become_supervisor(settings: Settings) -> None:
    fd = os.memfd_create("tollhouse-settings", 0)
    os.write(fd, pickle.dumps(settings))
    os.set_inheritable(fd, True)  # noqa: FBT003 - takes no name
    sys.stdout.flush()
    sys.stderr.flush()
    command = [sys.executable, "-m", "tollhouse.gateway.supervisor", str(fd), *sys.argv[1:]]
    os.execv(sys.executable, command)  # noqa: S606 - ourselves
