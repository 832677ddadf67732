"""Work that is not left half-way."""

import asyncio

import pytest

from openhearth.concurrency import uninterrupted


class Work:
    """Work that goes on until it is told to stop."""

    def __init__(self) -> None:
        self.begun, self.may_end, self.is_done = asyncio.Event(), asyncio.Event(), False

    async def do(self, failure: Exception | None = None) -> str:
        """Do it."""
        self.begun.set()
        await self.may_end.wait()
        self.is_done = True
        if failure is not None:
            raise failure
        return "done"


async def test_the_result_is_passed_on() -> None:
    """Without a cancellation, the work's result or failure is the caller's."""
    good, bad = Work(), Work()
    good.may_end.set()
    bad.may_end.set()

    assert await uninterrupted(good.do()) == "done"
    with pytest.raises(LookupError, match="lost"):
        await uninterrupted(bad.do(LookupError("lost")))


@pytest.mark.parametrize("num_cancellations", [1, 3])
@pytest.mark.parametrize("failure", [None, LookupError("lost")])
async def test_a_cancelled_caller_waits(num_cancellations: int, failure: Exception | None) -> None:
    """However often the caller is cancelled, the work is done to its end, and then the cancellation is passed on."""
    work = Work()
    caller = asyncio.create_task(uninterrupted(work.do(failure)))
    await work.begun.wait()
    for _ in range(num_cancellations):
        caller.cancel()
        await asyncio.sleep(0)
    assert not caller.done()
    work.may_end.set()

    with pytest.raises(asyncio.CancelledError):
        await caller
    assert work.is_done


async def test_work_that_is_cancelled_itself() -> None:
    """When it is the work that is cancelled, the caller is told so."""

    async def give_up() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await uninterrupted(give_up())
