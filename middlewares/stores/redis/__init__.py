"""Limits and budgets that several nodes share, in Redis."""

from tollhouse.middlewares.stores.redis.ledger import Entry, Ledger
from tollhouse.middlewares.stores.redis.plan import Hold, Plan
from tollhouse.middlewares.stores.redis.store import RedisQuota

__all__ = ["Entry", "Hold", "Ledger", "Plan", "RedisQuota"]
