"""API keys: made once, shown once, kept as hashes, each for one project.

Nothing is cached, so a key that another process makes or revokes counts from the next request on.
"""

import hashlib
from dataclasses import dataclass

from openhearth import clock, ids
from openhearth.errors import InvalidAPIKeyError, MissingAPIKeyError, NotFoundError
from openhearth.store.database import Database
from openhearth.store.tables import APIKeyRow

DEFAULT_PROJECT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class APIKey:
    """What may be told about a key after it was made; `hint` is the end of the secret."""

    id: str
    name: str
    project: str
    hint: str
    created_at: float
    is_revoked: bool


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking: a project, by one of its keys; by none where nobody needs one."""

    project: str
    api_key_id: str | None = None


class APIKeys:
    """Makes, lists, revokes and checks keys. `is_open` lets everybody in for as long as no key was ever made."""

    def __init__(self, database: Database, *, is_open: bool, now: clock.Clock = clock.now) -> None:
        self._database = database
        self._is_open = is_open
        self._now = now

    async def create(self, name: str, *, project: str = DEFAULT_PROJECT) -> str:
        """Make a key and return its secret, which cannot be had again."""
        secret = ids.api_key_secret()
        row = APIKeyRow(
            id=ids.api_key_id(),
            name=name,
            project=project,
            secret_hash=_hash(secret),
            last_characters=secret[-4:],
            created_at=self._now(),
        )
        async with self._database.transaction() as tx:
            await tx.api_keys.create(row)
        return secret

    async def list(self) -> list[APIKey]:
        """Return every key, oldest first, revoked ones too."""
        async with self._database.read() as tx:
            return [_api_key(row) for row in await tx.api_keys.list()]

    async def revoke(self, api_key_id: str) -> None:
        """End a key. Raises `NotFoundError` if there is none with this id, or if it was revoked before."""
        async with self._database.transaction() as tx:
            if not await tx.api_keys.revoke(api_key_id, revoked_at=self._now()):
                raise NotFoundError(f"No such API key: {api_key_id}", param="id")

    async def has_any(self) -> bool:
        """Return whether a key was ever made; a revoked one counts, so that revoking the last opens no door."""
        async with self._database.read() as tx:
            return await tx.api_keys.has_any()

    async def are_required(self) -> bool:
        """Return whether a request needs a key."""
        return not self._is_open or await self.has_any()

    async def authenticate(self, secret: str | None) -> Caller:
        """Return whom `secret` belongs to. Raises `MissingAPIKeyError` or `InvalidAPIKeyError`."""
        async with self._database.read() as tx:
            row = await tx.api_keys.find_by_hash(_hash(secret)) if secret else None
            if row is not None:
                return Caller(row.project, row.id)
            if self._is_open and not await tx.api_keys.has_any():
                return Caller(DEFAULT_PROJECT)
        raise InvalidAPIKeyError(masked(secret)) if secret else MissingAPIKeyError()


def masked(secret: str) -> str:
    """Return as much of a key as may be shown: its first eight and last four characters, if it is long enough."""
    return "*" * len(secret) if len(secret) < 16 else f"{secret[:8]}{'*' * (len(secret) - 12)}{secret[-4:]}"


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _api_key(row: APIKeyRow) -> APIKey:
    return APIKey(
        id=row.id,
        name=row.name,
        project=row.project,
        hint=row.last_characters,
        created_at=row.created_at,
        is_revoked=row.revoked_at is not None,
    )
