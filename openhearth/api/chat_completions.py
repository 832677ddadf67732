"""`/v1/chat/completions`."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from openhearth.api.dependencies import AllowanceOf, ProjectOf, ServicesOf
from openhearth.api.generations import streamed, whole
from openhearth.api.strict_json import StrictJSONRoute
from openhearth.schemas.chat_completions import CreateChatCompletionRequest, CreateChatCompletionResponse

router = APIRouter(tags=["Chat"], route_class=StrictJSONRoute)


@router.post("/v1/chat/completions", response_model=CreateChatCompletionResponse)
async def create_chat_completion(
    body: CreateChatCompletionRequest,
    request: Request,
    project: ProjectOf,
    services: ServicesOf,
    allowance: AllowanceOf,
) -> Response:
    """Write the next message of a chat."""
    if body.stream:
        return await streamed(request, services.chat_completions.stream(project, body, allowance))
    return await whole(request, services.chat_completions.create(project, body, allowance))
