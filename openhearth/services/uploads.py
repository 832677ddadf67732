"""Uploads: a file announced, sent in parts in any order, and completed or cancelled within the hour."""

from collections.abc import AsyncIterable, Sequence
from typing import Literal

from openhearth import ids
from openhearth.errors import BadRequestError, NotFoundError, RequestTooLargeError
from openhearth.schemas.uploads import CompleteUploadRequest, CreateUploadRequest, Upload, UploadPart, UploadStatus
from openhearth.services.file_formats import check_claims, check_mime_type
from openhearth.services.file_intake import FileIntake, commit_or_delete
from openhearth.services.file_storage import FileStorage
from openhearth.services.files import wire_file
from openhearth.services.upload_parts import ended_error, join
from openhearth.store.database import Transaction
from openhearth.store.tables import FileRow, UploadPartRow, UploadRow

MAX_PART_BYTES = 64 * 2**20
_UPLOAD_SECONDS = 3600


class Uploads:
    """The use cases of uploads. `max_upload_bytes` bounds the whole, `MAX_PART_BYTES` each part."""

    def __init__(self, storage: FileStorage, intake: FileIntake, *, max_upload_bytes: int) -> None:
        self._storage = storage
        self._intake = intake
        self._max_upload_bytes = max_upload_bytes

    async def create(self, project: str, request: CreateUploadRequest) -> Upload:
        """Announce a file. Raises `BadRequestError` if it could never be completed."""
        self._check(request)
        now = self._storage.now()
        row = UploadRow(
            id=ids.upload_id(),
            project=project,
            purpose=request.purpose,
            filename=request.filename,
            mime_type=request.mime_type,
            bytes=request.bytes,
            status="pending",
            created_at=now,
            expires_at=int(now) + _UPLOAD_SECONDS,
            file_expires_after_seconds=request.expires_after.seconds if request.expires_after else None,
        )
        async with self._storage.database.transaction() as tx:
            await tx.uploads.create(row)
        return _wire_upload(row)

    async def add_part(self, project: str, upload_id: str, content: AsyncIterable[bytes]) -> UploadPart:
        """Take a part in; parts may arrive in any order and at the same time.

        Raises `NotFoundError`, `BadRequestError` if the upload has ended, `RequestTooLargeError` and
        `InsufficientStorageError`.
        """
        async with self._storage.database.read() as tx:
            await self._pending(tx, project, upload_id)
        part_id = ids.upload_part_id()
        too_large = RequestTooLargeError(f"A part may have {MAX_PART_BYTES} bytes at most.")
        bounded = self._storage.quota.bounded(project, content, max_bytes=MAX_PART_BYTES, too_large=too_large)
        stored = await self._storage.blobs.put(part_id, bounded)
        row = UploadPartRow(id=part_id, upload_id=upload_id, bytes=stored.bytes, created_at=self._storage.now())

        async def commit() -> None:
            async with self._storage.database.transaction() as tx:
                await self._pending(tx, project, upload_id)
                await tx.uploads.add_part(row)
                await self._storage.quota.check(tx, project)

        await commit_or_delete(self._storage.blobs, part_id, commit)
        return UploadPart(id=part_id, object="upload.part", created_at=int(row.created_at), upload_id=upload_id)

    async def complete(self, project: str, upload_id: str, request: CompleteUploadRequest) -> Upload:
        """Join the parts into a file, in the order of `part_ids`; parts that are not named are discarded.

        Raises `NotFoundError`, and `BadRequestError` if the upload has ended, a part is unknown, the size or the MD5
        is not what was announced, or the content has not the format that its purpose asks for.
        """
        async with self._storage.database.read() as tx:
            upload = await self._pending(tx, project, upload_id)
            parts = await tx.uploads.parts(upload_id)
        joined = join(self._storage.blobs, upload, parts, request)
        row = await self._intake.receive(project, joined.content(), joined.description)

        async def end(tx: Transaction) -> Sequence[str]:
            await self._pending(tx, project, upload_id)
            return await _end(tx, upload_id, "completed")

        await self._delete_blobs(await self._intake.keep(row, also=end))
        return _wire_upload(upload, status="completed", file=row)

    async def cancel(self, project: str, upload_id: str) -> Upload:
        """Give an upload up. Raises `NotFoundError`, and `BadRequestError` if it has ended."""
        async with self._storage.database.transaction() as tx:
            upload = await self._pending(tx, project, upload_id)
            part_ids = await _end(tx, upload_id, "cancelled")
        await self._delete_blobs(part_ids)
        return _wire_upload(upload, status="cancelled")

    def _check(self, request: CreateUploadRequest) -> None:
        if request.bytes > self._max_upload_bytes:
            raise BadRequestError(
                f"Invalid 'bytes': integer above maximum value. Expected a value <= {self._max_upload_bytes}, "
                f"but got {request.bytes} instead.",
                param="bytes",
                code="integer_above_max_value",
            )
        check_mime_type(request.purpose, request.mime_type)
        check_claims(request.purpose, filename=request.filename, num_bytes=request.bytes)

    async def _pending(self, tx: Transaction, project: str, upload_id: str) -> UploadRow:
        row = await tx.uploads.find(project, upload_id)
        if row is None:
            raise NotFoundError(f"No such Upload object: {upload_id}", param="id")
        status = "expired" if row.status == "pending" and row.expires_at <= self._storage.now() else row.status
        if status != "pending":
            raise ended_error(upload_id, status)
        return row

    async def _delete_blobs(self, keys: Sequence[str]) -> None:
        for key in keys:
            await self._storage.blobs.delete(key)


async def _end(tx: Transaction, upload_id: str, status: Literal["completed", "cancelled"]) -> Sequence[str]:
    """End a pending upload; return the ids of its parts, whose content is to be deleted after the transaction."""
    await tx.uploads.end(upload_id, status)
    return await tx.uploads.delete_parts([upload_id])


def _wire_upload(row: UploadRow, *, status: UploadStatus = "pending", file: FileRow | None = None) -> Upload:
    return Upload.model_validate(
        {
            "id": row.id,
            "object": "upload",
            "bytes": row.bytes,
            "created_at": int(row.created_at),
            "expires_at": row.expires_at,
            "filename": row.filename,
            "purpose": row.purpose,
            "status": status,
            "file": None if file is None else wire_file(file),
        }
    )
