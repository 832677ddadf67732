"""Transactions: what they keep, what they take back, and how they behave beside each other."""

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from openhearth.errors import InsufficientStorageError, ServiceUnavailableError
from openhearth.store import database as module
from openhearth.store.database import Database, sqlite_url
from openhearth.store.tables import APIKeyRow, Table


def key_row(number: int = 1) -> APIKeyRow:
    """Return a key row that differs from the others by its number."""
    return APIKeyRow(
        id=f"key_{number}",
        name="laptop",
        project="default",
        secret_hash=f"hash-{number}",
        last_characters="abcd",
        created_at=float(number),
        revoked_at=None,
    )


async def add(database: Database, num_keys: int, *, start: int = 0) -> None:
    """Add keys in one transaction."""
    async with database.transaction() as tx:
        for number in range(start, start + num_keys):
            await tx.api_keys.create(key_row(number))


async def test_what_was_committed_survives_the_process(tmp_path: Path) -> None:
    """A row that was committed is there for whoever opens the database next, and is readable after its transaction."""
    url = sqlite_url(tmp_path / "openhearth.db")
    first = Database(url)
    await first.migrate()
    await add(first, 1)
    await first.close()

    second = Database(url)
    async with second.read() as tx:
        row = await tx.api_keys.find_by_hash("hash-0")
    await second.close()

    assert row is not None
    assert row.name == "laptop"


async def test_an_exception_takes_everything_back(database: Database) -> None:
    """Nothing of a transaction that ends with an exception is kept."""

    async def change_my_mind() -> None:
        async with database.transaction() as tx:
            await tx.api_keys.create(key_row())
            raise RuntimeError("changed my mind")

    with pytest.raises(RuntimeError, match="changed my mind"):
        await change_my_mind()

    async with database.read() as tx:
        assert not await tx.api_keys.has_any()


async def test_writers_wait_for_each_other(database: Database) -> None:
    """Fifty writers at once all succeed; none is told that the database is locked."""

    await asyncio.gather(*(add(database, 1, start=number) for number in range(50)))

    async with database.read() as tx:
        assert len(await tx.api_keys.list()) == 50


async def test_a_reader_sees_one_state(database: Database) -> None:
    """A reader beside an unfinished writer sees the state before it."""
    async with database.transaction() as writing:
        await writing.api_keys.create(key_row())
        async with database.read() as reading:
            seen = await reading.api_keys.has_any()

    assert not seen


async def test_reading_cannot_write(database: Database) -> None:
    """A write inside `read` is refused by the database itself."""
    async with database.read() as tx:
        with pytest.raises(OperationalError, match="readonly"):
            await tx.api_keys.create(key_row())


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "truncate"), ("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 20000)],
)
async def test_every_connection_is_durable(database: Database, pragma: str, value: Any) -> None:
    """Connections use the rollback journal, wait for the disk, keep foreign keys and wait for other processes."""
    for engine in (database._writer, database._reader):
        async with engine.connect() as connection:
            found = (await connection.exec_driver_sql(f"PRAGMA {pragma}")).scalar_one()

            assert found == value


async def test_migrations_build_the_tables(database: Database, tmp_path: Path) -> None:
    """What the migrations build is what `tables.py` declares, to the last index."""
    engine = create_engine(f"sqlite:///{tmp_path / 'openhearth.db'}")
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), Table.metadata)
    engine.dispose()

    assert differences == []


async def test_migrating_again_changes_nothing(database: Database) -> None:
    """Migrating a database that is up to date keeps its rows."""
    await add(database, 1)

    await database.migrate()

    async with database.read() as tx:
        assert await tx.api_keys.has_any()


def test_two_processes_may_migrate_at_once(tmp_path: Path) -> None:
    """Of several processes that migrate a new database at once, none fails."""
    program = (
        "import asyncio, pathlib, sys\n"
        "from openhearth.store.database import Database, sqlite_url\n"
        "async def main():\n"
        "    database = Database(sqlite_url(pathlib.Path(sys.argv[1])))\n"
        "    await database.migrate()\n"
        "    await database.close()\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "openhearth.db")]

    processes = [subprocess.Popen(command) for _ in range(3)]

    assert [process.wait() for process in processes] == [0, 0, 0]


async def test_a_full_disk_has_a_name(database: Database) -> None:
    """When the database cannot grow, the caller sees InsufficientStorageError, and later writes succeed again."""
    async with database._writer.connect() as connection:
        pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
        await connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    with pytest.raises(InsufficientStorageError):
        await add(database, 1000)

    await add(database, 1)

    async with database.read() as tx:
        assert len(await tx.api_keys.list()) == 1


async def test_a_busy_database_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When another process holds the database for too long, the caller sees ServiceUnavailableError."""
    monkeypatch.setattr(module, "_BUSY_TIMEOUT_SECONDS", 0)
    path = tmp_path / "openhearth.db"
    database = Database(sqlite_url(path))
    await database.migrate()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(ServiceUnavailableError):
        await add(database, 1)

    other.close()
    await database.close()


async def test_a_long_queue_of_writers_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer whose turn does not come in time sees ServiceUnavailableError; the one before it is not disturbed."""
    monkeypatch.setattr(module, "_BUSY_TIMEOUT_SECONDS", 0)
    database = Database(sqlite_url(tmp_path / "openhearth.db"))
    await database.migrate()

    async with database.transaction() as tx:
        await tx.api_keys.create(key_row())
        with pytest.raises(ServiceUnavailableError):
            await add(database, 1)

    async with database.read() as tx:
        assert [row.id for row in await tx.api_keys.list()] == ["key_1"]
    await database.close()


async def test_a_cancelled_reader_holds_nobody_up(database: Database) -> None:
    """Whenever a reader or a writer is cancelled, the next writer finds the database free."""
    await add(database, 500)

    async def read() -> None:
        async with database.read() as tx:
            await tx.api_keys.list()

    for moment in range(60):
        for work in (read(), add(database, 1, start=1000 + moment)):
            working = asyncio.create_task(work)
            await asyncio.sleep(moment / 5000)
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            async with database.transaction() as tx:
                revoked = await tx.api_keys.revoke("key_1", revoked_at=1.0)

    assert not revoked
