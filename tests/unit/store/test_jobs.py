"""The queue: work changes hands in guarded statements, one holder at a time."""

from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openhearth.components import training_lane
from openhearth.jobs.worker import Lane
from openhearth.store.database import Database, Transaction, sqlite_url
from openhearth.store.tables import JobRow

LEASE = 10.0


async def take(tx: Transaction, *, now: float, worker: str = "w", device: str | None = None) -> JobRow | None:
    """Dequeue for a worker."""
    return await tx.jobs.dequeue(["train"], worker=worker, device=device, now=now, lease_expires_at=now + LEASE)


async def take_for(tx: Transaction, lane: Lane, *, now: float) -> JobRow | None:
    """Take the work of a lane."""
    return await tx.jobs.dequeue(
        ["train"], worker=str(lane.device), device=lane.device, same_devices=lane.same_devices, now=now,
        lease_expires_at=now + LEASE,
    )  # fmt: skip


class TestDequeue:
    """Who gets what."""

    async def test_oldest_first(self, database: Database) -> None:
        """Work is taken in the order it came, and only by those who know the task."""
        async with database.transaction() as tx:
            await tx.jobs.enqueue("b", task="train", lock="b", now=1)
            await tx.jobs.enqueue("a", task="train", lock="a", now=2)
            await tx.jobs.enqueue("c", task="validate", lock="c", now=0)

            taken = [await take(tx, now=3), await take(tx, now=3), await take(tx, now=3)]

        assert [job and job.id for job in taken] == ["b", "a", None]

    async def test_lock(self, database: Database) -> None:
        """Of the work under one lock, one piece is held at a time."""
        async with database.transaction() as tx:
            await tx.jobs.enqueue("first", task="train", lock="same", now=1)
            await tx.jobs.enqueue("second", task="train", lock="same", now=2)
            first = await take(tx, now=3)
            blocked = await take(tx, now=4)
            assert first is not None
            await tx.jobs.finish(first.id, epoch=first.epoch)

            second = await take(tx, now=5)

        assert blocked is None
        assert second is not None
        assert second.id == "second"

    async def test_device(self, database: Database) -> None:
        """A device does one piece of work at a time; another device does another."""
        async with database.transaction() as tx:
            for name in ("a", "b", "c"):
                await tx.jobs.enqueue(name, task="train", lock=name, now=1)

            taken = [await take(tx, now=2, worker=device, device=device) for device in ("cpu", "cpu", "cuda:0")]

        assert [job and job.id for job in taken] == ["a", None, "b"]

    async def test_names_of_a_device(self, database: Database) -> None:
        """Who takes whatever device there is waits for all of them, and those for it."""
        auto, cpu, cuda = (
            training_lane("auto", machine="here"),
            training_lane("cpu", machine="here"),
            training_lane("cuda", machine="here"),
        )
        elsewhere = training_lane("auto", machine="there")
        async with database.transaction() as tx:
            for name in ("a", "b", "c"):
                await tx.jobs.enqueue(name, task="train", lock=name, now=1)

            first = await take_for(tx, cuda, now=2)
            taken = [await take_for(tx, lane, now=2) for lane in (auto, cpu, elsewhere)]

        assert first is not None
        assert [job and job.id for job in taken] == [None, "b", "c"]


class TestFencing:
    """A worker that lost its lease changes nothing."""

    async def test_expired(self, database: Database) -> None:
        """Work whose lease ran out is taken again, and its first holder can neither renew, give back nor finish it."""
        async with database.transaction() as tx:
            await tx.jobs.enqueue("a", task="train", lock="a", now=0)
            first = await take(tx, now=1)
            assert first is not None
            old_epoch = first.epoch
            second = await take(tx, now=1 + LEASE)
            assert second is not None

            assert second.epoch == old_epoch + 1
            assert (second.attempts, second.losses) == (1, 1)
            assert not await tx.jobs.renew("a", epoch=old_epoch, lease_expires_at=99)
            assert not await tx.jobs.retry("a", epoch=old_epoch, run_after=0)
            assert not await tx.jobs.finish("a", epoch=old_epoch)
            assert await tx.jobs.finish("a", epoch=second.epoch)

    async def test_dead_worker(self, database: Database) -> None:
        """What a dead worker held is free at once when it is released."""
        async with database.transaction() as tx:
            await tx.jobs.enqueue("a", task="train", lock="a", now=0)
            await take(tx, now=1, worker="dead")
            assert await tx.jobs.workers() == ["dead"]

            await tx.jobs.release("dead", now=2)

            assert await take(tx, now=2) is not None


@dataclass
class Held:
    """What the workers of a simulation believe to hold, with the epoch and the end of the lease."""

    leases: dict[str, tuple[str, int, float]] = field(default_factory=dict)


Steps = st.lists(
    st.tuples(
        st.sampled_from(["enqueue", "take", "renew", "retry", "finish", "wait"]),
        st.sampled_from(["w1", "w2", "w3"]),
        st.integers(0, 12),
    ),
    max_size=40,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=Steps)
async def test_no_work_is_lost_or_done_twice(tmp_path_factory: object, steps: list[tuple[str, str, int]]) -> None:
    """However workers come, stall and go, nobody holds what another holds, and work ends exactly once."""
    folder = tmp_path_factory.mktemp("queue")  # type: ignore[attr-defined]
    database = Database(sqlite_url(folder / "q.db"))
    await database.migrate()
    held, now, num_enqueued, finished = Held(), 0.0, 0, set()
    try:
        for action, worker, amount in steps:
            now += amount / 4
            mine = held.leases.get(worker)
            async with database.transaction() as tx:
                if action == "enqueue":
                    num_enqueued += 1
                    await tx.jobs.enqueue(f"j{num_enqueued}", task="train", lock=f"l{amount % 3}", now=now)
                elif action == "take":
                    row = await take(tx, now=now, worker=worker)
                    if row is not None:
                        others = [lease for name, lease in held.leases.items() if name != worker]
                        assert all(lease[0] != row.id or lease[2] <= now for lease in others)
                        held.leases[worker] = (row.id, row.epoch, now + LEASE)
                elif mine is not None and action == "renew":
                    if await tx.jobs.renew(mine[0], epoch=mine[1], lease_expires_at=now + LEASE):
                        held.leases[worker] = (mine[0], mine[1], now + LEASE)
                elif mine is not None and action == "retry":
                    await tx.jobs.retry(mine[0], epoch=mine[1], run_after=now)
                    del held.leases[worker]
                elif mine is not None and action == "finish":
                    if await tx.jobs.finish(mine[0], epoch=mine[1]):
                        assert mine[0] not in finished
                        finished.add(mine[0])
                    del held.leases[worker]
        async with database.transaction() as tx:
            assert await tx.jobs.count() == num_enqueued - len(finished)
            now += 1000
            rest = 0
            while (row := await take(tx, now=now)) is not None:
                await tx.jobs.finish(row.id, epoch=row.epoch)
                rest += 1
        assert rest == num_enqueued - len(finished)
    finally:
        await database.close()
