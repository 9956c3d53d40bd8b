"""CPU that a receipt costs: made in the loop, and digested, written down and chained in the thread, the disk included;
what the digest of a stream adds to a chunk; and what a signature takes.

python -m bench.receipts [RECEIPTS]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.hot import exchanges
from tollhouse._native import KeyedDigest, SigningKey, verify_ed25519
from tollhouse.middlewares.receipt import receipt
from tollhouse.middlewares.stores.chain import Chain

BATCH = 50  # in 20 ms, at 2,500 requests a second
BODY = b'{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "' + b"hello " * 160 + b'"}]}'
DIGEST = KeyedDigest(bytes(32))
SOME = DIGEST.of(b"")
SYNCED = 12 * BATCH  # as many in 240 ms


def measure(receipts: int) -> tuple[float, float, float]:
    """Microseconds of CPU per receipt: in the loop, in the thread, and there for the digest of the body."""
    made_of = [exchanges.ended(BODY) for _ in range(receipts)]
    with tempfile.TemporaryDirectory() as folder:
        chain = Chain(Path(folder) / "chain")
        began = time.process_time()
        made = [receipt(exchange) for exchange in made_of]
        in_loop = time.process_time() - began
        began = time.process_time()
        for first in range(0, receipts, BATCH):
            batch = made[first : first + BATCH]
            for one in batch:
                one["body_bytes"] = len(BODY)
                one["body_hmac"] = SOME
            chain.append(batch)
            if first % SYNCED == 0:
                chain.sync()
        in_thread = time.process_time() - began
        began = time.process_time()
        for _ in range(receipts):
            DIGEST.of(BODY)
        digesting = time.process_time() - began
        chain.close()
    return in_loop / receipts * 1e6, in_thread / receipts * 1e6, digesting / receipts * 1e6


def chunk(size: int, rounds: int = 2000) -> float:
    """Microseconds of CPU in the loop that are added to a chunk of a stream."""

    def send(_: Any) -> Any: ...

    passing = DIGEST.passing(send)
    message = {"type": "http.response.body", "body": b"x" * size, "more_body": True}
    times = []
    for way in (send, passing):
        began = time.process_time()
        for _ in range(rounds):
            way(message)
        times.append(time.process_time() - began)
    return (times[1] - times[0]) / rounds * 1e6


def signing(rounds: int = 300) -> tuple[float, float]:
    """Microseconds of CPU to sign a head, and to verify it."""
    key, head = SigningKey.generate(), b"x" * 180
    signature, public = key.sign(head), key.public
    began = time.process_time()
    for _ in range(rounds):
        key.sign(head)
    signed = time.process_time()
    for _ in range(rounds):
        verify_ed25519(public, signature, head)
    return (signed - began) / rounds * 1e6, (time.process_time() - signed) / rounds * 1e6


def main(receipts: int) -> None:
    rounds = [measure(receipts) for _ in range(60)]  # short ones: other work has less of a chance to be in each
    in_loop, in_thread, digesting = (min(times) for times in zip(*rounds, strict=True))
    print(
        f"{in_loop:.2f} us in the loop, {in_thread:.2f} us in the thread, {digesting:.2f} us for {len(BODY)} B of body"
    )
    print(
        ", ".join(f"{min(chunk(size) for _ in range(60)):.2f} us for a chunk of {size} B" for size in (200, 1000, 4000))
    )
    sign, verify = (min(times) for times in zip(*(signing() for _ in range(30)), strict=True))
    print(f"{sign:.1f} us to sign a head, {verify:.1f} us to verify it")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1200)
