"""What the tasks know of a program that runs elsewhere: the lines it writes, how it is asked to stop, how it ended."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Protocol


class Program(Protocol):
    """A program that runs. It ends with whoever started it, however that ends."""

    def lines(self) -> AsyncIterator[bytes]:
        """Give what it writes to standard output, line by line, until it ends."""
        ...

    async def ask_to_stop(self) -> None:
        """Ask it to come to an end soon; safe to repeat, and when it has ended already."""
        ...

    async def kill(self) -> int:
        """End it at once, if it has not ended already, and return its exit code; negative is the signal."""
        ...

    async def wait(self) -> int:
        """Wait until it has ended, and return its exit code; negative is the signal that ended it."""
        ...


class Executor(Protocol):
    """Starts programs."""

    async def start(self, arguments: Sequence[str], *, log: Path) -> Program:
        """Start the Python program `-m arguments`; what it writes to standard error is added to `log`."""
        ...
