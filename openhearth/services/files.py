"""Files: taken in, listed, read back, deleted. Every one belongs to a project; to others it does not exist."""

import asyncio
from collections.abc import AsyncIterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from openhearth.errors import BadRequestError, BlobNotFoundError, NotFoundError, RequestTooLargeError
from openhearth.schemas.files import DeleteFileResponse, FilePurpose, ListFilesResponse, OpenAIFile
from openhearth.services.file_intake import FileDescription, FileIntake
from openhearth.services.file_storage import FileStorage
from openhearth.store.blobs.base import BlobReader, BlobStore
from openhearth.store.database import Transaction
from openhearth.store.tables import FileRow

_NOT_READABLE = ("assistants",)


@dataclass(frozen=True, slots=True)
class FileContent:
    """A file that may be read: `sha256` in hexadecimal digits identifies what `open` gives."""

    filename: str
    bytes: int
    sha256: str
    _id: str
    _blobs: BlobStore

    async def open(self, *, start: int = 0, stop: int | None = None) -> BlobReader:
        """Open the bytes from `start` up to but not including `stop`. Raises `NotFoundError` if it was deleted."""
        try:
            return await self._blobs.open(self._id, start=start, stop=stop)
        except BlobNotFoundError:
            raise _not_found(self._id) from None


class IncomingFile(Protocol):
    """A file on its way in: first its content, then what is said of it."""

    def content(self) -> AsyncIterable[bytes]:
        """Return the content, piece by piece; read it once, to its end. Raises if anything is wrong behind it too."""
        ...

    def description(self) -> FileDescription:
        """Return what is said of the file; ask once the content has been read. Raises `BadRequestError`."""
        ...


class Files:
    """The use cases of files. `max_file_bytes` bounds what comes in one request."""

    def __init__(self, storage: FileStorage, intake: FileIntake, *, max_file_bytes: int) -> None:
        self._storage = storage
        self._intake = intake
        self._max_file_bytes = max_file_bytes

    async def create(self, project: str, incoming: IncomingFile) -> OpenAIFile:
        """Take a file in; once this returns, it survives a crash.

        Raises `RequestTooLargeError`, `InsufficientStorageError` and what `FileIntake` raises.
        """
        too_large = RequestTooLargeError(
            f"The file is larger than {self._max_file_bytes} bytes. Send it in parts instead, to /v1/uploads."
        )
        content = self._storage.quota.bounded(
            project, incoming.content(), max_bytes=self._max_file_bytes, too_large=too_large
        )
        row = await self._intake.receive(project, content, incoming.description)
        await self._intake.keep(row, also=_nothing)
        return wire_file(row)

    async def list(
        self,
        project: str,
        *,
        purpose: FilePurpose | None = None,
        limit: int = 10_000,
        order: Literal["asc", "desc"] = "desc",
        after: str | None = None,
    ) -> ListFilesResponse:
        """Return a page of files by the time they were made. Raises `NotFoundError` for an unknown `after`."""
        now = self._storage.now()
        async with self._storage.database.read() as tx:
            cursor = None if after is None else await _find(tx, project, after, now=now, param="after")
            rows = await tx.files.list(project, purpose=purpose, order=order, after=cursor, limit=limit + 1, now=now)
        return await asyncio.to_thread(_page, rows, limit)

    async def retrieve(self, project: str, file_id: str) -> OpenAIFile:
        """Return a file. Raises `NotFoundError`."""
        async with self._storage.database.read() as tx:
            return wire_file(await _find(tx, project, file_id, now=self._storage.now()))

    async def content(self, project: str, file_id: str) -> FileContent:
        """Return a file to read. Raises `NotFoundError`, and `BadRequestError` if its purpose forbids reading."""
        async with self._storage.database.read() as tx:
            row = await _find(tx, project, file_id, now=self._storage.now())
        if row.purpose in _NOT_READABLE:
            raise BadRequestError(f"Not allowed to download files of purpose: {row.purpose}")
        return FileContent(row.filename, row.bytes, row.sha256, row.id, self._storage.blobs)

    async def delete(self, project: str, file_id: str) -> DeleteFileResponse:
        """Delete a file; who is reading it reads on. Raises `NotFoundError`."""
        async with self._storage.database.transaction() as tx:
            if not await tx.files.delete(project, file_id, now=self._storage.now()):
                raise _not_found(file_id)
        await self._storage.blobs.delete(file_id)
        return DeleteFileResponse(id=file_id, object="file", deleted=True)


def wire_file(row: FileRow) -> OpenAIFile:
    """Return the row as clients see it."""
    return OpenAIFile.model_validate(
        {
            "id": row.id,
            "object": "file",
            "bytes": row.bytes,
            "created_at": int(row.created_at),
            "expires_at": row.expires_at,
            "filename": row.filename,
            "purpose": row.purpose,
            "status": row.status,
            "status_details": row.status_details,
        }
    )


async def _nothing(_tx: Transaction) -> None:
    """Add nothing to the transaction."""


async def _find(tx: Transaction, project: str, file_id: str, *, now: float, param: str = "id") -> FileRow:
    row = await tx.files.find(project, file_id, now=now)
    if row is None:
        raise _not_found(file_id, param=param)
    return row


def _not_found(file_id: str, *, param: str = "id") -> NotFoundError:
    return NotFoundError(f"No such File object: {file_id}", param=param)


def _page(rows: Sequence[FileRow], limit: int) -> ListFilesResponse:
    data = [wire_file(row) for row in rows[:limit]]
    return ListFilesResponse(
        object="list",
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=len(rows) > limit,
    )
