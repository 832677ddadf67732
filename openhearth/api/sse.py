"""Server-sent events, framed as the OpenAI service frames them (contract: conventions, section 6).

Leaves the content of the events to the services.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, TypeVar

import structlog
from pydantic import BaseModel
from sse_starlette.sse import EventSourceResponse
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from openhearth.api.disconnect import until_disconnect
from openhearth.api.error_handlers import error_object, status_code_of

log = structlog.get_logger(__name__)

_KEEP_ALIVE_SECONDS = 15

Chunk = TypeVar("Chunk", bound=BaseModel)


async def event_stream(
    request: Request,
    chunks: AsyncGenerator[Chunk],
    *,
    headers: Callable[[Chunk], Mapping[str, str]],
    name: Callable[[Chunk], str] | None = None,
) -> Response:
    """Send `chunks` as events, with the headers that belong to the first one.

    Events have names if `name` gives them some; a stream without names ends with `[DONE]`. Whatever fails before the
    first event is raised, so that it gets its own status.
    """
    first = await until_disconnect(request, anext(chunks))
    return _EventStream(chunks, _frames(first, chunks, name), headers(first))


class _EventStream(EventSourceResponse):
    """A stream that closes its chunks when it ends, also if the client has gone before the first of them."""

    def __init__(self, chunks: AsyncGenerator[Any], frames: AsyncGenerator[bytes], headers: Mapping[str, str]) -> None:
        super().__init__(frames, headers=headers, sep="\n", ping=_KEEP_ALIVE_SECONDS)
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._chunks.aclose()


async def _frames(
    first: Chunk, chunks: AsyncGenerator[Chunk], name: Callable[[Chunk], str] | None
) -> AsyncGenerator[bytes]:
    yield _named(first, name) + _frame(first)
    try:
        async for chunk in chunks:
            yield _named(chunk, name) + _frame(chunk)
    except Exception as error:
        if status_code_of(error) == 500:
            log.error("stream_failed", exc_info=error)
        yield _frame(error_object(error))
    else:
        if name is None:
            yield b"data: [DONE]\n\n"


def _named(chunk: Chunk, name: Callable[[Chunk], str] | None) -> bytes:
    return b"" if name is None else f"event: {name(chunk)}\n".encode()


def _frame(chunk: BaseModel) -> bytes:
    return b"data: " + chunk.model_dump_json(exclude_unset=True).encode() + b"\n\n"
