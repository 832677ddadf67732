"""`/v1/images/…`, and the links that lead to images."""

from collections.abc import AsyncGenerator, Coroutine
from typing import Any

import orjson
from fastapi import APIRouter
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from openhearth.api.content import ContentResponse
from openhearth.api.dependencies import ProjectOf, ServicesOf
from openhearth.api.disconnect import until_disconnect
from openhearth.api.image_forms import ImageForm
from openhearth.api.sse import event_stream
from openhearth.api.strict_json import StrictJSONRoute
from openhearth.errors import MissingRequiredParameterError
from openhearth.schemas.images import (
    CreateImageEditRequest,
    CreateImageRequest,
    CreateImageVariationRequest,
    EditImageBodyJsonParam,
    ImagesResponse,
    ImageStreamEvent,
)
from openhearth.schemas.validation import bad_request, unreadable_body

router = APIRouter(tags=["Images"], route_class=StrictJSONRoute)


@router.post("/v1/images/generations", response_model=ImagesResponse)
async def create_image(body: CreateImageRequest, request: Request, services: ServicesOf) -> Response:
    """Draw images from words."""
    if body.stream:
        return await _streamed(request, services.images.stream_generation(body))
    return await _whole(request, services.images.generate(body, base_url=str(request.base_url)))


@router.post("/v1/images/edits", response_model=ImagesResponse)
async def create_image_edit(request: Request, project: ProjectOf, services: ServicesOf) -> Response:
    """Change a picture, as a whole or where a mask is transparent."""
    async with services.inboxes.open() as inbox:
        body: CreateImageEditRequest
        if request.headers.get("content-type", "").startswith("application/json"):
            body = await _json_body(request)
            images, mask = await services.image_references.receive(project, body, inbox)
        else:
            form = ImageForm(request, inbox, kind=CreateImageEditRequest)
            await form.receive()
            body, images, mask = form.request(CreateImageEditRequest), form.images, form.mask
        if not body.stream:
            work = services.images.edit(body, images, mask, base_url=str(request.base_url))
            return await _whole(request, work)
        # The pictures have to stay until the stream has begun; by then the engine has read them.
        return await _streamed(request, services.images.stream_edit(body, images, mask))


@router.post("/v1/images/variations", response_model=ImagesResponse)
async def create_image_variation(request: Request, services: ServicesOf) -> Response:
    """Draw variations of a picture."""
    async with services.inboxes.open() as inbox:
        form = ImageForm(request, inbox, kind=CreateImageVariationRequest)
        await form.receive()
        body = form.request(CreateImageVariationRequest)
        if len(form.images) != 1:
            raise MissingRequiredParameterError("image")
        work = services.images.create_variation(body, form.images[0], base_url=str(request.base_url))
        return await _whole(request, work)


@router.get("/images/{name}", response_class=Response)
async def retrieve_linked_image(name: str, services: ServicesOf, signature: str = "") -> ContentResponse:
    """Follow a link to an image; the signature in it is the key."""
    image = await services.image_links.open(name, signature=signature)
    headers = {
        "cache-control": f"private, max-age={image.seconds_left}",
        "content-length": str(image.bytes),
        "content-type": f"image/{image.format}",
    }
    return ContentResponse(image.reader, status_code=200, headers=headers)


async def _json_body(request: Request) -> EditImageBodyJsonParam:
    try:
        return EditImageBodyJsonParam.model_validate(orjson.loads(await request.body()))
    except orjson.JSONDecodeError:
        raise unreadable_body() from None
    except ValidationError as error:
        raise bad_request(error.errors()) from None


async def _whole(request: Request, work: Coroutine[Any, Any, ImagesResponse]) -> Response:
    response = await until_disconnect(request, work)
    return Response(response.model_dump_json(exclude_unset=True), media_type="application/json")


async def _streamed(request: Request, events: AsyncGenerator[ImageStreamEvent]) -> Response:
    return await event_stream(request, events, headers=lambda _event: {}, name=lambda event: event.type)
