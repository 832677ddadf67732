"""The uploads resource: a file in parts (contract: uploads)."""

from typing import Annotated, Literal

from pydantic import Field

from openhearth.schemas.files import FileExpirationAfter, KnownPurpose, OpenAIFile, UploadPurpose
from openhearth.schemas.shared import RequestModel, ResponseModel

UploadStatus = Literal["pending", "completed", "cancelled", "expired"]


class CreateUploadRequest(RequestModel):
    """The announcement of a file that will arrive in parts."""

    filename: Annotated[str, Field(min_length=1, max_length=1024)]
    purpose: KnownPurpose
    bytes: Annotated[int, Field(ge=0)]
    mime_type: str
    expires_after: FileExpirationAfter | None = None


class CompleteUploadRequest(RequestModel):
    """The parts, in the order in which they make the file; `md5` is the hexadecimal digest of the whole."""

    part_ids: list[str]
    md5: str | None = None


class Upload(ResponseModel):
    """An upload. `file` is there once it is completed."""

    id: str
    object: Literal["upload"]
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: UploadPurpose
    status: UploadStatus
    file: OpenAIFile | None


class UploadPart(ResponseModel):
    """One part."""

    id: str
    object: Literal["upload.part"]
    created_at: int
    upload_id: str
