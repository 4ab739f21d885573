"""Detects a cancellation that redis-py has lost.

redis-py loses a cancellation that arrives together with an answer: the call returns instead of raising CancelledError.
A loop around such calls must call `is_cancelled` after each round, or the server waits for it forever at shutdown.
"""

from __future__ import annotations

import asyncio


def is_cancelled() -> bool:
    """Whether the running task was cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
