"""The gateway's app under uvicorn: `python -m bench.uvicorn_app CONFIG PORT`."""

from __future__ import annotations

import sys

import uvicorn

from tollhouse.gateway import create_app

if __name__ == "__main__":
    uvicorn.run(create_app(sys.argv[1]), port=int(sys.argv[2]), log_level="warning", access_log=False)
