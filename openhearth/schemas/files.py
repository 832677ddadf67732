"""The files resource (contract: files)."""

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from openhearth.errors import BadRequestError
from openhearth.schemas.shared import RequestModel, ResponseModel

UploadPurpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
FilePurpose = Literal[UploadPurpose, "assistants_output", "batch_output", "fine-tune-results"]
FileStatus = Literal["uploaded", "processed", "error"]


def _known_purpose(value: Any) -> Any:
    """Refuse an unknown purpose in the words that the service keeps for it."""
    if isinstance(value, str) and value not in get_args(UploadPurpose):
        raise BadRequestError(f"'{value}' is not one of {list(get_args(UploadPurpose))} - 'purpose'", param="purpose")
    return value


KnownPurpose = Annotated[UploadPurpose, BeforeValidator(_known_purpose)]


class FileExpirationAfter(RequestModel):
    """When a file goes by itself: so many seconds after it was made."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=3600, le=2_592_000)]


class CreateFileRequest(RequestModel):
    """What a caller says of a file, besides its content and its name."""

    purpose: KnownPurpose
    expires_after: FileExpirationAfter | None = None


class OpenAIFile(ResponseModel):
    """A file. `bytes` is its size; times are Unix seconds."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: FilePurpose
    status: FileStatus
    status_details: str | None


class ListFilesResponse(ResponseModel):
    """A page of files."""

    object: Literal["list"]
    data: list[OpenAIFile]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeleteFileResponse(ResponseModel):
    """The file that is gone."""

    id: str
    object: Literal["file"]
    deleted: bool
