"""Programs as child processes on this machine: out of the server's way, and never left behind.

A child holds the reading end of a pipe as its standard input. When this process ends, whatever ends it, the kernel
closes the other end; the child sees that and ends itself.
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path

_MAX_LINE_BYTES = 2**20
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


class LocalExecutor:
    """Starts child processes with `num_threads` threads for arithmetic, that yield to others by `niceness`."""

    def __init__(self, *, num_threads: int, niceness: int = 10) -> None:
        self._environment = dict.fromkeys(_THREAD_VARIABLES, str(num_threads)) | {"TOKENIZERS_PARALLELISM": "false"}
        self._niceness = niceness

    async def start(self, arguments: Sequence[str], *, log: Path) -> "LocalProgram":
        """See `Executor.start`."""
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *arguments,
                stdin=PIPE,
                stdout=PIPE,
                stderr=errors,
                env=os.environ | self._environment,
                limit=_MAX_LINE_BYTES,
                start_new_session=True,  # a Ctrl-C in the terminal is for the server, which ends the child in order
            )
        with suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, process.pid, self._niceness)
        return LocalProgram(process)


class LocalProgram:
    """A child process."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    async def lines(self) -> AsyncIterator[bytes]:
        """See `Program.lines`."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            yield line

    async def ask_to_stop(self) -> None:
        """See `Program.ask_to_stop`."""
        assert self._process.stdin is not None
        with suppress(ConnectionError, RuntimeError):
            self._process.stdin.write(b"stop\n")
            await self._process.stdin.drain()

    async def kill(self) -> int:
        """See `Program.kill`."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        return await self.wait()

    async def wait(self) -> int:
        """See `Program.wait`."""
        return await self._process.wait()
