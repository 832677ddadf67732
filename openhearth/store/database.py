"""The one door to the rows: short transactions over SQLite now, PostgreSQL later.

Everything that is particular to SQLite stands here. Several processes may open the same database (the server, a
command, a worker), so the journal is the rollback journal, not the WAL: releases 3.7.0 to 3.51.2 of SQLite can lose a
committed WAL transaction when a second process resets it. Within a process there is one writing connection; whoever
wants to write waits for it in turn, and starts with `BEGIN IMMEDIATE`, so that no transaction fails half-way for want
of the lock. `synchronous=FULL`: what was committed survives a power cut.
"""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from openhearth.concurrency import uninterrupted
from openhearth.errors import InsufficientStorageError, ServiceUnavailableError
from openhearth.store.api_keys import APIKeyRepository
from openhearth.store.files import FileRepository
from openhearth.store.fine_tuning import FineTuningRepository
from openhearth.store.jobs import JobRepository
from openhearth.store.tuned_models import TunedModelRepository
from openhearth.store.uploads import UploadRepository

_MIGRATIONS = Path(__file__).parent / "migrations"
_BUSY_TIMEOUT_SECONDS = 20
_NUM_READING_CONNECTIONS = 4
_BUSY = "The server's database is busy; try again."


def sqlite_url(path: Path) -> URL:
    """Return the URL of the SQLite database in this file; the file is made when it is first needed."""
    return URL.create("sqlite+aiosqlite", database=str(path))


@dataclass(frozen=True, slots=True)
class Transaction:
    """The repositories, all inside one transaction."""

    api_keys: APIKeyRepository
    files: FileRepository
    fine_tuning: FineTuningRepository
    jobs: JobRepository
    tuned_models: TunedModelRepository
    uploads: UploadRepository

    @classmethod
    def over(cls, session: AsyncSession) -> "Transaction":
        """Return the repositories of this session."""
        return cls(
            api_keys=APIKeyRepository(session),
            files=FileRepository(session),
            fine_tuning=FineTuningRepository(session),
            jobs=JobRepository(session),
            tuned_models=TunedModelRepository(session),
            uploads=UploadRepository(session),
        )


class Database:
    """Transactions over one database. Rows stay readable after their transaction has ended."""

    def __init__(self, url: URL | str) -> None:
        url = make_url(url)
        if url.get_backend_name() == "sqlite":
            self._writer = _sqlite_engine(url, num_connections=1, begin="BEGIN IMMEDIATE", query_only=False)
            self._reader = _sqlite_engine(url, num_connections=_NUM_READING_CONNECTIONS, begin="BEGIN", query_only=True)
        else:
            self._writer = self._reader = create_async_engine(url)

    async def migrate(self) -> None:
        """Bring the tables to the newest revision; safe when several processes do it at once."""
        with _storage_errors():
            async with self._writer.begin() as connection:
                await connection.run_sync(_upgrade)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Open a transaction that may write: committed at the end, rolled back on any exception.

        Keep it short and do not open a second one inside it. Raises `InsufficientStorageError` when the disk is full
        and `ServiceUnavailableError` when another process holds the database for too long.
        """
        with _storage_errors():
            async with _Session(self._writer, expire_on_commit=False) as session:  # on its way out it takes back
                yield Transaction.over(session)
                await uninterrupted(session.commit())

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """Open a transaction that only reads; it sees one state of the database, and may run beside a writer."""
        with _storage_errors():
            async with _Session(self._reader, expire_on_commit=False) as session:
                yield Transaction.over(session)

    async def close(self) -> None:
        """Close all connections."""
        await self._reader.dispose()
        await self._writer.dispose()


class _Session(AsyncSession):
    """A session whose steps are finished even if the caller is cancelled.

    A step that is abandoned half-way would leave its statement open, and with it a lock that keeps every writer out.
    """

    async def execute(self, *args: Any, **kwargs: Any) -> Any:
        return await uninterrupted(super().execute(*args, **kwargs))

    async def flush(self, *args: Any, **kwargs: Any) -> None:
        await uninterrupted(super().flush(*args, **kwargs))

    async def get(self, *args: Any, **kwargs: Any) -> Any:
        return await uninterrupted(super().get(*args, **kwargs))

    async def merge(self, *args: Any, **kwargs: Any) -> Any:
        return await uninterrupted(super().merge(*args, **kwargs))


def _sqlite_engine(url: URL, *, num_connections: int, begin: str, query_only: bool) -> AsyncEngine:
    engine = create_async_engine(
        url,
        pool_size=num_connections,
        max_overflow=0,
        pool_timeout=_BUSY_TIMEOUT_SECONDS,
        connect_args={"timeout": _BUSY_TIMEOUT_SECONDS},
    )

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver starts no transaction of its own; `begin` below does
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=TRUNCATE")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA query_only={query_only:d}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


@contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        match getattr(error.orig, "sqlite_errorcode", 0) & 0xFF:  # the low byte is the primary result code
            case sqlite3.SQLITE_FULL:
                raise InsufficientStorageError("The server's disk is full.") from error
            case sqlite3.SQLITE_BUSY:
                raise ServiceUnavailableError(_BUSY) from error
        raise
    except PoolTimeoutError as error:
        raise ServiceUnavailableError(_BUSY) from error
