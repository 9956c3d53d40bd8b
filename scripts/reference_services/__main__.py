"""`python -m scripts.reference_services [--port 9400] [--folder DIR] [--token TOKEN]`: all six services on loopback."""

from __future__ import annotations

import argparse
from pathlib import Path

import uvicorn

from scripts.reference_services.app import app
from scripts.reference_services.world import SERVICES, World


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="reference_services", description=__doc__)
    parser.add_argument("--port", type=int, default=9400)
    parser.add_argument("--folder", type=Path, help="receipts outlive the process there; policy.json is served thence")
    parser.add_argument("--token", help="that callers have to bring; default: none")
    given = parser.parse_args()
    world = World(given.folder, token=given.token)
    print("# what the gateway needs to know")  # noqa: T201 - a command's answer
    for name in SERVICES:
        print(f"export {name.replace('-', '_').upper()}_SERVICE_URL=http://127.0.0.1:{given.port}/{name}")  # noqa: T201
    print(f"export POLICY_SERVICE_KEYS={world.signer.public.text}")  # noqa: T201
    print("export USE_REAL_SERVICES=true", flush=True)  # noqa: T201
    uvicorn.run(app(world), host="127.0.0.1", port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
