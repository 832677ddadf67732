"""The rows of API keys."""

import pytest
from sqlalchemy.exc import IntegrityError

from openhearth.store.database import Database
from openhearth.store.tables import APIKeyRow
from tests.unit.store.test_database import key_row


async def test_keys_are_listed_oldest_first(database: Database) -> None:
    """The list has every key, revoked ones too, oldest first."""
    async with database.transaction() as tx:
        await tx.api_keys.create(key_row(2))
        await tx.api_keys.create(key_row(1))
        await tx.api_keys.revoke("key_1", revoked_at=9.5)

    async with database.read() as tx:
        rows = await tx.api_keys.list()

    assert [(row.id, row.revoked_at) for row in rows] == [("key_1", 9.5), ("key_2", None)]


async def test_a_revoked_key_is_not_found(database: Database) -> None:
    """A revoked key is not found by its hash, yet still counts as one that was made."""
    async with database.transaction() as tx:
        await tx.api_keys.create(key_row())
    async with database.transaction() as tx:
        assert await tx.api_keys.find_by_hash("hash-1") is not None
        assert await tx.api_keys.revoke("key_1", revoked_at=2.0)

    async with database.read() as tx:
        assert await tx.api_keys.find_by_hash("hash-1") is None
        assert await tx.api_keys.has_any()


async def test_a_key_is_revoked_once(database: Database) -> None:
    """Revoking a key twice, or one that never was, says so and keeps the first time."""
    async with database.transaction() as tx:
        await tx.api_keys.create(key_row())
        await tx.api_keys.revoke("key_1", revoked_at=2.0)

        assert not await tx.api_keys.revoke("key_1", revoked_at=3.0)
        assert not await tx.api_keys.revoke("key_none", revoked_at=3.0)
        assert [row.revoked_at for row in await tx.api_keys.list()] == [2.0]


async def test_two_keys_never_share_a_hash(database: Database) -> None:
    """The database itself refuses a second key with the same hash."""
    twin = key_row(1)
    twin.id = "key_twin"

    async def add(row: APIKeyRow) -> None:
        async with database.transaction() as tx:
            await tx.api_keys.create(row)

    await add(key_row(1))

    with pytest.raises(IntegrityError):
        await add(twin)
