"""A migrated database in a temporary folder."""

from tests.unit.store.conftest import database as database
