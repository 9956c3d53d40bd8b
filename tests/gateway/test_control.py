from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading

import pytest

from tollhouse.gateway import control


@pytest.fixture
def listening(tmp_path):
    folder = tmp_path / ("long" * 40)  # longer than a socket's name may be
    folder.mkdir()
    with contextlib.closing(control.Control(str(folder))) as made:
        yield made


def answered(listening, *, times=1):
    """Answers as often as this with what was wanted."""

    def run():
        left = times
        while left:
            for fd in listening.fds():
                asked = listening.hear(fd)
                if asked is not None:
                    asked.answer({"heard": asked.wanted})
                    left -= 1

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_question_is_answered(listening):
    assert stat.S_IMODE(os.stat(listening.path).st_mode) == 0o600
    thread = answered(listening)
    assert control.ask(listening.path, {"do": "x"}, timeout_s=5) == {"heard": {"do": "x"}}
    thread.join()
    assert control.found(os.path.dirname(listening.path)) == [listening.path]


def test_whoever_says_nothing_or_nonsense_is_in_nobodys_way(listening):
    silent, mad = control.connected(listening.path), control.connected(listening.path)
    mad.send(b"[1]\n")
    thread = answered(listening)
    assert control.ask(listening.path, {}, timeout_s=5) == {"heard": {}}
    thread.join()
    mad.settimeout(5)
    assert mad.recv(10) == b""
    mad.close()
    silent.close()


def test_an_answer_that_does_not_come_is_an_error(listening):
    with pytest.raises(TimeoutError):
        control.ask(listening.path, {}, timeout_s=0.01)
    with pytest.raises(ConnectionError):
        control.parsed(b'{"half')


def test_a_socket_that_was_left_is_taken_away_and_one_that_is_used_is_not(listening):
    folder = os.path.dirname(listening.path)
    left = os.path.join(folder, os.path.basename(listening.path).replace(str(os.getpid()), "1"))
    with socket.socket(socket.AF_UNIX) as dead, control._near(left) as near:
        dead.bind(near)
    control._sweep(folder)
    assert control.found(folder) == [listening.path]
