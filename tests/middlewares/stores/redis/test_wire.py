from __future__ import annotations

import pytest
from hiredis import ReplyError

from tollhouse.middlewares.stores.redis.caller import _address
from tollhouse.middlewares.stores.redis.topology import Address
from tollhouse.middlewares.stores.redis.wire import code, command


def test_commands():
    assert command("SET", b"k\r\n", 12) == b"*3\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$2\r\n12\r\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MOVED 3999 127.0.0.1:6381", "MOVED"),
        ("OOM command not allowed when used memory > 'maxmemory'.", "OOM"),
        ("READONLY You can't write against a read only replica. script: ab, on @user_script:1.", "READONLY"),
        ("ERR Error running script (call to f_ab): @user_script:12: -READONLY You can't write", "READONLY"),
        ("ERR Error running script (call to f_ab): @user_script:1: OOM command not allowed", "OOM"),
        ("ERR user_script:5: tollhouse: OOM is not a whole number", "ERR"),
        ("WRONGTYPE Operation against a key", "ERR"),
        ("BUSYGROUP no", "ERR"),
    ],
)
def test_sorts_of_errors_also_of_scripts_of_older_servers(text, expected):
    assert code(ReplyError(text)) == expected


def test_addresses_in_redirections():
    assert _address(ReplyError("MOVED 3999 127.0.0.1:6381")) == Address("127.0.0.1", 6381)
    assert _address(ReplyError("ASK 3999 ::1:6381")) == Address("::1", 6381)
