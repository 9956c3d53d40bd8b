"""Compile config/vocabularies/*.bin from OpenAI's vocabularies (MIT licence, as part of tiktoken).

Usage: python scripts/compile_vocabularies.py FOLDER    # with cl100k_base.tiktoken[.gz] and o200k_base.tiktoken[.gz]

A token of several bytes is two earlier tokens, so five bytes are enough for each: 20 bits for each of the two, little
endian. Before them stand the 256 tokens of one byte, in the order of their numbers.
"""

from __future__ import annotations

import base64
import gzip
import sys
from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "config" / "vocabularies"
# As tiktoken expects them (tiktoken_ext/openai_public.py).
DIGESTS = {
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
}


def main() -> None:
    for name, expected in DIGESTS.items():
        text = _read(Path(sys.argv[1]) / f"{name}.tiktoken")
        if sha256(text).hexdigest() != expected:
            sys.exit(f"{name} is not the vocabulary that OpenAI publishes")
        tokens = [base64.b64decode(line.split()[0]) for line in text.splitlines() if line]
        (FOLDER / f"{name}.bin").write_bytes(_packed(tokens))


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else gzip.decompress(path.with_name(f"{path.name}.gz").read_bytes())


def _packed(tokens: list[bytes]) -> bytes:
    numbers = {token: number for number, token in enumerate(tokens)}
    out = bytearray(b"".join(tokens[:256]))
    if len(out) != 256:
        raise ValueError("the first 256 tokens are not the bytes")
    for number, token in enumerate(tokens[256:], 256):
        halves = ((numbers.get(token[:at]), numbers.get(token[at:])) for at in range(1, len(token)))
        left, right = next((a, b) for a, b in halves if a is not None and b is not None and max(a, b) < number)
        out += (left | right << 20).to_bytes(5, "little")
    return bytes(out)


if __name__ == "__main__":
    main()
