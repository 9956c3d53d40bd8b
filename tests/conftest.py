"""What holds for every test."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Frameworks and gateways in this process set logging up for themselves: no test is to find that of another."""
    root = logging.getLogger()
    before = (root.level, logging.root.manager.disable, logging.raiseExceptions)
    for name, logger in logging.root.manager.loggerDict.items():
        if name.partition(".")[0] == "tollhouse" and isinstance(logger, logging.Logger):
            logger.disabled = False
            logger.propagate = True
            logger.setLevel(logging.NOTSET)
    yield
    root.setLevel(before[0])
    logging.root.manager.disable = before[1]
    logging.raiseExceptions = before[2]
