"""What a task has in hand: one job, held under a lease, and transactions that count only while it is held."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from openhearth.clock import Clock
from openhearth.errors import OpenHearthError
from openhearth.store.database import Database, Transaction


class LeaseLostError(OpenHearthError):
    """The job is in other hands by now, or gone: whatever was about to be written must not be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One attempt at a piece of work. `subject` is what it is about, `epoch` tells this attempt from all others.

    `attempts` counts the attempts since the work last got further, `losses` the workers that died of it since then.
    """

    id: str
    task: str
    subject: str
    epoch: int
    attempts: int
    losses: int


class JobContext:
    """A job that is held. Use it for as long as the task runs, then no more."""

    def __init__(self, database: Database, job: Job, *, lease_seconds: float, now: Clock) -> None:
        self.job = job
        self._database = database
        self._lease_seconds = lease_seconds
        self._now = now

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Open a transaction that renews the lease; nothing of it happens if the lease is lost.

        Raises `LeaseLostError`.
        """
        async with self._database.transaction() as tx:
            await self.hold(tx)
            yield tx

    async def hold(self, tx: Transaction) -> None:
        """Renew the lease within a transaction that is open already. Raises `LeaseLostError`."""
        until = self._now() + self._lease_seconds
        if not await tx.jobs.renew(self.job.id, epoch=self.job.epoch, lease_expires_at=until):
            raise LeaseLostError(self.job.id)

    async def renew(self) -> None:
        """Hold the job for longer. Raises `LeaseLostError`."""
        async with self.transaction():
            pass

    async def finish(self, tx: Transaction) -> None:
        """Remove the job from the queue, in the transaction that settles its subject. Raises `LeaseLostError`."""
        if not await tx.jobs.finish(self.job.id, epoch=self.job.epoch):
            raise LeaseLostError(self.job.id)

    async def note_progress(self, tx: Transaction) -> None:
        """Forget earlier attempts: what was reached now is kept, so the next attempt starts from here."""
        await tx.jobs.forget_attempts(self.job.id, epoch=self.job.epoch)
