"""The tests' own upstream: it must not leave to later tests what it has opened."""

from __future__ import annotations

import gc
import socket
import warnings

from tests.support.upstream import ScriptedUpstream


def test_an_upstream_that_stops_leaves_no_connection_to_the_garbage_collector():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(5):
            with ScriptedUpstream({}) as upstream:
                clients = [socket.create_connection(("127.0.0.1", upstream.port)) for _ in range(40)]
                for client in clients[:20]:
                    client.sendall(b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}")
            for client in clients:
                client.close()
            gc.collect()
    assert not [warning.message for warning in seen if "unclosed" in str(warning.message)]
