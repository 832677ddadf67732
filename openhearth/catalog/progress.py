"""How far a pull is: a bar for a person at a terminal, log lines for everybody else."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import structlog
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars

Report = Callable[[int], None]
"""Told how many bytes of the step are done, counted from the step's beginning."""


class Progress(Protocol):
    """Hears of the steps of a pull."""

    def step(self, description: str, *, total_bytes: int | None = None) -> AbstractContextManager[Report]:
        """Begin a step, which ends with the context; `total_bytes` is `None` where nobody can tell."""
        ...


class TerminalProgress:
    """Draws one bar for each step, and leaves it standing when the step is done."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def step(self, description: str, *, total_bytes: int | None = None) -> Iterator[Report]:
        """Draw a bar until the context ends; without a total, a bar that only shows that work goes on."""
        measures = [DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()] if total_bytes else []
        with Bars(TextColumn("{task.description}"), BarColumn(), *measures, console=self._console) as bars:
            task = bars.add_task(description, total=total_bytes)
            yield lambda done: bars.update(task, completed=done)
            bars.update(task, total=total_bytes or 1, completed=total_bytes or 1)


class LoggedProgress:
    """Writes a log line when a step begins, when it ends, and at every quarter of the way."""

    def __init__(self) -> None:
        self._log = structlog.get_logger(__name__)

    @contextmanager
    def step(self, description: str, *, total_bytes: int | None = None) -> Iterator[Report]:
        """Log the step until the context ends."""
        size = {"size": decimal(total_bytes)} if total_bytes else {}
        self._log.info(description, **size)
        last_quarter = 0

        def report(done: int) -> None:
            nonlocal last_quarter
            quarter = done * 4 // total_bytes if total_bytes else 0
            if last_quarter < quarter < 4:
                self._log.info(description, percent=quarter * 25)
            last_quarter = quarter

        yield report
        self._log.info(f"{description}: done")


class SilentProgress:
    """Tells nobody."""

    @contextmanager
    def step(self, description: str, *, total_bytes: int | None = None) -> Iterator[Report]:
        """Do nothing until the context ends."""
        yield lambda done: None
