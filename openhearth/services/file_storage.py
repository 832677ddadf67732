"""Where files are kept, and by which clock: what the services of files, of uploads and of their content share."""

from dataclasses import dataclass

from openhearth import clock
from openhearth.services.storage_quota import StorageQuota
from openhearth.store.blobs.base import BlobStore
from openhearth.store.database import Database


@dataclass(frozen=True, slots=True)
class FileStorage:
    """Rows in `database`, content in `blobs`, and as much of both as `quota` allows a project."""

    database: Database
    blobs: BlobStore
    quota: StorageQuota
    now: clock.Clock = clock.now
