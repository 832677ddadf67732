"""The rows of tuned models, and of the permissions to call them. The adapters' files are left to `services/`."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete, exists, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from openhearth.store.tables import CheckpointPermissionRow, TunedModelRow


class TunedModelRepository:
    """Reads and writes `tuned_models` and `checkpoint_permissions` within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def keep(self, row: TunedModelRow) -> None:
        """Add a model, or let the one of its name point to where it lies now."""
        await self._session.merge(row)
        await self._session.flush()

    async def find(self, name: str) -> TunedModelRow | None:
        """Return the model, whoever has it."""
        return await self._session.get(TunedModelRow, name)

    async def find_usable(self, project: str, name: str) -> TunedModelRow | None:
        """Return the model, if this project has it or is permitted to call it."""
        query = select(TunedModelRow).where(TunedModelRow.name == name, _is_usable(project))
        return (await self._session.scalars(query)).one_or_none()

    async def list_usable(self, project: str) -> Sequence[TunedModelRow]:
        """Return all models that this project may call, oldest first."""
        query = select(TunedModelRow).where(_is_usable(project))
        return (await self._session.scalars(query.order_by(TunedModelRow.created_at, TunedModelRow.name))).all()

    async def delete(self, name: str) -> None:
        """Remove the model and the permissions to call it."""
        await self._session.execute(delete(CheckpointPermissionRow).where(CheckpointPermissionRow.model_name == name))
        await self._session.execute(delete(TunedModelRow).where(TunedModelRow.name == name))

    async def count_at(self, directory: str) -> int:
        """Return how many models have their adapter in this directory."""
        query = select(func.count()).where(TunedModelRow.directory == directory)
        return (await self._session.scalars(query)).one()

    async def directories_of(self, job_id: str) -> set[str]:
        """Return where the adapters lie of all models that a job has made."""
        query = select(TunedModelRow.directory).where(TunedModelRow.fine_tuning_job_id == job_id)
        return set(await self._session.scalars(query))

    async def permit(self, row: CheckpointPermissionRow) -> CheckpointPermissionRow:
        """Let a project call a model; return the permission, which may be older than this."""
        known = select(CheckpointPermissionRow).where(
            CheckpointPermissionRow.model_name == row.model_name, CheckpointPermissionRow.project == row.project
        )
        found = (await self._session.scalars(known)).one_or_none()
        if found is None:
            self._session.add(row)
            await self._session.flush()
        return found or row

    async def find_permission(self, model_name: str, permission_id: str) -> CheckpointPermissionRow | None:
        """Return the permission, if it is one for this model."""
        query = select(CheckpointPermissionRow).where(
            CheckpointPermissionRow.id == permission_id, CheckpointPermissionRow.model_name == model_name
        )
        return (await self._session.scalars(query)).one_or_none()

    async def permissions(
        self,
        model_name: str,
        *,
        project: str | None,
        is_ascending: bool,
        after: CheckpointPermissionRow | None,
        limit: int,
    ) -> Sequence[CheckpointPermissionRow]:
        """Return at most `limit` permissions in the order of the time, those behind `after` only."""
        columns = (CheckpointPermissionRow.created_at, CheckpointPermissionRow.id)
        query = select(CheckpointPermissionRow).where(CheckpointPermissionRow.model_name == model_name)
        if project is not None:
            query = query.where(CheckpointPermissionRow.project == project)
        if after is not None:
            cursor = (after.created_at, after.id)
            query = query.where(tuple_(*columns) > cursor if is_ascending else tuple_(*columns) < cursor)
        query = query.order_by(*(column.asc() if is_ascending else column.desc() for column in columns))
        return (await self._session.scalars(query.limit(limit))).all()

    async def revoke(self, permission_id: str) -> None:
        """Remove a permission."""
        await self._session.execute(delete(CheckpointPermissionRow).where(CheckpointPermissionRow.id == permission_id))


def _is_usable(project: str) -> ColumnElement[bool]:
    return or_(
        TunedModelRow.project == project,
        exists().where(
            CheckpointPermissionRow.model_name == TunedModelRow.name, CheckpointPermissionRow.project == project
        ),
    )
