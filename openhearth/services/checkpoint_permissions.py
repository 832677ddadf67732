"""Permissions to call a checkpoint: given and taken by the project that trained it."""

from typing import Literal

from openhearth import clock, ids
from openhearth.errors import ModelNotFoundError, NotFoundError
from openhearth.schemas.fine_tuning import (
    DeleteFineTuningCheckpointPermissionResponse,
    FineTuningCheckpointPermission,
    ListFineTuningCheckpointPermissionResponse,
)
from openhearth.services.fine_tuning_objects import wire_permission
from openhearth.store.database import Database, Transaction
from openhearth.store.tables import CheckpointPermissionRow


class CheckpointPermissions:
    """The use cases of permissions."""

    def __init__(self, database: Database, *, now: clock.Clock = clock.now) -> None:
        self._database = database
        self._now = now

    async def create(
        self, project: str, checkpoint: str, project_ids: list[str]
    ) -> ListFineTuningCheckpointPermissionResponse:
        """Let projects call a checkpoint; a project that may already keeps its permission.

        Raises `ModelNotFoundError` if this project has no such checkpoint.
        """
        async with self._database.transaction() as tx:
            await _check(tx, project, checkpoint)
            rows = [
                await tx.tuned_models.permit(
                    CheckpointPermissionRow(
                        id=ids.checkpoint_permission_id(),
                        model_name=checkpoint,
                        project=project_id,
                        created_at=self._now(),
                    )
                )
                for project_id in dict.fromkeys(project_ids)
            ]
        return _page([wire_permission(row) for row in rows], has_more=False)

    async def list(
        self,
        project: str,
        checkpoint: str,
        *,
        project_id: str | None = None,
        order: Literal["ascending", "descending"] = "descending",
        after: str | None = None,
        limit: int = 10,
    ) -> ListFineTuningCheckpointPermissionResponse:
        """Return a page of permissions by their time. Raises `ModelNotFoundError`, and `NotFoundError` for `after`."""
        async with self._database.read() as tx:
            await _check(tx, project, checkpoint)
            cursor = None if after is None else await _find(tx, checkpoint, after, param="after")
            rows = await tx.tuned_models.permissions(
                checkpoint, project=project_id, is_ascending=order == "ascending", after=cursor, limit=limit + 1
            )
        return _page([wire_permission(row) for row in rows[:limit]], has_more=len(rows) > limit)

    async def delete(
        self, project: str, checkpoint: str, permission_id: str
    ) -> DeleteFineTuningCheckpointPermissionResponse:
        """Take a permission back. Raises `ModelNotFoundError` and `NotFoundError`."""
        async with self._database.transaction() as tx:
            await _check(tx, project, checkpoint)
            await _find(tx, checkpoint, permission_id, param="permission_id")
            await tx.tuned_models.revoke(permission_id)
        return DeleteFineTuningCheckpointPermissionResponse(
            id=permission_id, object="checkpoint.permission", deleted=True
        )


async def _check(tx: Transaction, project: str, checkpoint: str) -> None:
    row = await tx.tuned_models.find(checkpoint)
    if row is None or row.project != project:
        raise ModelNotFoundError(checkpoint, param="fine_tuned_model_checkpoint")


async def _find(tx: Transaction, checkpoint: str, permission_id: str, *, param: str) -> CheckpointPermissionRow:
    row = await tx.tuned_models.find_permission(checkpoint, permission_id)
    if row is None:
        raise NotFoundError(f"No such permission: {permission_id}", param=param)
    return row


def _page(data: list[FineTuningCheckpointPermission], *, has_more: bool) -> ListFineTuningCheckpointPermissionResponse:
    return ListFineTuningCheckpointPermissionResponse(
        object="list",
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=has_more,
    )
