"""What the memory of the extension takes."""

from __future__ import annotations

import subprocess
import sys

HOLDS = """
from tollhouse._native import RequestReader, heap_bytes

print(heap_bytes())
reader = RequestReader()
reader.feed(b"POST / HTTP/1.1\\r\\nhost: a\\r\\ncontent-length: 67108864\\r\\n\\r\\n")
reader.feed(bytes(64 << 20))
print(heap_bytes(), reader.held)
"""


def test_the_heap_has_what_is_held():
    told = subprocess.run([sys.executable, "-c", HOLDS], capture_output=True, text=True, check=True, timeout=60)
    before, after, held = (int(number) for number in told.stdout.split())
    assert held == 64 << 20
    assert before + held <= after < before + 2 * held
