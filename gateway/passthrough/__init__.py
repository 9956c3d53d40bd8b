"""Endpoints that are no conversation: passed through to the provider, with auth, limits, scan and ledger around them.

docs/endpoints.md says what each of them does with which.
"""

from tollhouse.gateway.passthrough.handler import PassThrough
from tollhouse.gateway.passthrough.owners import Owners
from tollhouse.gateway.passthrough.table import PASSAGES, Passage

__all__ = ["PASSAGES", "Owners", "PassThrough", "Passage"]
