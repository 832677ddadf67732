"""How much a project may store: its files, and the parts of its uploads."""

from collections.abc import AsyncIterable, AsyncIterator

from openhearth.errors import APIError, InsufficientStorageError
from openhearth.store.database import Database, Transaction


class StorageQuota:
    """Holds projects to `max_project_bytes` each."""

    def __init__(self, database: Database, *, max_project_bytes: int) -> None:
        self._database = database
        self._max_project_bytes = max_project_bytes

    async def bounded(
        self, project: str, chunks: AsyncIterable[bytes], *, max_bytes: int, too_large: APIError
    ) -> AsyncIterator[bytes]:
        """Pass `chunks` on until there are too many.

        Raises `too_large` after `max_bytes`, and `InsufficientStorageError` once the project has no room for more.
        """
        async with self._database.read() as tx:
            room = self._max_project_bytes - await _stored_bytes(tx, project)
        num_bytes = 0
        async for chunk in chunks:
            num_bytes += len(chunk)
            if num_bytes > max_bytes:
                raise too_large
            if num_bytes > room:
                raise self._used_up(project)
            yield chunk

    async def check(self, tx: Transaction, project: str) -> None:
        """Raise `InsufficientStorageError` if the project holds more than it may, counting what `tx` adds."""
        if await _stored_bytes(tx, project) > self._max_project_bytes:
            raise self._used_up(project)

    def _used_up(self, project: str) -> InsufficientStorageError:
        return InsufficientStorageError(
            f"Project '{project}' may store {self._max_project_bytes} bytes, and there is no room for this. "
            "Delete files that are no longer needed."
        )


async def _stored_bytes(tx: Transaction, project: str) -> int:
    return await tx.files.total_bytes(project) + await tx.uploads.total_bytes(project)
