"""How completions of either kind are answered: under the name of the model, and given up when the client goes."""

from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from openhearth.api.disconnect import until_disconnect
from openhearth.api.model_headers import model_headers
from openhearth.api.sse import event_stream
from openhearth.schemas.chat_completions import CreateChatCompletionResponse, CreateChatCompletionStreamResponse
from openhearth.schemas.completions import CreateCompletionResponse

Generation = TypeVar(
    "Generation", CreateCompletionResponse, CreateChatCompletionResponse, CreateChatCompletionStreamResponse
)


async def whole(request: Request, work: Coroutine[Any, Any, Generation]) -> Response:
    """Answer with the result of `work`."""
    generation = await until_disconnect(request, work)
    content = generation.model_dump_json(exclude_unset=True)
    return Response(content, headers=_headers(generation), media_type="application/json")


async def streamed(request: Request, chunks: AsyncGenerator[Generation]) -> Response:
    """Answer with a stream of events."""
    return await event_stream(request, chunks, headers=_headers)


def _headers(generation: Generation) -> dict[str, str]:
    return model_headers(generation.model)
