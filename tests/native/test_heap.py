"""What the memory of the extension takes, and gives back."""

from __future__ import annotations

import subprocess
import sys

HEAD = r"""
from tollhouse._native import RequestReader, heap_bytes

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) << 12

def reading(length):
    reader = RequestReader()
    reader.feed(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % length)
    return reader
"""
SMALL = """
print(heap_bytes())
readers = [reading(1000) for _ in range(20_000)]
for reader in readers:
    reader.feed(bytes(900))
print(heap_bytes(), sum(reader.held for reader in readers))
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


def test_small_blocks_are_counted():
    before, after, held = told(SMALL)
    assert held >= 20_000 * 900
    assert before + held <= after < before + 3 * held


def test_large_blocks_are_given_back_at_once():
    small, before, small_then, then, held, after = told(LARGE)
    assert held >= 63 << 20
    assert small_then - small < 1 << 20
    assert then - before >= held
    assert after - before < 8 << 20
