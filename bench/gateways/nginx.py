"""nginx, Debian's: proxy_pass, the limit of what a proxy can be."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from bench.environments import Unavailable
from bench.gateways.entry import HOST, KEY, LIMITS, PASS, Gateway, Setup
from bench.processes import free_port, running

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bench.processes import Running


def _program() -> str:
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise Unavailable("nginx is not installed (Debian and Ubuntu: apt-get install nginx)")
    return found


def _install(_cache: Path) -> None:
    _program()


def start(setup: Setup, *, bare: bool = False) -> AbstractContextManager[Running]:
    """With `bare` it asks for no key."""
    port = free_port()
    folder = setup.folder
    trust = (
        ""
        if setup.tls is None
        else f"proxy_ssl_verify on; proxy_ssl_trusted_certificate {setup.tls}; proxy_ssl_name localhost;"
    )
    guard = "" if bare else "if ($known = 0) { return 401; }"
    if setup.mode == LIMITS:
        guard += " limit_req zone=requests burst=1000000 nodelay; limit_conn at_once 65535;"
    config = f"""
        daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log; worker_rlimit_nofile 8192;
        events {{ worker_connections 4096; }}
        http {{
            access_log off; keepalive_requests 100000000; client_body_temp_path {folder}/body;
            proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;
            scgi_temp_path {folder}/s; client_body_buffer_size 64k; client_max_body_size 10m;
            map_hash_bucket_size 256;
            map $http_authorization $known {{ default 0; "Bearer {KEY}" 1; }}
            limit_req_zone $http_authorization zone=requests:1m rate=1000000r/s;
            limit_conn_zone $http_authorization zone=at_once:1m;
            upstream mock {{ server {HOST}:{setup.upstream}; keepalive 512; keepalive_requests 100000000; }}
            server {{
                listen {HOST}:{port} backlog=4096;
                location / {{
                    {guard}
                    proxy_pass {"http" if setup.tls is None else "https"}://mock; proxy_http_version 1.1;
                    proxy_set_header Connection ""; proxy_buffering off; {trust}
                }}
            }}
        }}
    """
    path = folder / "nginx.conf"
    path.write_text(config)
    return running(setup.name, [_program(), "-c", str(path), "-p", str(folder)], port, log=folder / "log")


GATEWAY = Gateway(
    name="nginx",
    version="Debian's",
    modes={
        PASS: "one key, compared as text",
        LIMITS: "that; limit_req and limit_conn per key. No tokens, no money",
    },
    start=start,
    install=_install,
)
