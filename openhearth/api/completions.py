"""`/v1/completions`, and the same with more to ask for under a path that the reference does not have."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from openhearth.api.dependencies import AllowanceOf, ProjectOf, ServicesOf
from openhearth.api.generations import streamed, whole
from openhearth.api.strict_json import StrictJSONRoute
from openhearth.schemas.completions import CreateCompletionRequest, CreateCompletionResponse
from openhearth.schemas.extended_completions import CreateExtendedCompletionRequest

router = APIRouter(tags=["Completions"], route_class=StrictJSONRoute)


@router.post("/v1/completions", response_model=CreateCompletionResponse)
async def create_completion(
    body: CreateCompletionRequest, request: Request, project: ProjectOf, services: ServicesOf, allowance: AllowanceOf
) -> Response:
    """Continue one or more prompts."""
    return await _answer(body, request, project, services, allowance)


@router.post("/v1/extended/completions", response_model=CreateCompletionResponse)
async def create_extended_completion(
    body: CreateExtendedCompletionRequest,
    request: Request,
    project: ProjectOf,
    services: ServicesOf,
    allowance: AllowanceOf,
) -> Response:
    """Continue one or more prompts, on behalf of another server."""
    return await _answer(body, request, project, services, allowance)


async def _answer(
    body: CreateCompletionRequest, request: Request, project: ProjectOf, services: ServicesOf, allowance: AllowanceOf
) -> Response:
    if body.stream:
        return await streamed(request, services.completions.stream(project, body, allowance))
    return await whole(request, services.completions.create(project, body, allowance))
