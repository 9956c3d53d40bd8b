"""Loaded by the workers of a soak (PYTHONPATH): on SIGUSR2 they write down what objects and memory they have in use.

SOAK_LEAK plants a leak of so many bytes per question, which is how the soak is proven to see one.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import sys

_kept: list[object] = []


class _Info(ctypes.Structure):
    """struct mallinfo2 of glibc 2.33 and newer, mallinfo(3)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


def _malloc_kb() -> float:
    """What malloc has given out, of all arenas and mapped, and was not given back."""
    asked = ctypes.CDLL(None).mallinfo2
    asked.restype = _Info
    info = asked()
    return int(info.uordblks + info.hblkhd) / 1000


def _tell(*_: object) -> None:
    native = sys.modules["tollhouse._native"]
    for _number in range(int(os.environ.get("SOAK_LEAK", "0")) // 2000):
        _kept.append(bytearray(b"x" * 1000))
        reader = native.RequestReader()
        reader.feed(b"GET /" + b"x" * 995)  # half a head, which waits in a small native block
        _kept.append(reader)
    gc.collect()
    path = os.path.join(os.environ["SOAK_PROBE"], f"{os.getpid()}.json")
    found = {
        "objects": len(gc.get_objects()),
        "blocks": sys.getallocatedblocks(),
        "malloc_kb": _malloc_kb(),
        "native_kb": native.heap_bytes() / 1000,
    }
    with open(f"{path}.part", "w") as out:
        json.dump(found, out)
    os.replace(f"{path}.part", path)


if "SOAK_PROBE" in os.environ and "tollhouse.gateway.worker" in sys.orig_argv:
    signal.signal(signal.SIGUSR2, _tell)
