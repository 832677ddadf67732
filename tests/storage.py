"""Everything that keeps files, put together for a test: a real database, any blob store, a clock that stands still."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from openhearth.schemas.files import FilePurpose
from openhearth.services.file_formats import FileFormats
from openhearth.services.file_intake import FileDescription, FileIntake
from openhearth.services.file_storage import FileStorage
from openhearth.services.files import Files
from openhearth.services.housekeeping import Housekeeping
from openhearth.services.storage_quota import StorageQuota
from openhearth.services.uploads import Uploads
from openhearth.store.blobs.base import BlobStore
from openhearth.store.blobs.memory import MemoryBlobStore
from openhearth.store.database import Database, sqlite_url


class StoppedClock:
    """A clock that shows `time` until the test moves it."""

    def __init__(self, time: float = 1_700_000_000.25) -> None:
        self.time = time

    def __call__(self) -> float:
        """Return the time."""
        return self.time


@dataclass(frozen=True)
class IncomingFile:
    """A file on its way in, as a service sees it."""

    data: bytes
    purpose: FilePurpose = "user_data"
    filename: str = "notes.txt"
    expires_after_seconds: int | None = None

    async def content(self) -> AsyncIterator[bytes]:
        """Return the content in small chunks."""
        for start in range(0, len(self.data), 10_000):
            yield self.data[start : start + 10_000]

    def description(self) -> FileDescription:
        """Return what is said of the file."""
        return FileDescription(
            filename=self.filename, purpose=self.purpose, expires_after_seconds=self.expires_after_seconds
        )


@dataclass(frozen=True)
class Storage:
    """The services over one database and one blob store."""

    database: Database
    blobs: BlobStore
    files: Files
    uploads: Uploads
    housekeeping: Housekeeping
    clock: StoppedClock = field(default_factory=StoppedClock)

    async def keys(self) -> list[str]:
        """Return the keys of all blobs, in order."""
        return sorted([key async for key in self.blobs.list()])

    async def content(self, project: str, file_id: str) -> bytes:
        """Return the content of a file."""
        reader = await (await self.files.content(project, file_id)).open()
        pieces = [piece async for piece in reader]
        await reader.aclose()
        return b"".join(pieces)


async def _count_words(text: str) -> int:
    return len(text.split())


@asynccontextmanager
async def open_storage(
    folder: Path,
    *,
    blobs: BlobStore | None = None,
    max_file_bytes: int = 1_000_000,
    max_upload_bytes: int = 10_000_000,
    max_project_bytes: int = 20_000_000,
) -> AsyncIterator[Storage]:
    """Open the services over a new database in `folder`; blobs are kept in memory unless a store is given."""
    database = Database(sqlite_url(folder / "openhearth.db"))
    await database.migrate()
    blobs = MemoryBlobStore() if blobs is None else blobs
    clock = StoppedClock()
    quota = StorageQuota(database, max_project_bytes=max_project_bytes)
    kept = FileStorage(database, blobs, quota, clock)
    intake = FileIntake(kept, FileFormats(_count_words))
    storage = Storage(
        database,
        blobs,
        Files(kept, intake, max_file_bytes=max_file_bytes),
        Uploads(kept, intake, max_upload_bytes=max_upload_bytes),
        Housekeeping(database, blobs, now=clock),
        clock,
    )
    try:
        yield storage
    finally:
        await database.close()
