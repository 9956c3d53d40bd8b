"""What counting and pricing take: `python -m bench.costs`. Figures for docs/costs.md."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from timeit import repeat
from typing import TYPE_CHECKING

from tollhouse._native import PriceTable, RequestView, Tokens, count_tokens
from tollhouse.config import pricing

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
FIRST = (
    "import sys,time;from tollhouse._native import count_tokens as c;"
    "m=lambda:int(open('/proc/self/statm').read().split()[1])/256;a=m();b=time.perf_counter();c('x',sys.argv[1]);"
    "print((time.perf_counter()-b)*1e3,m()-a)"
)


def _best(call: Callable[[], object], number: int) -> float:
    """Seconds per call, the best of five."""
    return min(repeat(call, number=number, repeat=5)) / number


def main() -> None:
    prose = (ROOT / "DESIGN.md").read_text() + (ROOT / "README.md").read_text()
    texts = {
        "prose": prose * (1_000_000 // len(prose)),
        "a": "a" * 10**6,
        "spaces": " " * 10**6,
        "digits": "7" * 10**6,
        "no words": "".join(chr(97 + i * i * 7919 % 26) for i in range(10**6)),
    }
    for encoding in ("cl100k_base", "o200k_base"):
        ms, mib = subprocess.run(
            [sys.executable, "-c", FIRST, encoding], check=True, capture_output=True, text=True
        ).stdout.split()
        print(f"{encoding}: first call {float(ms):.1f} ms, {float(mib):.1f} MiB")
        for name, text in texts.items():
            seconds = _best(lambda text=text, encoding=encoding: count_tokens(text, encoding), 1)  # type: ignore[misc]
            tokens = count_tokens(text, encoding)
            print(f"  {name}: {seconds * 1e3:.0f} ms for {len(text.encode()) / 1e6:.2f} MB, {tokens} tokens")
    table = pricing.table()
    price_table = PriceTable(table)
    price = price_table.find("openai", "gpt-4o")
    assert price is not None
    tokens_of = Tokens(input=1000, cached=500, output=200)
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": prose[:4000]}]}).encode()
    view = RequestView.parse(body, "chat")
    for name, call, number in (
        ("PriceTable", lambda: PriceTable(table), 5),
        ("find", lambda: price_table.find("openai", "gpt-4o"), 10**5),
        ("Price.cost", lambda: price.cost(tokens_of), 10**5),
        ("Price.bound", lambda: price.bound(4000, 1000), 10**5),
        ("Price.affordable_output", lambda: price.affordable_output(4000, 10**9), 10**5),
        ("prompt_bound", view.prompt_bound, 10**5),
        ("prompt_tokens, 4 KB", lambda: view.prompt_tokens("o200k_base"), 100),
        ("RequestView.parse, 4 KB", lambda: RequestView.parse(body, "chat"), 10**4),
    ):
        print(f"{name}: {_best(call, number) * 1e6:.2f} us")


if __name__ == "__main__":
    main()
