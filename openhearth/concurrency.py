"""What asyncio leaves to be said about tasks."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Do `work` to its end, also if the caller is cancelled meanwhile; then the cancellation is passed on.

    For steps that must not be left half-way. `work` runs in a task of its own.
    """
    task = asyncio.ensure_future(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancellation = error
        except Exception:
            break  # it is the task's, and `result` raises it
    if cancellation is not None and not task.cancelled():
        task.exception()  # seen; otherwise asyncio would report it as forgotten
        raise cancellation
    return task.result()
