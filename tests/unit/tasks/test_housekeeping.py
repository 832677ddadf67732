"""When housekeeping is done, and what it reports."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from openhearth.tasks.housekeeping import expire_regularly, keep_house
from tests.storage import IncomingFile, Storage, open_storage


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    """Return empty storage."""
    async with open_storage(tmp_path) as storage:
        yield storage


async def until_empty(storage: Storage) -> None:
    """Wait for the last blob to go."""
    async with asyncio.timeout(30):
        while await storage.keys():
            await asyncio.sleep(0.001)


async def test_the_house_is_swept_before_anything_else(storage: Storage) -> None:
    """What a crash left behind is gone when the context begins, and the log says so."""
    lost = await storage.files.create("a", IncomingFile(b"x"))
    await storage.blobs.delete(lost.id)
    await storage.blobs.put("file-orphan", IncomingFile(b"x").content())

    with capture_logs() as logs:
        async with keep_house(storage.housekeeping):
            assert await storage.keys() == []

    assert logs == [
        {"event": "storage.orphans_removed", "num_blobs": 1, "log_level": "warning"},
        {"event": "storage.content_missing", "num_files": 1, "log_level": "error"},
    ]


async def test_a_tidy_house_is_not_reported(storage: Storage) -> None:
    """When there is nothing to do, nothing is said."""
    await storage.files.create("a", IncomingFile(b"x"))

    with capture_logs() as logs:
        async with keep_house(storage.housekeeping):
            pass

    assert logs == []


async def test_what_expires_goes_while_the_house_is_kept(storage: Storage) -> None:
    """A file whose time comes is removed without anybody asking, and the log says so."""
    await storage.files.create("a", IncomingFile(b"x", expires_after_seconds=3600))
    storage.clock.time += 3600

    with capture_logs() as logs:
        async with keep_house(storage.housekeeping):
            await until_empty(storage)

    assert logs == [{"event": "storage.expired", "num_objects": 1, "log_level": "info"}]


async def test_a_failure_is_reported_and_tried_again(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk fails once, the log says so, and the next turn does the work."""
    await storage.files.create("a", IncomingFile(b"x", expires_after_seconds=3600))
    storage.clock.time += 3600
    expire, failures = storage.housekeeping.expire, [OSError("the disk is away")]

    async def fail_once() -> int:
        if failures:
            raise failures.pop()
        return await expire()

    monkeypatch.setattr(storage.housekeeping, "expire", fail_once)
    with capture_logs() as logs:
        expiring = asyncio.create_task(expire_regularly(storage.housekeeping, interval_seconds=0))
        await until_empty(storage)
        expiring.cancel()
        await asyncio.gather(expiring, return_exceptions=True)

    assert [entry["event"] for entry in logs][:1] == ["storage.expiry_failed"]
    assert await storage.keys() == []
