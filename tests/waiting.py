"""Waiting for what nothing tells: plain counters, logs, and what others do."""

import asyncio
from collections.abc import Callable

PATIENCE = 90


async def until(holds: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Look again and again until it holds; raises ``TimeoutError``."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 -- what tells of itself is awaited, not looked at
            await asyncio.sleep(0.01)
