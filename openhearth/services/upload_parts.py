"""The parts of an upload, chosen, checked and read as the one file they make."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import cast

from openhearth.errors import BadRequestError, BlobNotFoundError, InvalidValueError
from openhearth.schemas.files import FilePurpose
from openhearth.schemas.uploads import CompleteUploadRequest
from openhearth.services.file_intake import FileDescription
from openhearth.store.blobs.base import BlobStore
from openhearth.store.tables import UploadPartRow, UploadRow


class JoinedParts:
    """The parts of an upload, as one incoming file."""

    def __init__(self, blobs: BlobStore, upload: UploadRow, parts: Sequence[UploadPartRow], *, md5: str | None) -> None:
        self._blobs = blobs
        self._upload = upload
        self._parts = parts
        self._md5 = md5

    async def content(self) -> AsyncIterator[bytes]:
        """Return the content of all parts. Raises `BadRequestError` if the MD5 is wrong, or the upload has ended."""
        digest = hashlib.md5(usedforsecurity=False)
        async for piece in self._pieces():
            if self._md5 is not None:
                await asyncio.to_thread(digest.update, piece)
            yield piece
        if self._md5 is not None and digest.hexdigest() != self._md5.lower():
            raise InvalidValueError(
                f"Invalid 'md5': the parts have the MD5 {digest.hexdigest()}, but {self._md5} was expected.",
                param="md5",
            )

    def description(self) -> FileDescription:
        """Return what was announced."""
        return FileDescription(
            filename=self._upload.filename,
            purpose=cast(FilePurpose, self._upload.purpose),
            expires_after_seconds=self._upload.file_expires_after_seconds,
        )

    async def _pieces(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            try:
                reader = await self._blobs.open(part.id)
            except BlobNotFoundError:  # somebody ended the upload meanwhile
                raise ended_error(self._upload.id, "no longer pending") from None
            async with aclosing(reader):
                async for piece in reader:
                    yield piece


def join(
    blobs: BlobStore, upload: UploadRow, parts: Sequence[UploadPartRow], request: CompleteUploadRequest
) -> JoinedParts:
    """Return those of `parts` that the request names, in its order.

    Raises `BadRequestError` if one is unknown or named twice, or if they have not the size that was announced.
    """
    by_id = {part.id: part for part in parts}
    unknown = [part_id for part_id in request.part_ids if part_id not in by_id]
    if unknown:
        raise _wrong_parts(f"no such part: {unknown[0]}")
    if len(set(request.part_ids)) < len(request.part_ids):
        raise _wrong_parts("a part is named twice")
    chosen = [by_id[part_id] for part_id in request.part_ids]
    num_bytes = sum(part.bytes for part in chosen)
    if num_bytes != upload.bytes:
        raise _wrong_parts(f"the parts have {num_bytes} bytes together, but the upload announced {upload.bytes}")
    return JoinedParts(blobs, upload, chosen, md5=request.md5)


def ended_error(upload_id: str, status: str) -> BadRequestError:
    """Return the error for whatever is asked of an upload that is no longer pending."""
    return BadRequestError(f"Upload {upload_id} is {status}; only a pending upload can be added to or ended.")


def _wrong_parts(problem: str) -> InvalidValueError:
    return InvalidValueError(f"Invalid 'part_ids': {problem}.", param="part_ids")
