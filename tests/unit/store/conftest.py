"""A migrated database in a temporary folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openhearth.store.database import Database, sqlite_url


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """Return a migrated database."""
    database = Database(sqlite_url(tmp_path / "openhearth.db"))
    await database.migrate()
    yield database
    await database.close()
