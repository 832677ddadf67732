"""What tests put in the place of the terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

from openhearth.catalog.progress import Report


class RecordedProgress:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, int | None]] = []
        self.reports: list[int] = []

    @contextmanager
    def step(self, description: str, *, total_bytes: int | None = None) -> Iterator[Report]:
        """Keep the step and its reports."""
        self.steps.append((description, total_bytes))
        yield self.reports.append
