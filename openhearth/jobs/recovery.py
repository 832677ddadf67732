"""What a dead worker held is free at once, where its death can be told: on this machine, by its lock.

Elsewhere the lease has to run out. Either way the work goes through the same gate again; nothing is repaired.
"""

import os
import platform
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from openhearth.clock import Clock
from openhearth.store.database import Database


@contextmanager
def living_worker(folder: Path) -> Iterator[str]:
    """Give a name to a worker, and hold a lock under that name for as long as it lives.

    The kernel holds the lock on behalf of the process, so it ends with the process, however that ends.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = f"{platform.node()}-{os.getpid()}-{secrets.token_hex(4)}"
    lock = FileLock(_lock_file(folder, name))
    with lock:
        yield name
    _lock_file(folder, name).unlink(missing_ok=True)


async def release_dead_workers(database: Database, folder: Path, *, now: Clock) -> None:
    """End the leases of all workers that once ran on this machine with this folder and do so no more."""
    async with database.read() as tx:
        names = await tx.jobs.workers()
    dead = [name for name in names if _is_dead(folder, name)]
    if dead:
        async with database.transaction() as tx:
            for name in dead:
                await tx.jobs.release(name, now=now())


def _is_dead(folder: Path, name: str) -> bool:
    file = _lock_file(folder, name)
    if not file.exists():  # it lived on another machine, or with another folder
        return False
    try:
        with FileLock(file, blocking=False):
            pass
    except Timeout:
        return False
    file.unlink(missing_ok=True)
    return True


def _lock_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.lock"
