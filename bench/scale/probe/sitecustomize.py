"""Loaded by the workers of a soak (PYTHONPATH): on SIGUSR2 they write down how many objects and blocks they have.

SOAK_LEAK plants a leak of so many bytes per question, which is how the soak is proven to see one.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys

_kept: list[bytearray] = []


def _tell(*_: object) -> None:
    leak = int(os.environ.get("SOAK_LEAK", "0"))
    if leak:
        _kept.extend(bytearray(b"x" * 1000) for _ in range(leak // 1000))
    gc.collect()
    path = os.path.join(os.environ["SOAK_PROBE"], f"{os.getpid()}.json")
    with open(f"{path}.part", "w") as out:
        json.dump({"objects": len(gc.get_objects()), "blocks": sys.getallocatedblocks()}, out)
    os.replace(f"{path}.part", path)


if "SOAK_PROBE" in os.environ and "tollhouse.gateway.worker" in sys.orig_argv:
    signal.signal(signal.SIGUSR2, _tell)
