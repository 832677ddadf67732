"""The rows of fine-tuning jobs: the jobs, their events, steps and checkpoints. A status changes in one guarded update.

What the words of a status mean, and when they change, is decided in `services/`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from openhearth.store.tables import (
    FineTuningCheckpointRow,
    FineTuningEventRow,
    FineTuningJobRow,
    FineTuningStepRow,
)


class FineTuningRepository:
    """Reads and writes the `fine_tuning_…` tables within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def create(self, row: FineTuningJobRow) -> None:
        """Add a job."""
        self._session.add(row)
        await self._session.flush()

    async def find(self, project: str, job_id: str) -> FineTuningJobRow | None:
        """Return the job, if this project has it."""
        query = select(FineTuningJobRow).where(FineTuningJobRow.id == job_id, FineTuningJobRow.project == project)
        return (await self._session.scalars(query)).one_or_none()

    async def get(self, job_id: str) -> FineTuningJobRow:
        """Return a job that is known to exist, whoever has it."""
        return (await self._session.scalars(select(FineTuningJobRow).where(FineTuningJobRow.id == job_id))).one()

    async def list(
        self,
        project: str,
        *,
        metadata: Mapping[str, str] | None,
        has_no_metadata: bool,
        after: FineTuningJobRow | None,
        limit: int,
    ) -> Sequence[FineTuningJobRow]:
        """Return at most `limit` jobs, newest first, those behind `after` only, with these metadata among theirs."""
        key = tuple_(FineTuningJobRow.created_at, FineTuningJobRow.id)
        query = select(FineTuningJobRow).where(FineTuningJobRow.project == project)
        if after is not None:
            query = query.where(key < (after.created_at, after.id))
        if has_no_metadata:
            query = query.where(FineTuningJobRow.metadata_.is_(None))
        for name, value in (metadata or {}).items():
            query = query.where(_has_metadata(name, value))
        query = query.order_by(FineTuningJobRow.created_at.desc(), FineTuningJobRow.id.desc()).limit(limit)
        return (await self._session.scalars(query)).all()

    async def base_models(self, *, statuses: Sequence[str]) -> Sequence[str]:
        """Return the base models of all jobs that have one of these statuses, each once."""
        query = select(FineTuningJobRow.base_model).where(FineTuningJobRow.status.in_(statuses)).distinct()
        return (await self._session.scalars(query)).all()

    async def change(self, job_id: str, *, only_if: Sequence[str], **values: Any) -> FineTuningJobRow | None:
        """Change a job whose status is one of `only_if`, and return it; `None` if it is not."""
        guarded = update(FineTuningJobRow).where(FineTuningJobRow.id == job_id, FineTuningJobRow.status.in_(only_if))
        changed = await self._session.scalars(
            guarded.values(**values).returning(FineTuningJobRow), execution_options={"populate_existing": True}
        )
        return changed.one_or_none()

    async def add_event(self, row: FineTuningEventRow) -> None:
        """Add an event behind the others, unless the job has one with the same key."""
        events = select(FineTuningEventRow).where(FineTuningEventRow.fine_tuning_job_id == row.fine_tuning_job_id)
        if (await self._session.scalars(events.where(FineTuningEventRow.key == row.key))).first() is not None:
            return
        last = select(func.max(FineTuningEventRow.position)).where(
            FineTuningEventRow.fine_tuning_job_id == row.fine_tuning_job_id
        )
        row.position = ((await self._session.scalars(last)).one() or 0) + 1
        self._session.add(row)
        await self._session.flush()

    async def find_event(self, job_id: str, event_id: str) -> FineTuningEventRow | None:
        """Return the event, if it is one of this job."""
        query = select(FineTuningEventRow).where(
            FineTuningEventRow.fine_tuning_job_id == job_id, FineTuningEventRow.id == event_id
        )
        return (await self._session.scalars(query)).one_or_none()

    async def events(
        self, job_id: str, *, after: FineTuningEventRow | None, limit: int
    ) -> Sequence[FineTuningEventRow]:
        """Return at most `limit` events, newest first, those before `after` only."""
        query = select(FineTuningEventRow).where(FineTuningEventRow.fine_tuning_job_id == job_id)
        if after is not None:
            query = query.where(FineTuningEventRow.position < after.position)
        return (await self._session.scalars(query.order_by(FineTuningEventRow.position.desc()).limit(limit))).all()

    async def add_step(self, job_id: str, step: int, metrics: Mapping[str, float]) -> bool:
        """Keep what was measured at a step; return whether that is news."""
        if await self.step(job_id, step) is not None:
            return False
        self._session.add(FineTuningStepRow(fine_tuning_job_id=job_id, step=step, metrics=dict(metrics)))
        await self._session.flush()
        return True

    async def step(self, job_id: str, step: int) -> FineTuningStepRow | None:
        """Return what was measured at a step, or `None`."""
        return await self._session.get(FineTuningStepRow, (job_id, step))

    async def steps(self, job_id: str) -> Sequence[FineTuningStepRow]:
        """Return what was measured at every step, in their order."""
        query = select(FineTuningStepRow).where(FineTuningStepRow.fine_tuning_job_id == job_id)
        return (await self._session.scalars(query.order_by(FineTuningStepRow.step))).all()

    async def keep_checkpoint(self, row: FineTuningCheckpointRow) -> FineTuningCheckpointRow:
        """Add a checkpoint, or let the one of its step point to where it lies now; return what is kept.

        A name that the known one has lost, because its model was deleted, does not come back.
        """
        known = await self._session.get(FineTuningCheckpointRow, (row.fine_tuning_job_id, row.step))
        if known is None:
            self._session.add(row)
        else:
            known.directory = row.directory
        await self._session.flush()
        return known or row

    async def checkpoints(self, job_id: str) -> Sequence[FineTuningCheckpointRow]:
        """Return all checkpoints of a job, the latest step first."""
        query = select(FineTuningCheckpointRow).where(FineTuningCheckpointRow.fine_tuning_job_id == job_id)
        return (await self._session.scalars(query.order_by(FineTuningCheckpointRow.step.desc()))).all()

    async def listed_checkpoints(
        self, job_id: str, *, after: FineTuningCheckpointRow | None, limit: int
    ) -> Sequence[tuple[FineTuningCheckpointRow, FineTuningStepRow]]:
        """Return at most `limit` checkpoints that are models, the latest step first, each with its metrics."""
        checkpoint, step = FineTuningCheckpointRow, FineTuningStepRow
        query = (
            select(checkpoint, step)
            .join(step, (step.fine_tuning_job_id == checkpoint.fine_tuning_job_id) & (step.step == checkpoint.step))
            .where(checkpoint.fine_tuning_job_id == job_id, checkpoint.model_name.is_not(None))
        )
        if after is not None:
            query = query.where(checkpoint.step < after.step)
        rows = await self._session.execute(query.order_by(checkpoint.step.desc()).limit(limit))
        return [(row[0], row[1]) for row in rows]

    async def delete_checkpoint(self, job_id: str, step: int) -> None:
        """Remove a checkpoint."""
        await self._session.execute(
            delete(FineTuningCheckpointRow).where(
                FineTuningCheckpointRow.fine_tuning_job_id == job_id, FineTuningCheckpointRow.step == step
            )
        )

    async def unlist_checkpoint(self, model_name: str) -> None:
        """Take the name from a checkpoint whose model is gone."""
        await self._session.execute(
            update(FineTuningCheckpointRow)
            .where(FineTuningCheckpointRow.model_name == model_name)
            .values(model_name=None)
        )


def _has_metadata(name: str, value: str) -> ColumnElement[bool]:
    """Return whether a job has this pair; a path could not name every key, such as one with a quote in it."""
    pair = func.json_each(FineTuningJobRow.metadata_).table_valued("key", "value")
    return exists(select(pair.c.key).where(pair.c.key == name, pair.c.value == value))
