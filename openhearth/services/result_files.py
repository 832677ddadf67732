"""The result file of a job: one row of metrics for each step, as CSV (contract: fine-tuning, section 8)."""

import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from openhearth.services.file_intake import FileDescription, FileIntake
from openhearth.store.database import Transaction
from openhearth.store.tables import FineTuningJobRow, FineTuningStepRow

FILENAME = "step_metrics.csv"
_COLUMNS = {
    "train_loss": "train_loss",
    "train_accuracy": "train_mean_token_accuracy",
    "valid_loss": "valid_loss",
    "valid_mean_token_accuracy": "valid_mean_token_accuracy",
    "full_valid_loss": "full_valid_loss",
    "full_valid_mean_token_accuracy": "full_valid_mean_token_accuracy",
}


class ResultFiles:
    """Puts result files among the files of the project, holding the lock that keeps a starting server from sweeping."""

    def __init__(
        self, intake: FileIntake, *, storing: Callable[[], AbstractAsyncContextManager[Any]] = nullcontext
    ) -> None:
        self._intake = intake
        self._storing = storing

    async def keep(
        self,
        job: FineTuningJobRow,
        steps: Sequence[FineTuningStepRow],
        *,
        also: Callable[[Transaction, str], Awaitable[None]],
    ) -> None:
        """Keep the file, together with what `also` does in the same transaction with its id.

        Raises what `also` raises; then nothing is left of the file.
        """
        description = FileDescription(filename=FILENAME, purpose="fine-tune-results")
        async with self._storing():
            row = await self._intake.receive(job.project, _content(steps), lambda: description)
            await self._intake.keep(row, also=lambda tx: also(tx, row.id))


async def _content(steps: Sequence[FineTuningStepRow]) -> AsyncIterator[bytes]:
    yield write_csv(steps).encode()


def write_csv(steps: Sequence[FineTuningStepRow]) -> str:
    """Return the metrics of steps as CSV, with five decimals, and empty where there are none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", *_COLUMNS])
    for row in steps:
        values = (row.metrics.get(name) for name in _COLUMNS.values())
        writer.writerow([row.step, *("" if value is None else f"{value:.5f}" for value in values)])
    return text.getvalue()
