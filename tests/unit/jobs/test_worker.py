"""The worker: carries work out, tries again, gives up, and lets go when it has to."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import structlog.testing

from openhearth import clock
from openhearth.jobs.context import JobContext, LeaseLostError
from openhearth.jobs.recovery import living_worker, release_dead_workers
from openhearth.jobs.retry import RetryPolicy
from openhearth.jobs.worker import Lane, Worker, WorkerConfig, working
from openhearth.store.database import Database

LANE = Lane(tasks=["greet"], device="cpu")
QUICK = WorkerConfig(
    poll_interval_seconds=0.01,
    heartbeat_interval_seconds=0.01,
    lease_seconds=5.0,
    retry=RetryPolicy(max_attempts=3, first_delay_seconds=0.0),
)


@dataclass
class Greeting:
    """A task that does what a test wants, and remembers how it went."""

    do: Callable[[JobContext], object] = lambda _context: None
    attempts: list[int] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)

    async def run(self, context: JobContext) -> None:
        """Do it, then finish."""
        self.attempts.append(context.job.attempts)
        result = self.do(context)
        if asyncio.iscoroutine(result):
            await result
        async with context.transaction() as tx:
            await context.finish(tx)

    async def give_up(self, context: JobContext, error: Exception) -> None:
        """Remember why."""
        self.given_up.append(str(error))
        async with context.transaction() as tx:
            await context.finish(tx)


@dataclass
class Stubborn(Greeting):
    """A task that cannot even be given up."""

    subjects: list[str] = field(default_factory=list)

    async def give_up(self, context: JobContext, error: Exception) -> None:
        """Fail once more."""
        self.subjects.append(context.job.subject)
        raise FileNotFoundError("no pen") from error


def worker(database: Database, task: Greeting, name: str = "w") -> Worker:
    """Return a worker that knows one task."""
    return Worker(database, {"greet": task}, name=name, lanes=[LANE], config=QUICK)


async def enqueue(database: Database, job_id: str = "a") -> None:
    """Add work."""
    async with database.transaction() as tx:
        await tx.jobs.enqueue(job_id, task="greet", lock=job_id, now=clock.now())


async def count(database: Database) -> int:
    """Return how much work is left."""
    async with database.read() as tx:
        return await tx.jobs.count()


def fail(_context: JobContext) -> None:
    """Fail."""
    raise RuntimeError("no voice")


async def test_success(database: Database) -> None:
    """Work that is done is gone."""
    task = Greeting()
    await enqueue(database)

    assert await worker(database, task).run_once(LANE)
    assert not await worker(database, task).run_once(LANE)
    assert task.attempts == [1]
    assert await count(database) == 0


async def test_bounded_retries(database: Database) -> None:
    """Work that fails is tried again, then given up for good."""
    task = Greeting(fail)
    await enqueue(database)

    for _ in range(4):
        await worker(database, task).run_once(LANE)

    assert task.attempts == [1, 2, 3]
    assert task.given_up == ["no voice"]
    assert await count(database) == 0


async def die(database: Database) -> None:
    """Let a worker take the work and never be heard of again."""
    async with database.transaction() as tx:
        now = clock.now()
        row = await tx.jobs.dequeue(["greet"], worker="dead", device=None, now=now, lease_expires_at=now + 99)
        assert row is not None
        await tx.jobs.release("dead", now=now)


async def test_losses_are_no_failures(database: Database) -> None:
    """Workers that die do not use up the attempts of the work."""
    task = Greeting(fail)
    await enqueue(database)
    for _ in range(10):
        await die(database)

    for _ in range(4):
        await worker(database, task).run_once(LANE)

    assert task.attempts == [1, 2, 3]
    assert task.given_up == ["no voice"]


async def test_bounded_losses(database: Database) -> None:
    """Work that worker after worker dies of is given up without being tried again."""
    task = Greeting()
    await enqueue(database)
    for _ in range(11):
        await die(database)

    await worker(database, task).run_once(LANE)

    assert task.attempts == []
    assert task.given_up == ["11 workers in a row ended while they carried it out."]
    assert await count(database) == 0


async def test_work_that_cannot_be_given_up(database: Database) -> None:
    """Trouble with one piece of work does not end the worker: it goes on with the next one."""
    task = Stubborn(fail)
    config = replace(QUICK, retry=RetryPolicy(max_attempts=1))
    await enqueue(database, "bad")
    working = asyncio.create_task(Worker(database, {"greet": task}, name="w", lanes=[LANE], config=config).run())

    while len(task.subjects) < 1:
        await asyncio.sleep(0.01)
    await enqueue(database, "next")
    while "next" not in task.subjects:
        await asyncio.sleep(0.01)

    assert not working.done()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


async def test_progress_resets_attempts(database: Database) -> None:
    """An attempt that got further does not count against the work."""

    async def get_further(context: JobContext) -> None:
        async with context.transaction() as tx:
            await context.note_progress(tx)
        raise RuntimeError("later")

    task = Greeting(get_further)
    await enqueue(database)

    for _ in range(5):
        await worker(database, task).run_once(LANE)

    assert task.attempts == [1, 2, 2, 2, 2]
    assert task.given_up == []


async def test_lost_lease(database: Database) -> None:
    """A worker whose work was taken away stops, and writes nothing more."""
    is_over = asyncio.Event()

    async def lose(context: JobContext) -> None:
        async with database.transaction() as tx:
            await tx.jobs.release("w", now=clock.now())
            await tx.jobs.dequeue(
                ["greet"], worker="other", device=None, now=clock.now() + 1, lease_expires_at=clock.now() + 99
            )
        try:
            with pytest.raises(LeaseLostError):
                await context.renew()
            await asyncio.sleep(30)
        finally:
            is_over.set()

    task = Greeting(lose)
    await enqueue(database)

    assert await worker(database, task).run_once(LANE)
    assert is_over.is_set()
    assert task.given_up == []
    assert await count(database) == 1


async def test_shutdown(database: Database) -> None:
    """A worker that is told to end gives its work back, and the next one begins at once."""
    has_begun = asyncio.Event()

    async def wait(_context: JobContext) -> None:
        has_begun.set()
        await asyncio.sleep(30)

    await enqueue(database)
    running = asyncio.create_task(worker(database, Greeting(wait)).run())
    await has_begun.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    next_task = Greeting()
    assert await worker(database, next_task, "next").run_once(LANE)
    assert await count(database) == 0


async def test_turns(database: Database) -> None:
    """Several workers on one database do each piece of work once, one at a time on a device."""
    at_once, most, done = 0, 0, []

    async def greet(context: JobContext) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.01)
        at_once -= 1
        done.append(context.job.subject)

    for number in range(8):
        await enqueue(database, f"job{number}")
    workers = [asyncio.create_task(worker(database, Greeting(greet), f"w{number}").run()) for number in range(3)]
    while await count(database):
        await asyncio.sleep(0.01)
    for task in workers:
        task.cancel()
    await asyncio.gather(*workers, return_exceptions=True)

    assert sorted(done) == sorted(f"job{number}" for number in range(8))
    assert most == 1


class TestRecovery:
    """A dead worker is told from a living one by its lock."""

    async def test_living(self, database: Database, tmp_path: Path) -> None:
        """A worker that lives keeps its work."""
        await enqueue(database)
        with living_worker(tmp_path) as name:
            async with database.transaction() as tx:
                now = clock.now()
                await tx.jobs.dequeue(["greet"], worker=name, device=None, now=now, lease_expires_at=now + 99)
            await release_dead_workers(database, tmp_path, now=clock.now)

            assert not await worker(database, Greeting()).run_once(LANE)

    @pytest.mark.parametrize(("has_lock_file", "is_released"), [(True, True), (False, False)])
    async def test_dead(self, database: Database, tmp_path: Path, *, has_lock_file: bool, is_released: bool) -> None:
        """The work of one that died here is free; of one that ran elsewhere nothing is known."""
        await enqueue(database)
        async with database.transaction() as tx:
            now = clock.now()
            await tx.jobs.dequeue(["greet"], worker="other", device=None, now=now, lease_expires_at=now + 99)
        if has_lock_file:
            (tmp_path / "other.lock").touch()

        await release_dead_workers(database, tmp_path, now=clock.now)

        assert await worker(database, Greeting()).run_once(LANE) is is_released


def test_delays() -> None:
    """Waits double up to a limit, and end with the last attempt."""
    policy = RetryPolicy(max_attempts=5, first_delay_seconds=1, max_delay_seconds=3)

    assert [policy.delay_after(attempts) for attempts in (1, 2, 3, 4, 5)] == [1, 2, 3, 3, None]


async def test_working_logs_what_it_cannot_cope_with(database: Database) -> None:
    """A worker that comes to an unforeseen end says so in the log, while the server goes on."""

    class Broken(Worker):
        async def run(self) -> None:
            raise RuntimeError("no hands")

    broken = Broken(database, {}, name="w", lanes=[LANE], config=QUICK)

    with structlog.testing.capture_logs() as logs:
        async with working(broken):
            while not any(entry["event"] == "worker_failed" for entry in logs):
                await asyncio.sleep(0.01)

    assert [entry["log_level"] for entry in logs if entry["event"] == "worker_failed"] == ["error"]
