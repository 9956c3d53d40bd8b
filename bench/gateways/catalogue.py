"""All gateways that can be measured beside each other. One more is one more file and one more line here."""

from __future__ import annotations

from bench.gateways import bifrost, envoy, litellm, nginx, portkey, routers, tollhouse

GATEWAYS = {
    gateway.name: gateway
    for gateway in (
        tollhouse.GATEWAY,
        nginx.GATEWAY,
        envoy.GATEWAY,
        routers.VLLM,
        routers.SGLANG,
        portkey.GATEWAY,
        litellm.GATEWAY,
        bifrost.GATEWAY,
    )
}
