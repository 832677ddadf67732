"""`/v1/completions`."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from openhearth.api.dependencies import ServicesOf
from openhearth.api.generations import streamed, whole
from openhearth.api.strict_json import StrictJSONRoute
from openhearth.schemas.completions import CreateCompletionRequest, CreateCompletionResponse

router = APIRouter(tags=["Completions"], route_class=StrictJSONRoute)


@router.post("/v1/completions", response_model=CreateCompletionResponse)
async def create_completion(body: CreateCompletionRequest, request: Request, services: ServicesOf) -> Response:
    """Continue one or more prompts."""
    if body.stream:
        return await streamed(request, services.completions.stream(body))
    return await whole(request, services.completions.create(body))
