"""How content becomes a file: stored first, checked, and then made real by the transaction that creates its row."""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from openhearth import ids
from openhearth.schemas.files import FilePurpose
from openhearth.services.file_formats import FileFormats, check_claims
from openhearth.services.file_storage import FileStorage
from openhearth.store.blobs.base import BlobStore, StoredBlob
from openhearth.store.database import Transaction
from openhearth.store.tables import FileRow

T = TypeVar("T")

_BATCH_FILE_SECONDS = 30 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDescription:
    """What is said of a file besides its content. `filename` is a label, never a path."""

    filename: str
    purpose: FilePurpose
    expires_after_seconds: int | None = None


class FileIntake:
    """Takes files in, in two steps: `receive` the content, `keep` it. In between, nobody can see it.

    Without `formats` neither content nor quota is checked: for files that the server writes itself, which are small and
    must not be lost because a project is full.
    """

    def __init__(self, storage: FileStorage, formats: FileFormats | None = None) -> None:
        self._storage = storage
        self._formats = formats

    async def receive(
        self, project: str, content: AsyncIterable[bytes], describe: Callable[[], FileDescription]
    ) -> FileRow:
        """Store the content, check its format, and return the row to `keep`.

        On the wire the description may stand behind the content, so `describe` is asked once that has been read.
        Raises what `content` and `describe` raise, `RequestTooLargeError`, `InsufficientStorageError` and, for a
        broken format, `BadRequestError`; then nothing is left of it.
        """
        file_id = ids.file_id()
        stored = await self._storage.blobs.put(file_id, content)
        try:
            description = describe()
            check_claims(description.purpose, filename=description.filename, num_bytes=stored.bytes)
            await self._check_content(file_id, description, stored.bytes)
        except BaseException:
            await self._storage.blobs.delete(file_id)
            raise
        return self._row(file_id, project, description, stored)

    async def keep(self, row: FileRow, *, also: Callable[[Transaction], Awaitable[T]]) -> T:
        """Commit the row, together with what `also` does in the same transaction; return what `also` returns.

        Raises `InsufficientStorageError` and whatever `also` raises; then nothing is left of the file.
        """

        async def commit() -> T:
            async with self._storage.database.transaction() as tx:
                result = await also(tx)
                await tx.files.create(row)
                if self._formats is not None:
                    await self._storage.quota.check(tx, row.project)
            return result

        return await commit_or_delete(self._storage.blobs, row.id, commit)

    async def _check_content(self, file_id: str, description: FileDescription, num_bytes: int) -> None:
        if self._formats is None:
            return
        reader = await self._storage.blobs.open(file_id)
        try:
            await self._formats.check(description.purpose, reader, filename=description.filename, num_bytes=num_bytes)
        finally:
            await reader.aclose()

    def _row(self, file_id: str, project: str, description: FileDescription, stored: StoredBlob) -> FileRow:
        now = self._storage.now()
        seconds = description.expires_after_seconds
        if seconds is None and description.purpose == "batch":
            seconds = _BATCH_FILE_SECONDS
        return FileRow(
            id=file_id,
            project=project,
            purpose=description.purpose,
            filename=description.filename,
            bytes=stored.bytes,
            sha256=stored.sha256,
            status="processed",
            status_details=None,
            created_at=now,
            expires_at=None if seconds is None else int(now) + seconds,
        )


async def commit_or_delete(blobs: BlobStore, key: str, commit: Callable[[], Awaitable[T]]) -> T:
    """Run the commit that makes a blob real; if it fails, delete the blob.

    A caller that is cancelled does not stop it half-way: whether the commit happened must be known before the blob
    is deleted.
    """

    async def settle() -> T:
        try:
            return await commit()
        except BaseException:
            await blobs.delete(key)
            raise

    return await asyncio.shield(settle())
