"""The worker's loop: take work, hold it with a heartbeat, carry it out, and decide what a failure means.

Knows nothing of what the work is; that is for the tasks, which arrive by name.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from openhearth import clock
from openhearth.errors import OpenHearthError, ServiceUnavailableError
from openhearth.jobs.context import Job, JobContext, LeaseLostError
from openhearth.jobs.retry import RetryPolicy
from openhearth.store.database import Database
from openhearth.store.tables import JobRow

log = structlog.get_logger(__name__)


class WorkersLostError(OpenHearthError):
    """One worker after the other ended, not in order, with this work in hand."""

    def __init__(self, losses: int) -> None:
        super().__init__(f"{losses} workers in a row ended while they carried it out.")


class Task(Protocol):
    """What is to be done for one kind of work."""

    async def run(self, context: JobContext) -> None:
        """Do it. Whatever it raises, save `LeaseLostError`, is a failed attempt."""
        ...

    async def give_up(self, context: JobContext, error: Exception) -> None:
        """Settle the subject of work that failed too often; `error` is what it failed of the last time."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """Kinds of work that are carried out one at a time, on a `device` if they need one.

    `same_devices` are other names that may stand for that device.
    """

    tasks: Sequence[str]
    device: str | None = None
    same_devices: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """How long a lease lasts, and how often a worker looks up from its work."""

    poll_interval_seconds: float = 1.0
    heartbeat_interval_seconds: float = 5.0
    lease_seconds: float = 30.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)


@asynccontextmanager
async def working(worker: "Worker") -> AsyncIterator[None]:
    """Let a worker work beside whatever else happens in the context; what it cannot cope with is logged at once."""
    running = asyncio.create_task(worker.run())
    running.add_done_callback(_log_failure)
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _log_failure(running: "asyncio.Task[None]") -> None:
    if not running.cancelled() and (error := running.exception()) is not None:
        log.error("worker_failed", exc_info=error)


class Worker:
    """Carries out what is in the queue, one piece at a time in each lane, until it is cancelled."""

    def __init__(
        self,
        database: Database,
        tasks: Mapping[str, Task],
        *,
        name: str,
        lanes: Sequence[Lane],
        config: WorkerConfig,
        now: clock.Clock = clock.now,
    ) -> None:
        self._database = database
        self._tasks = tasks
        self._name = name
        self._lanes = lanes
        self._config = config
        self._now = now

    async def run(self) -> None:
        """Work until cancelled. What is in hand is then given back, for any worker to go on with."""
        async with asyncio.TaskGroup() as group:
            for lane in self._lanes:
                group.create_task(self._run_lane(lane))

    async def run_once(self, lane: Lane) -> bool:
        """Carry out one piece of work, if there is any; return whether there was."""
        row = await self._dequeue(lane)
        if row is None:
            return False
        job = Job(id=row.id, task=row.task, subject=row.lock, epoch=row.epoch, attempts=row.attempts, losses=row.losses)
        context = JobContext(self._database, job, lease_seconds=self._config.lease_seconds, now=self._now)
        await self._carry_out(context)
        return True

    async def _run_lane(self, lane: Lane) -> None:
        while True:
            try:
                did_something = await self.run_once(lane)
            except ServiceUnavailableError as error:  # the database is busy or the disk full: neither lasts
                log.warning("queue_unavailable", problem=str(error))
                did_something = False
            except Exception:  # what is wrong with one piece of work must not keep the lane from the next
                log.exception("lane_stumbled", tasks=list(lane.tasks))
                did_something = False
            if not did_something:
                await asyncio.sleep(self._config.poll_interval_seconds)

    async def _dequeue(self, lane: Lane) -> JobRow | None:
        now = self._now()
        async with self._database.read() as tx:  # an empty queue is seen without disturbing whoever writes
            if await tx.jobs.count() == 0:
                return None
        async with self._database.transaction() as tx:
            return await tx.jobs.dequeue(
                lane.tasks,
                worker=self._name,
                device=lane.device,
                same_devices=lane.same_devices,
                now=now,
                lease_expires_at=now + self._config.lease_seconds,
            )

    async def _carry_out(self, context: JobContext) -> None:
        job = context.job
        log.info("job_started", job=job.id, task=job.task, subject=job.subject, attempt=job.attempts)
        try:
            if job.losses > self._config.retry.max_losses:
                await self._tasks[job.task].give_up(context, WorkersLostError(job.losses))
            else:
                await self._run_with_heartbeat(context)
        except LeaseLostError:
            log.warning("job_lost", job=job.id, subject=job.subject)
        except asyncio.CancelledError:
            await self._give_back(context)
            raise
        except Exception as error:
            log.warning("job_failed", job=job.id, subject=job.subject, exc_info=error)
            with suppress(LeaseLostError):
                await self._retry_or_give_up(context, error)
        else:
            log.info("job_finished", job=job.id, subject=job.subject)

    async def _run_with_heartbeat(self, context: JobContext) -> None:
        running = asyncio.create_task(self._tasks[context.job.task].run(context))
        beating = asyncio.create_task(self._beat(context))
        try:
            await asyncio.wait((running, beating), return_when=asyncio.FIRST_COMPLETED)
            if beating.done():
                beating.result()
            await running
        finally:
            for task in (beating, running):
                task.cancel()
            await asyncio.gather(beating, running, return_exceptions=True)

    async def _beat(self, context: JobContext) -> None:
        while True:
            await asyncio.sleep(self._config.heartbeat_interval_seconds)
            try:
                await context.renew()
            except ServiceUnavailableError as error:  # the lease outlasts a few missed beats
                log.warning("heartbeat_missed", job=context.job.id, problem=str(error))

    async def _retry_or_give_up(self, context: JobContext, error: Exception) -> None:
        async with self._database.read() as tx:
            attempts = await tx.jobs.attempts(context.job.id)  # fewer than at the start, if there was progress
        delay = self._config.retry.delay_after(attempts or context.job.attempts)
        if delay is None:
            delay = await self._give_up(context, error)
        if delay is not None:
            async with self._database.transaction() as tx:
                await tx.jobs.retry(context.job.id, epoch=context.job.epoch, run_after=self._now() + delay)

    async def _give_up(self, context: JobContext, error: Exception) -> float | None:
        """Settle the work; return after how many seconds that has to be tried again, if it failed as well."""
        try:
            await self._tasks[context.job.task].give_up(context, error)
        except LeaseLostError:
            raise
        except Exception:
            log.exception("giving_up_failed", job=context.job.id, subject=context.job.subject)
            return self._config.retry.max_delay_seconds
        return None

    async def _give_back(self, context: JobContext) -> None:
        async with self._database.transaction() as tx:
            await tx.jobs.forget_attempts(context.job.id, epoch=context.job.epoch)
            await tx.jobs.retry(context.job.id, epoch=context.job.epoch, run_after=self._now())
