"""The fine-tuning tasks: validate a job's files; run the trainer, pass on what it says, and steer it."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

from openhearth.executor.base import Executor, Program
from openhearth.jobs.context import JobContext
from openhearth.jobs.worker import WorkersLostError
from openhearth.services.fine_tuning_runs import Attempt, FineTuningRuns
from openhearth.training.exhaustion import OUT_OF_DISK, OUT_OF_MEMORY, is_out_of_disk
from openhearth.training.reports import Failed, Finished, Report, read_report
from openhearth.training.rows import shorten

_LOOK_SECONDS = 1.0
"""How long the trainer may be silent before the task looks whether the job was steered elsewhere."""
_SIGKILL = -9


class TrainerCrashedError(Exception):
    """The trainer ended without saying why."""

    def __init__(self, exit_code: int, log: str) -> None:
        super().__init__(f"The trainer ended with exit code {exit_code}: {log}")
        self.exit_code = exit_code


class ValidateTask:
    """Checks the files of a job."""

    def __init__(self, runs: FineTuningRuns) -> None:
        self._runs = runs

    async def run(self, context: JobContext) -> None:
        """See `Task.run`."""
        await self._runs.validate(context)

    async def give_up(self, context: JobContext, error: Exception) -> None:
        """See `Task.give_up`."""
        await self._runs.fail(context, _explain(error, f"The job could not be validated: {error}"))


class TrainTask:
    """Runs the trainer from the last checkpoint to the end, or until the job is steered elsewhere."""

    def __init__(self, runs: FineTuningRuns, executor: Executor) -> None:
        self._runs = runs
        self._executor = executor

    async def run(self, context: JobContext) -> None:
        """See `Task.run`."""
        attempt = await self._runs.begin(context)
        if attempt is None:
            return
        program = await self._start(attempt)
        try:
            last = await self._follow(context, attempt, program)
            exit_code = await program.wait()
        finally:
            await asyncio.shield(program.kill())
        await self._settle(context, attempt, last, exit_code)

    async def give_up(self, context: JobContext, error: Exception) -> None:
        """See `Task.give_up`."""
        await self._runs.fail(context, _explain(error, f"The trainer failed again and again. {error}"))

    async def _start(self, attempt: Attempt) -> Program:
        folder = attempt.spec.output_dir
        folder.mkdir(parents=True, exist_ok=True)
        spec = folder / "spec.json"
        spec.write_text(json.dumps(attempt.spec.model_dump(mode="json"), indent=1))
        return await self._executor.start(["openhearth.training", str(spec)], log=_log(attempt))

    async def _follow(self, context: JobContext, attempt: Attempt, program: Program) -> Report | None:
        """Record what the trainer says until it ends; return the last of it."""
        last: Report | None = None
        async for reports in _batches(program.lines()):
            status = await (self._runs.record(context, attempt, reports) if reports else self._runs.status(context))
            last = reports[-1] if reports else last
            if status == "paused":
                await program.ask_to_stop()
            elif status != "running":
                await program.kill()
        return last

    async def _settle(self, context: JobContext, attempt: Attempt, last: Report | None, exit_code: int) -> None:
        if isinstance(last, Finished):
            await self._runs.succeed(context)
        elif isinstance(last, Failed):
            await self._runs.fail(context, last)
        elif await self._runs.status(context) != "running":
            await self._runs.leave(context)
        else:
            raise TrainerCrashedError(exit_code, await asyncio.to_thread(_last_words, attempt))


def _explain(error: Exception, otherwise: str) -> Failed:
    """Return what a job says whose work was given up: what the machine lacked, or `otherwise`."""
    if is_out_of_disk(error):
        return OUT_OF_DISK
    if isinstance(error, TrainerCrashedError) and error.exit_code == _SIGKILL:  # most likely by the kernel
        return OUT_OF_MEMORY
    if isinstance(error, WorkersLostError):
        return Failed(code="server_error", message=f"The job was given up: {error}")
    return Failed(code="server_error", message=otherwise)


async def _batches(lines: AsyncIterator[bytes]) -> AsyncIterator[list[Report]]:
    """Give what has been said meanwhile, all at once; nothing, if nothing was said for a while."""
    queue: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def read() -> None:
        try:
            async for line in lines:
                queue.put_nowait(line)
        finally:
            queue.put_nowait(None)

    reading = asyncio.create_task(read())
    try:
        while True:
            batch = [await _next(queue)]
            while not queue.empty():
                batch.append(queue.get_nowait())
            yield [read_report(line) for line in batch if line]
            if None in batch:
                await reading  # which raises what went wrong with it
                return
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def _next(queue: asyncio.Queue[bytes | None]) -> bytes | None:
    try:
        return await asyncio.wait_for(queue.get(), _LOOK_SECONDS)
    except TimeoutError:
        return b""


def _log(attempt: Attempt) -> Path:
    return attempt.spec.output_dir / "trainer.log"


def _last_words(attempt: Attempt) -> str:
    lines = _log(attempt).read_text(errors="replace").strip().splitlines()
    return shorten(lines[-1]) if lines else "it left no word."
