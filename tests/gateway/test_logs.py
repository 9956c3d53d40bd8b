"""Log lines: whole, in order, never in the way, and without anything that a caller said."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading

import orjson
import pytest

from tests.support.app import ADMIN_KEY, running_app
from tests.support.client import chat_body
from tests.support.gateway import KEY, KEYS, MASTER_KEY, NARROW_KEY, model
from tests.support.net import free_port, wait_until
from tollhouse.gateway import logs
from tollhouse.gateway.logs import JsonFormatter, LineWriter, TextFormatter

PROMPT = "canary-prompt-7f3a-zq"
SECRETS = (KEY, NARROW_KEY, MASTER_KEY, ADMIN_KEY, "sk-up-canary", "sk-wrong-canary")


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    for fd in (reading, writing):
        with contextlib.suppress(OSError):
            os.close(fd)


def _drain(fd: int, into: list[bytes]) -> threading.Thread:
    def read() -> None:
        while data := os.read(fd, 65536):
            into.append(data)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def test_lines_come_whole_and_in_order(pipe):
    reading, writing = pipe
    got: list[bytes] = []
    reader = _drain(reading, got)
    writer = LineWriter(writing, interval_s=0.001)
    lines = [b"%d %b\n" % (i, b"x" * (i % 300)) for i in range(3000)]
    for line in lines:
        writer.write(line)
    writer.close()
    os.close(writing)
    reader.join(5)
    assert b"".join(got) == b"".join(lines)


def test_a_single_line_does_not_wait_for_a_second(pipe):
    reading, writing = pipe
    writer = LineWriter(writing, interval_s=0.001)
    for i in range(3):
        writer.write(b"%d\n" % i)
        assert os.read(reading, 100) == b"%d\n" % i
    writer.close()


def test_closing_writes_what_is_left_and_may_be_done_twice(pipe):
    reading, writing = pipe
    writer = LineWriter(writing, interval_s=60)
    writer.write(b"a\n")
    writer.close()
    writer.close()
    assert os.read(reading, 100) == b"a\n"


def test_two_writers_on_one_pipe_do_not_mix_their_lines(pipe):
    reading, writing = pipe
    got: list[bytes] = []
    reader = _drain(reading, got)
    writers = [LineWriter(writing, interval_s=0.001) for _ in range(2)]
    for _ in range(3000):
        for writer, mark in zip(writers, (b"a", b"b"), strict=True):
            writer.write(mark * 99 + b"\n")
    for writer in writers:
        writer.close()
    os.close(writing)
    reader.join(5)
    lines = b"".join(got).splitlines()
    assert len(lines) == 6000
    assert all(len(line) == 99 and len(set(line)) == 1 for line in lines)


def test_a_reader_that_does_not_read_costs_lines_and_not_memory(pipe, monkeypatch):
    monkeypatch.setattr(logs, "MAX_LINES", 10)
    reading, writing = pipe
    writer = LineWriter(writing, interval_s=0.2)
    for i in range(25):
        writer.write(b"%d\n" % i)
    writer.close()
    *kept, told = os.read(reading, 65536).splitlines()
    assert kept == [b"%d" % i for i in range(10)]
    assert orjson.loads(told) == {"level": "warning", "msg": "log lines dropped", "count": 15}


def test_a_full_pipe_that_does_not_block_is_waited_for(pipe):
    reading, writing = pipe
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"." * 65536)
    writer = LineWriter(writing, interval_s=0.001)
    writer.write(b"after\n")
    got: list[bytes] = []
    reader = _drain(reading, got)
    wait_until(lambda: b"".join(got).endswith(b"after\n"), what="the line has come")
    writer.close()
    os.close(writing)
    reader.join(5)


def test_a_reader_that_has_gone_is_no_error(pipe):
    reading, writing = pipe
    os.close(reading)
    writer = LineWriter(writing, interval_s=0.001)
    writer.write(b"a\n")
    writer.close()
    assert not writer._lines


def _record(level: int, message: str, *args: object, error: BaseException | None = None) -> logging.LogRecord:
    info = None if error is None else (type(error), error, error.__traceback__)
    return logging.LogRecord("tollhouse.test", level, "file.py", 1, message, args, info)


def _raised() -> BaseException:
    try:
        raise ValueError(PROMPT)
    except ValueError as error:
        return error


def test_json_lines_have_type_and_place_of_an_exception_only():
    line = orjson.loads(JsonFormatter().format(_record(logging.ERROR, "went %s", "wrong", error=_raised())))
    assert (line["level"], line["logger"], line["msg"]) == ("error", "tollhouse.test", "went wrong")
    assert line["exception"] == "ValueError"
    assert line["trace"][0].startswith("test_logs.py:")
    assert line["trace"][0].endswith(":_raised")
    assert PROMPT not in str(line)
    plain = orjson.loads(JsonFormatter().format(_record(logging.INFO, 'new\nline "quoted"')))
    assert plain["msg"] == 'new\nline "quoted"'
    assert "exception" not in plain


def test_text_lines_are_for_eyes():
    line = TextFormatter().format(_record(logging.WARNING, "careful", error=_raised()))
    assert "WARNING tollhouse.test: careful [ValueError at test_logs.py:" in line
    assert PROMPT not in line
    assert TextFormatter().format(_record(logging.INFO, "fine")).endswith("INFO tollhouse.test: fine")


@pytest.mark.parametrize("fmt", ["json", "text"])
def test_the_root_logger_writes_to_standard_error(fmt):
    script = f"""
