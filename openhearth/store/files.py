"""The files' rows. Content is left to `store/blobs`, and the order of the two to `services/`.

A file whose time has come is no longer found, even before housekeeping removes it.
"""

from collections.abc import Sequence
from typing import Literal

from sqlalchemy import BigInteger, ColumnElement, cast, delete, func, or_, select, true, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from openhearth.store.tables import FileRow

_ROWS_AT_ONCE = 250
_ORDERS = {
    "asc": (FileRow.created_at.asc(), FileRow.id.asc()),
    "desc": (FileRow.created_at.desc(), FileRow.id.desc()),
}


class FileRepository:
    """Reads and writes `files` within one transaction. `now` is the time that decides what has expired."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def create(self, row: FileRow) -> None:
        """Add a file."""
        self._session.add(row)
        await self._session.flush()

    async def find(self, project: str, file_id: str, *, now: float) -> FileRow | None:
        """Return the file, if this project has it."""
        query = select(FileRow).where(FileRow.id == file_id, FileRow.project == project, _alive(now))
        return (await self._session.scalars(query)).one_or_none()

    async def list(
        self,
        project: str,
        *,
        purpose: str | None,
        order: Literal["asc", "desc"],
        after: FileRow | None,
        limit: int,
        now: float,
    ) -> Sequence[FileRow]:
        """Return at most `limit` files in the order they were made, those behind `after` only."""
        query = select(FileRow).where(FileRow.project == project, _alive(now)).order_by(*_ORDERS[order])
        if purpose is not None:
            query = query.where(FileRow.purpose == purpose)
        rows: list[FileRow] = []
        while len(rows) < limit:
            # A full page has thousands of rows: other requests take their turn between one lot and the next.
            lot = query.where(_behind(after, order)).limit(min(limit - len(rows), _ROWS_AT_ONCE))
            found = (await self._session.scalars(lot)).all()
            if not found:
                break
            rows += found
            after = found[-1]
        return rows

    async def delete(self, project: str, file_id: str, *, now: float) -> bool:
        """Remove the file; return whether this project had it."""
        statement = delete(FileRow).where(FileRow.id == file_id, FileRow.project == project, _alive(now))
        return (await self._session.scalars(statement.returning(FileRow.id))).one_or_none() is not None

    async def delete_expired(self, *, now: float) -> Sequence[str]:
        """Remove every file whose time has come; return their ids."""
        return (await self._session.scalars(delete(FileRow).where(~_alive(now)).returning(FileRow.id))).all()

    async def total_bytes(self, project: str) -> int:
        """Return how many bytes the project's files take up, expired ones too until they are removed."""
        total = cast(func.coalesce(func.sum(FileRow.bytes), 0), BigInteger)
        return (await self._session.scalars(select(total).where(FileRow.project == project))).one()

    async def ids_among(self, ids: Sequence[str]) -> set[str]:
        """Return those of `ids` that are files of any project."""
        return set(await self._session.scalars(select(FileRow.id).where(FileRow.id.in_(ids))))

    async def ids_after(self, file_id: str, *, limit: int) -> Sequence[str]:
        """Return the next ids of any project, in the order of the ids; start with an empty one."""
        query = select(FileRow.id).where(FileRow.id > file_id).order_by(FileRow.id).limit(limit)
        return (await self._session.scalars(query)).all()

    async def set_error(self, ids: Sequence[str], *, details: str) -> None:
        """Give files the status `error`."""
        statement = update(FileRow).where(FileRow.id.in_(ids)).values(status="error", status_details=details)
        await self._session.execute(statement)


def _alive(now: float) -> ColumnElement[bool]:
    return or_(FileRow.expires_at.is_(None), FileRow.expires_at > now)


def _behind(row: FileRow | None, order: Literal["asc", "desc"]) -> ColumnElement[bool]:
    if row is None:
        return true()
    key = tuple_(FileRow.created_at, FileRow.id)
    return key > (row.created_at, row.id) if order == "asc" else key < (row.created_at, row.id)
