"""`/v1/uploads`."""

from fastapi import APIRouter
from starlette.requests import Request

from openhearth.api.dependencies import ProjectOf, ServicesOf
from openhearth.api.multipart import MultipartForm
from openhearth.api.multipart_stream import MultipartStream
from openhearth.api.strict_json import StrictJSONRoute
from openhearth.schemas.uploads import CompleteUploadRequest, CreateUploadRequest, Upload, UploadPart

router = APIRouter(tags=["Uploads"], route_class=StrictJSONRoute)

_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"data": {"type": "string", "format": "binary"}},
                    "required": ["data"],
                    "additionalProperties": False,
                }
            }
        },
    }
}


@router.post("/v1/uploads")
async def create_upload(body: CreateUploadRequest, project: ProjectOf, services: ServicesOf) -> Upload:
    """Announce a file that will arrive in parts."""
    return await services.uploads.create(project, body)


@router.post("/v1/uploads/{upload_id}/parts", openapi_extra=_FORM)
async def add_upload_part(upload_id: str, request: Request, project: ProjectOf, services: ServicesOf) -> UploadPart:
    """Add a part to an upload."""
    stream = MultipartStream(request.headers.get("content-type", ""), request.stream())
    form = MultipartForm(stream, file_field="data")
    return await services.uploads.add_part(project, upload_id, form.content())


@router.post("/v1/uploads/{upload_id}/complete")
async def complete_upload(
    upload_id: str, body: CompleteUploadRequest, project: ProjectOf, services: ServicesOf
) -> Upload:
    """Join the parts of an upload into a file."""
    return await services.uploads.complete(project, upload_id, body)


@router.post("/v1/uploads/{upload_id}/cancel")
async def cancel_upload(upload_id: str, project: ProjectOf, services: ServicesOf) -> Upload:
    """Give an upload up."""
    return await services.uploads.cancel(project, upload_id)
