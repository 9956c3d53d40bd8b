"""What the memory of the extension takes, and gives back."""

from __future__ import annotations

import subprocess
import sys

HEAD = r"""
import resource

from tollhouse._native import RequestReader, heap_bytes

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

def reading(length):
    reader = RequestReader()
    reader.feed(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % length)
    return reader
"""
SMALL = """
before = heap_bytes()
readers = [reading(1000) for _ in range(20_000)]
for reader in readers:
    reader.feed(bytes(900))
held = sum(reader.held for reader in readers)
then = heap_bytes()
del readers, reader
print(before, then, held, heap_bytes())
"""
LARGE = """
pieces = [bytes(1 << 20)] * 63
print(heap_bytes(), resident())
reader = reading(64 << 20)
for piece in pieces:
    reader.feed(piece)
print(heap_bytes(), resident(), reader.held)
del reader
print(resident())
"""


def told(script: str) -> list[int]:
    done = subprocess.run([sys.executable, "-c", HEAD + script], capture_output=True, text=True, check=True, timeout=60)
    return [int(number) for number in done.stdout.split()]


def test_small_blocks_are_counted_while_they_are_in_use():
    before, then, held, after = told(SMALL)
    assert held >= 20_000 * 900
    assert before + held <= then < before + 3 * held
    assert after < before + held // 1000


def test_large_blocks_are_given_back_at_once():
    small, before, small_then, then, held, after = told(LARGE)
    assert held >= 63 << 20
    assert small_then - small < 1 << 20
    assert then - before >= held
    assert after - before < 8 << 20
