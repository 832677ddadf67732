"""The API keys' rows. Making, hashing and checking secrets is left to `services/api_keys.py`."""

from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from openhearth.store.tables import APIKeyRow


class APIKeyRepository:
    """Reads and writes `api_keys` within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def create(self, row: APIKeyRow) -> None:
        """Add a key."""
        self._session.add(row)
        await self._session.flush()

    async def list(self) -> Sequence[APIKeyRow]:
        """Return every key, revoked ones too, oldest first."""
        return (await self._session.scalars(select(APIKeyRow).order_by(APIKeyRow.created_at, APIKeyRow.id))).all()

    async def find_by_hash(self, secret_hash: str) -> APIKeyRow | None:
        """Return the key with this hash, unless it is revoked or never was."""
        query = select(APIKeyRow).where(APIKeyRow.secret_hash == secret_hash, APIKeyRow.revoked_at.is_(None))
        return (await self._session.scalars(query)).one_or_none()

    async def has_any(self) -> bool:
        """Return whether a key was ever made; a revoked one counts, so that revoking the last opens no door."""
        return (await self._session.scalars(select(APIKeyRow.id).limit(1))).first() is not None

    async def revoke(self, api_key_id: str, *, revoked_at: float) -> bool:
        """Revoke a key; return whether there was one left to revoke."""
        guarded = update(APIKeyRow).where(APIKeyRow.id == api_key_id, APIKeyRow.revoked_at.is_(None))
        revoked = await self._session.scalars(guarded.values(revoked_at=revoked_at).returning(APIKeyRow.id))
        return revoked.one_or_none() is not None
