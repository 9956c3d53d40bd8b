"""LiteLLM's proxy. What needs its Postgres (virtual keys, budgets of keys, spend logs) is not there: see `modes`."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from bench import environments
from bench.gateways.entry import EVERYTHING, KEY, LIMITS, MODEL, PASS, Gateway, Setup
from bench.processes import free_port, running

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bench.processes import Running

VERSION = "1.102.0"
PATTERNS = {
    "email": "MASK",
    "us_ssn": "MASK",
    "us_phone": "MASK",
    "visa": "MASK",
    "aws_access_key": "BLOCK",
    "github_token": "BLOCK",
}


def _install(cache: Path) -> Path:
    return environments.python(cache / "litellm", [f"litellm[proxy]=={VERSION}"])


def _config(setup: Setup) -> dict[str, Any]:
    params: dict[str, Any] = {"model": "openai/mock-1", "api_base": f"{setup.upstream_url}/v1", "api_key": "sk-up"}
    file: dict[str, Any] = {
        "model_list": [{"model_name": MODEL, "litellm_params": params}],
        "general_settings": {"master_key": KEY},
        "litellm_settings": {"set_verbose": False, "request_timeout": 600, "telemetry": False},
    }
    if setup.mode in {LIMITS, EVERYTHING}:
        params |= {
            "rpm": 100_000_000,
            "tpm": 1_000_000_000_000,
            "input_cost_per_token": 15e-8,
            "output_cost_per_token": 6e-7,
        }
        file["router_settings"] = {
            "routing_strategy": "usage-based-routing-v2",
            "enable_pre_call_checks": True,
            "provider_budget_config": {"openai": {"budget_limit": 1_000_000, "time_period": "1d"}},
        }
    if setup.mode == EVERYTHING:
        patterns = [
            {"pattern_type": "prebuilt", "pattern_name": name, "action": action} for name, action in PATTERNS.items()
        ]
        file["guardrails"] = [
            {
                "guardrail_name": f"content-{mode}",
                "litellm_params": {
                    "guardrail": "litellm_content_filter",
                    "mode": mode,
                    "default_on": True,
                    "patterns": patterns,
                },
            }
            for mode in ("pre_call", "post_call")
        ]
    return file


def start(setup: Setup) -> AbstractContextManager[Running]:
    port = free_port()
    path = setup.folder / "config.yaml"
    path.write_text(json.dumps(_config(setup)))
    programs = _install(setup.cache)
    env = {key: value for key, value in os.environ.items() if not key.startswith(("LITELLM_", "DATABASE_", "OPENAI_"))}
    env |= {
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "PATH": f"{programs}:{os.environ['PATH']}",
    }
    command = [str(programs / "litellm"), "--config", str(path), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--num_workers", "1"]
    log = setup.folder / "log"
    return running(setup.name, command, port, env=env, log=log, ready="/health/liveliness", seconds=120)


GATEWAY = Gateway(
    name="litellm",
    version=VERSION,
    modes={
        PASS: "master key; no database, hence no virtual keys and no spend log",
        LIMITS: "master key; rpm and tpm of the model, a budget of the provider, in memory",
        EVERYTHING: "that; litellm_content_filter around the call: six patterns, masked or blocked. No ledger",
    },
    start=start,
    install=_install,
)
