"""`/v1/files`."""

from typing import Annotated, Literal, get_args

from fastapi import APIRouter, Query
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from openhearth.api.content import content_response
from openhearth.api.dependencies import ProjectOf, ServicesOf
from openhearth.api.multipart import MultipartForm
from openhearth.api.multipart_stream import MultipartStream
from openhearth.schemas.files import (
    CreateFileRequest,
    DeleteFileResponse,
    FilePurpose,
    ListFilesResponse,
    OpenAIFile,
    UploadPurpose,
)
from openhearth.schemas.validation import bad_request
from openhearth.services.file_intake import FileDescription

router = APIRouter(tags=["Files"])


_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string", "enum": list(get_args(UploadPurpose))},
                        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                        "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2_592_000},
                    },
                    "required": ["file", "purpose"],
                    "additionalProperties": False,
                }
            }
        },
    }
}


class _FormFile(MultipartForm):
    """A file that comes as a form."""

    def __init__(self, request: Request) -> None:
        stream = MultipartStream(request.headers.get("content-type", ""), request.stream())
        super().__init__(stream, file_field="file", fields=CreateFileRequest.model_fields)

    def description(self) -> FileDescription:
        """Return what the fields say of the file."""
        assert self.filename is not None  # or the content would not have come to its end
        try:
            request = CreateFileRequest.model_validate_strings(self.fields)
        except ValidationError as error:
            raise bad_request(error.errors()) from None
        return FileDescription(
            filename=self.filename,
            purpose=request.purpose,
            expires_after_seconds=request.expires_after.seconds if request.expires_after else None,
        )


@router.post("/v1/files", openapi_extra=_FORM)
async def create_file(request: Request, project: ProjectOf, services: ServicesOf) -> OpenAIFile:
    """Upload a file."""
    return await services.files.create(project, _FormFile(request))


@router.get("/v1/files")
async def list_files(
    project: ProjectOf,
    services: ServicesOf,
    purpose: FilePurpose | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
    after: str | None = None,
) -> ListFilesResponse:
    """List the files of the project."""
    return await services.files.list(project, purpose=purpose, limit=limit, order=order, after=after)


@router.get("/v1/files/{file_id}")
async def retrieve_file(file_id: str, project: ProjectOf, services: ServicesOf) -> OpenAIFile:
    """Describe one file."""
    return await services.files.retrieve(project, file_id)


@router.delete("/v1/files/{file_id}")
async def delete_file(file_id: str, project: ProjectOf, services: ServicesOf) -> DeleteFileResponse:
    """Delete a file."""
    return await services.files.delete(project, file_id)


@router.get("/v1/files/{file_id}/content", response_class=Response)
async def download_file(file_id: str, request: Request, project: ProjectOf, services: ServicesOf) -> Response:
    """Return the content of a file."""
    return await content_response(await services.files.content(project, file_id), request.headers)
