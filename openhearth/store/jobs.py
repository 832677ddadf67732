"""The queue's rows: every change of hands is one guarded statement, so that workers need nothing but the database.

A lease that has run out counts for nothing: its row is there for the next worker. What the work is, and how often it
is tried, is left to `jobs/` and `tasks/`.
"""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, case, delete, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from openhearth.store.tables import JobRow


class JobRepository:
    """Reads and writes `jobs` within one transaction. `now` is the time that decides whose lease has run out."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def enqueue(self, job_id: str, *, task: str, lock: str, now: float) -> None:
        """Add work; it begins once the transaction is committed and a worker is free."""
        row = JobRow(
            id=job_id,
            task=task,
            lock=lock,
            status="queued",
            created_at=now,
            run_after=now,
            attempts=0,
            epoch=0,
            losses=0,
        )
        self._session.add(row)
        await self._session.flush()

    async def dequeue(
        self,
        tasks: Sequence[str],
        *,
        worker: str,
        device: str | None,
        same_devices: Sequence[str] = (),
        now: float,
        lease_expires_at: float,
    ) -> JobRow | None:
        """Take the oldest work that is due and that nobody holds, whose lock is free; or none.

        The `device` has to be free, too, and so do the `same_devices`, other names that may stand for it.
        """
        other = aliased(JobRow)
        is_in_the_way = other.lock == JobRow.lock
        if device is not None:
            is_in_the_way = or_(is_in_the_way, other.device.in_([device, *same_devices]))
        is_blocked = exists().where(other.id != JobRow.id, _is_held(other, now), is_in_the_way)
        due = (
            select(JobRow.id)
            .where(JobRow.task.in_(tasks), JobRow.run_after <= now, ~_is_held(JobRow, now), ~is_blocked)
            .order_by(JobRow.created_at, JobRow.id)
            .limit(1)
        )
        was_lost = JobRow.status == "running"
        taking = (
            update(JobRow)
            .where(JobRow.id == due.scalar_subquery())
            .values(
                status="running",
                worker=worker,
                device=device,
                epoch=JobRow.epoch + 1,
                attempts=JobRow.attempts + case((was_lost, 0), else_=1),
                losses=JobRow.losses + case((was_lost, 1), else_=0),
                lease_expires_at=lease_expires_at,
            )
            .returning(JobRow)
        )
        return (await self._session.scalars(taking)).one_or_none()

    async def renew(self, job_id: str, *, epoch: int, lease_expires_at: float) -> bool:
        """Hold the work for longer; return whether it was still held under this epoch."""
        return await self._change(job_id, epoch, lease_expires_at=lease_expires_at)

    async def finish(self, job_id: str, *, epoch: int) -> bool:
        """Remove the work; return whether it was still held under this epoch."""
        finished = delete(JobRow).where(_held_under(job_id, epoch)).returning(JobRow.id)
        return (await self._session.scalars(finished)).one_or_none() is not None

    async def retry(self, job_id: str, *, epoch: int, run_after: float) -> bool:
        """Give the work back, to be tried again later; return whether it was still held under this epoch."""
        return await self._change(job_id, epoch, status="queued", run_after=run_after, device=None)

    async def forget_attempts(self, job_id: str, *, epoch: int) -> bool:
        """Count attempts and losses from here on, because the work has got further."""
        return await self._change(job_id, epoch, attempts=1, losses=0)

    async def attempts(self, job_id: str) -> int | None:
        """Return how often the work was begun since it last got further; `None` if it is gone."""
        return (await self._session.scalars(select(JobRow.attempts).where(JobRow.id == job_id))).one_or_none()

    async def remove_queued(self, lock: str) -> None:
        """Remove the work under a lock that nobody has begun."""
        await self._session.execute(delete(JobRow).where(JobRow.lock == lock, JobRow.status == "queued"))

    async def workers(self) -> Sequence[str]:
        """Return the names of all workers that hold work, whether or not they live."""
        query = select(JobRow.worker).where(JobRow.status == "running").distinct()
        return [name for name in await self._session.scalars(query) if name is not None]

    async def release(self, worker: str, *, now: float) -> None:
        """End the leases of a worker that is known to be dead."""
        ending = update(JobRow).where(JobRow.worker == worker, JobRow.status == "running")
        await self._session.execute(ending.values(lease_expires_at=now))

    async def count(self) -> int:
        """Return how much work there is, begun or not."""
        return (await self._session.scalars(select(func.count()).select_from(JobRow))).one()

    async def _change(self, job_id: str, epoch: int, **values: object) -> bool:
        changing = update(JobRow).where(_held_under(job_id, epoch)).values(**values).returning(JobRow.id)
        return (await self._session.scalars(changing)).one_or_none() is not None


def _is_held(row: type[JobRow], now: float) -> ColumnElement[bool]:
    return and_(row.status == "running", row.lease_expires_at > now)


def _held_under(job_id: str, epoch: int) -> ColumnElement[bool]:
    return and_(JobRow.id == job_id, JobRow.epoch == epoch, JobRow.status == "running")
