"""Official clients as the tests use them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from openai import OpenAI

from tests.support.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.gateway import Gateway

TIMEOUT_S = 10.0


@contextlib.contextmanager
def witnessed_openai(gateway: Gateway) -> Iterator[OpenAI]:
    """A client that leaves retries to the gateway, over a wire whose streams are checked."""
    with (
        Witness(gateway.port) as witness,
        OpenAI(base_url=f"{witness.url}/v1", api_key=gateway.key, max_retries=0, timeout=TIMEOUT_S) as made,
    ):
        yield made
