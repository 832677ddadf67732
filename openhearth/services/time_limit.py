"""The time that a request has."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

from openhearth.errors import GenerationTimeoutError

Output = TypeVar("Output")


async def in_time(outputs: AsyncGenerator[Output], *, timeout_seconds: float, advice: str) -> AsyncGenerator[Output]:
    """Yield what comes before the time is over, then raise; the time the caller takes between two counts, too.

    Raises `GenerationTimeoutError`, whose message ends with `advice`, once `outputs` is closed.
    """
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    async with aclosing(outputs):
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    output = await anext(outputs)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                raise GenerationTimeoutError(
                    f"This server gives a request {timeout_seconds:g} seconds, and they are over. {advice}"
                ) from error
            yield output