import logging
from tollhouse.gateway import logs
writer = logs.configure(level="info", fmt={fmt!r})
logging.getLogger("some.library").debug("too much")
logging.getLogger("some.library").info("heard")
logging.getLogger("some.library").info("%d", "no number")
try:
    raise RuntimeError({PROMPT!r})
except RuntimeError:
    logging.getLogger("some.library").exception("failed")
writer.write(b"from the access log\\n")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    heard, failed, access = done.stderr.splitlines()
    assert "heard" in heard
    assert "failed" in failed
    assert "RuntimeError" in failed
    assert access == "from the access log"
    assert PROMPT not in done.stderr
    if fmt == "json":
        assert [json.loads(line)["level"] for line in (heard, failed)] == ["info", "error"]


async def test_no_prompt_and_no_secret_is_in_any_line(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    dead = model("dead", f"http://127.0.0.1:{free_port()}/v1", api_key="sk-up-canary")
    async with running_app(tmp_path, keys=KEYS, model_list=[dead]) as app:
        made = (await app.post({"name": "made"}, path="/admin/keys", key=MASTER_KEY)).json["key"]
        admin = [(b"x-admin-api-key", ADMIN_KEY.encode())]
        for key in (*SECRETS[:4], made, "sk-wrong-canary", None):
            for name in ("tollhouse/echo", "dead", PROMPT):
                for stream in (False, True):
                    await app.chat(name, stream=stream, key=key, content=PROMPT)
            await app.send(f"/v1/models/{PROMPT}", key=key, headers=admin)
            await app.send(f"/{PROMPT}", key=key, headers=[(b"x-request-id", f"{PROMPT} {PROMPT}".encode())])
            await app.send(f"/admin/keys/{PROMPT}", method="DELETE", key=key)
            await app.post(b'{"model":"' + PROMPT.encode(), key=key)
            await app.post(chat_body("tollhouse/echo", content=PROMPT, tools=PROMPT), key=key)
            await app.post({PROMPT: 1}, path="/admin/keys", key=key, headers=admin)
        written = b"".join(app.lines).decode() + "".join(map(str, caplog.records)) + caplog.text
        written += (await app.send("/metrics")).body.decode()
        assert len(app.lines) > 50
        for secret in (PROMPT, made, *SECRETS):
            assert secret not in written
            assert secret.rpartition("-")[2] not in written


async def test_a_line_says_who_what_and_how_it_went(tmp_path):
    async with running_app(tmp_path) as app:
        await app.chat("tollhouse/echo", headers=[(b"x-request-id", b"r-1")])
        await app.send("/v1/models", key="sk-wrong")
        await app.send("/v1/models/tollhouse/echo", key=NARROW_KEY)
        done, refused, one = app.log
        assert (
            done.items()
            >= {
                "level": "info",
                "logger": "tollhouse.access",
                "request_id": "r-1",
                "method": "POST",
                "route": "/v1/chat/completions",
                "status": 200,
                "key_id": "wide",
                "model": "tollhouse/echo",
                "provider": "tollhouse",
                "stream": False,
                "prompt_tokens": 1,
                "completion_tokens": 1,
            }.items()
        )
        assert done["duration_ms"] > 0
        assert done["overhead_us"] > 0
        assert (refused["status"], refused["error"], refused["route"]) == (401, "invalid_api_key", "/v1/models")
        assert "key_id" not in refused
        assert (one["route"], one["key_id"]) == ("/v1/models/{model:path}", "narrow")


async def test_lines_can_be_text(tmp_path):
    async with running_app(tmp_path, logging={"format": "text"}) as app:
        await app.chat("tollhouse/echo")
        (line,) = app.lines
        assert b" INFO request request_id=req_" in line
        assert b"route=/v1/chat/completions status=200" in line
        assert line.endswith(b"\n")
