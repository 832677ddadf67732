"""Keys: made, shown once, checked, revoked."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openhearth.errors import InvalidAPIKeyError, MissingAPIKeyError, NotFoundError
from openhearth.services.api_keys import APIKeys, Caller, masked
from openhearth.store.database import Database, sqlite_url


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """Give an empty database."""
    database = Database(sqlite_url(tmp_path / "keys.db"))
    await database.migrate()
    yield database
    await database.close()


@pytest.fixture
def keys(database: Database) -> APIKeys:
    """Give the keys of a server that others cannot reach."""
    return APIKeys(database, is_open=True, now=lambda: 1_700_000_000.0)


class TestAuthenticate:
    """Who gets in."""

    @pytest.mark.parametrize("secret", [None, "anything"])
    async def test_open(self, keys: APIKeys, secret: str | None) -> None:
        """Before the first key everybody gets into the default project."""
        assert await keys.authenticate(secret) == Caller("default")
        assert not await keys.are_required()

    async def test_project(self, keys: APIKeys) -> None:
        """A key opens its project, and from then on nothing else opens one."""
        secret = await keys.create("mine", project="garden")

        [key] = await keys.list()
        assert await keys.authenticate(secret) == Caller("garden", key.id)
        assert await keys.are_required()
        with pytest.raises(MissingAPIKeyError):
            await keys.authenticate(None)
        with pytest.raises(InvalidAPIKeyError):
            await keys.authenticate("anything")

    async def test_closed(self, database: Database) -> None:
        """A server that others can reach wants a key also while there is none."""
        closed = APIKeys(database, is_open=False)

        assert await closed.are_required()
        with pytest.raises(MissingAPIKeyError):
            await closed.authenticate(None)


class TestSecrets:
    """What is kept of a secret."""

    async def test_list(self, keys: APIKeys) -> None:
        """A key's end is remembered, to know it by; the key itself is not."""
        secret = await keys.create("mine")

        [key] = await keys.list()

        assert (key.name, key.project, key.hint, key.is_revoked) == ("mine", "default", secret[-4:], False)
        assert key.created_at == 1_700_000_000.0
        assert secret not in repr(key)

    async def test_not_in_the_database(self, keys: APIKeys, tmp_path: Path) -> None:
        """The database does not hold the secret."""
        secret = await keys.create("mine")

        assert secret.encode() not in (tmp_path / "keys.db").read_bytes()

    async def test_revoke(self, keys: APIKeys) -> None:
        """A key can be revoked once, and stays on the list."""
        secret = await keys.create("mine")
        [key] = await keys.list()

        await keys.revoke(key.id)

        assert [key.is_revoked for key in await keys.list()] == [True]
        with pytest.raises(InvalidAPIKeyError):
            await keys.authenticate(secret)
        with pytest.raises(NotFoundError):
            await keys.revoke(key.id)

    @pytest.mark.parametrize(
        ("secret", "shown"),
        [("sk-0123456789abcdef", "sk-01234*******cdef"), ("sk-short", "********"), ("x" * 15, "*" * 15)],
    )
    def test_masked(self, secret: str, shown: str) -> None:
        """Of a long key its ends are shown, of a short one nothing."""
        assert masked(secret) == shown
