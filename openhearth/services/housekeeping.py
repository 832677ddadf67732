"""What nobody asks for: removing what has expired, and what a crash left behind."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from openhearth import clock
from openhearth.store.blobs.base import BlobStore
from openhearth.store.database import Database

_BATCH = 500  # ids in one query


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What a sweep found: blobs without a row, now gone, and files without a blob, now marked."""

    num_blobs_removed: int
    num_files_without_content: int


class Housekeeping:
    """Keeps rows and blobs in step with each other and with the time.

    `storing` gives a lock that other processes hold while they store something.
    """

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        *,
        storing: Callable[[], AbstractAsyncContextManager[Any]] = nullcontext,
        now: clock.Clock = clock.now,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._storing = storing
        self._now = now

    async def sweep(self) -> SweepReport:
        """Remove every blob without a row, temporary ones too, and give files without a blob the status `error`.

        Only while this process stores nothing: content that is on its way in has no row yet.
        """
        async with self._storing():
            num_removed = await self._remove_orphans()
        return SweepReport(num_removed, await self._mark_files_without_content())

    async def expire(self) -> int:
        """Remove files and end uploads whose time has come; return how many."""
        now = self._now()
        async with self._database.transaction() as tx:
            files = await tx.files.delete_expired(now=now)
            uploads = await tx.uploads.expire(now=now)
            parts = await tx.uploads.delete_parts(uploads)
        await self._delete_blobs([*files, *parts])
        return len(files) + len(uploads)

    async def _remove_orphans(self) -> int:
        num_removed = 0
        async for keys in _batches(self._blobs.list()):
            async with self._database.read() as tx:
                known = await tx.files.ids_among(keys) | await tx.uploads.part_ids_among(keys)
            orphans = set(keys) - known
            await self._delete_blobs(orphans)
            num_removed += len(orphans)
        return num_removed

    async def _mark_files_without_content(self) -> int:
        num_marked, last = 0, ""
        while True:
            async with self._database.read() as tx:
                ids = await tx.files.ids_after(last, limit=_BATCH)
            if not ids:
                return num_marked
            last = ids[-1]
            missing = [file_id for file_id in ids if not await self._blobs.exists(file_id)]
            if missing:
                async with self._database.transaction() as tx:
                    await tx.files.set_error(missing, details="The content of this file is missing on the server.")
            num_marked += len(missing)

    async def _delete_blobs(self, keys: Iterable[str]) -> None:
        for key in keys:
            await self._blobs.delete(key)


async def _batches(keys: AsyncIterable[str]) -> AsyncIterator[list[str]]:
    batch: list[str] = []
    async for key in keys:
        batch.append(key)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
