"""Processes of ours that speak on their pipes: their input stays open as long as we live, and its end is their end."""

import asyncio
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Sequence
from typing import Any

STOP_SECONDS = 10


async def start_child(command: Sequence[str], **more: Any) -> Process:
    """Start a process with pipes; ``more`` goes to asyncio. Ctrl-C on the terminal is for us, who end it in order."""
    return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, start_new_session=True, **more)


async def end_child(process: Process, ended: Awaitable[object]) -> None:
    """Let a process end, by force when it takes longer than ``STOP_SECONDS``.

    ``ended`` waits for it: ``process.wait()`` where somebody reads its output, else ``process.communicate()``.
    """
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await ended
    except TimeoutError:
        process.kill()
        await process.wait()
