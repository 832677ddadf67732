"""The housekeeping tasks: one sweep before the server opens, then an eye on the clock."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn, Protocol

import structlog

from openhearth.services.housekeeping import Housekeeping

_log = structlog.get_logger(__name__)

_INTERVAL_SECONDS = 60.0


class Expires(Protocol):
    """Whatever keeps things for a time."""

    async def expire(self) -> int:
        """Remove what has expired; return how many."""
        ...


@asynccontextmanager
async def keep_house(housekeeping: Housekeeping, *others: Expires) -> AsyncIterator[None]:
    """Sweep, then remove what expires for as long as the context lasts. Nothing may be stored before it begins."""
    await sweep(housekeeping)
    expiring = [asyncio.create_task(expire_regularly(expires)) for expires in (housekeeping, *others)]
    try:
        yield
    finally:
        for task in expiring:
            task.cancel()
        await asyncio.gather(*expiring, return_exceptions=True)


async def sweep(housekeeping: Housekeeping) -> None:
    """Remove what a crash left behind, and report it. Only before anything is stored."""
    report = await housekeeping.sweep()
    if report.num_blobs_removed:
        _log.warning("storage.orphans_removed", num_blobs=report.num_blobs_removed)
    if report.num_files_without_content:
        _log.error("storage.content_missing", num_files=report.num_files_without_content)


async def expire_regularly(expires: Expires, *, interval_seconds: float = _INTERVAL_SECONDS) -> NoReturn:
    """Remove what has expired, again and again; a failure is reported, and tried again at the next turn."""
    while True:
        try:
            if num_expired := await expires.expire():
                _log.info("storage.expired", num_objects=num_expired)
        except Exception:
            _log.exception("storage.expiry_failed")
        await asyncio.sleep(interval_seconds)
