"""The rows of uploads and of their parts. Content is left to `store/blobs`, and the order of the two to `services/`."""

from collections.abc import Sequence
from typing import Literal

from sqlalchemy import BigInteger, cast, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from openhearth.store.tables import UploadPartRow, UploadRow


class UploadRepository:
    """Reads and writes `uploads` and `upload_parts` within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def create(self, row: UploadRow) -> None:
        """Add an upload."""
        self._session.add(row)
        await self._session.flush()

    async def find(self, project: str, upload_id: str) -> UploadRow | None:
        """Return the upload, if this project has it; in a writing transaction nobody else can change it meanwhile."""
        query = select(UploadRow).where(UploadRow.id == upload_id, UploadRow.project == project).with_for_update()
        return (await self._session.scalars(query)).one_or_none()

    async def end(self, upload_id: str, status: Literal["completed", "cancelled"]) -> None:
        """Give an upload its last status; the caller has found it pending in the same transaction."""
        guarded = update(UploadRow).where(UploadRow.id == upload_id, UploadRow.status == "pending")
        await self._session.execute(guarded.values(status=status))

    async def expire(self, *, now: float, limit: int = 500) -> Sequence[str]:
        """Give pending uploads whose time has come the status `expired`; return the ids of at most `limit`."""
        overdue = select(UploadRow.id).where(UploadRow.status == "pending", UploadRow.expires_at <= now).limit(limit)
        statement = update(UploadRow).where(UploadRow.id.in_(overdue)).values(status="expired")
        return (await self._session.scalars(statement.returning(UploadRow.id))).all()

    async def add_part(self, row: UploadPartRow) -> None:
        """Add a part."""
        self._session.add(row)
        await self._session.flush()

    async def parts(self, upload_id: str) -> Sequence[UploadPartRow]:
        """Return the parts of an upload, in the order they arrived."""
        query = select(UploadPartRow).where(UploadPartRow.upload_id == upload_id)
        return (await self._session.scalars(query.order_by(UploadPartRow.created_at, UploadPartRow.id))).all()

    async def delete_parts(self, upload_ids: Sequence[str]) -> Sequence[str]:
        """Remove the parts of these uploads; return the parts' ids."""
        statement = delete(UploadPartRow).where(UploadPartRow.upload_id.in_(upload_ids)).returning(UploadPartRow.id)
        return (await self._session.scalars(statement)).all()

    async def total_bytes(self, project: str) -> int:
        """Return how many bytes the parts of the project's uploads take up."""
        total = cast(func.coalesce(func.sum(UploadPartRow.bytes), 0), BigInteger)
        of_project = select(total).join(UploadRow, UploadRow.id == UploadPartRow.upload_id)
        return (await self._session.scalars(of_project.where(UploadRow.project == project))).one()

    async def part_ids_among(self, ids: Sequence[str]) -> set[str]:
        """Return those of `ids` that are parts of any project's uploads."""
        return set(await self._session.scalars(select(UploadPartRow.id).where(UploadPartRow.id.in_(ids))))
