"""Limits and budgets in Redis of which each node has a part to give away by itself."""

from tollhouse.middlewares.stores.leased.store import LeasedQuota

__all__ = ["LeasedQuota"]
