"""How a few timed steps become an estimate, with a program that only says what it did."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from openhearth.errors import ConfigurationError
from openhearth.services.training_config import TrainingConfig
from openhearth.services.training_estimates import TrainingEstimates
from openhearth.training.reports import Failed, Report, Started, StepDone, StepMetrics, write_report
from openhearth.training.spec import TrainingSpec

METRICS = StepMetrics(train_loss=1.0, train_mean_token_accuracy=0.5)
START = Started(step=0, total_steps=100, trained_tokens=1000)


class Script:
    """A program that says what it is told to, and an executor that starts it."""

    def __init__(self, *reports: Report) -> None:
        self.reports = reports
        self.num_said = 0
        self.is_killed = False
        self.spec: TrainingSpec | None = None

    async def start(self, arguments: Sequence[str], *, log: Path) -> "Script":
        """Remember the spec."""
        self.spec = TrainingSpec.model_validate_json(Path(arguments[1]).read_bytes())
        assert log.parent.is_dir()
        return self

    async def lines(self) -> AsyncIterator[bytes]:
        """Say everything there is."""
        for report in self.reports:
            self.num_said += 1
            yield write_report(report).encode()

    async def ask_to_stop(self) -> None:
        """Ignore it."""

    async def kill(self) -> int:
        """Remember that it was ended."""
        self.is_killed = True
        return -9

    async def wait(self) -> int:
        """End well."""
        return 0


def steps(count: int) -> list[StepDone]:
    """Return the reports of so many steps."""
    return [StepDone(step=number, total_steps=100, metrics=METRICS) for number in range(1, count + 1)]


def estimates(script: Script, *times: float, num_processes: int | None = None) -> TrainingEstimates:
    """Return the service over a program whose steps end at these times."""
    config = TrainingConfig(max_micro_batch_size=4, num_processes=num_processes)
    return TrainingEstimates(script, config, monotonic=iter(times).__next__)


async def test_seconds_for_each_example(tmp_path: Path) -> None:
    """What the steps behind the first one take is spread over their examples, and the program is ended."""
    script = Script(START, *steps(5))

    found = await estimates(script, 0.0, 4.0, 8.0, 12.0).estimate(
        tmp_path / "f", "supervised", tmp_path, num_examples=1500, n_epochs=2
    )

    assert script.spec is not None
    assert script.spec.batch_size == 3
    assert found.n_epochs == 2
    assert found.seconds == pytest.approx(4.0 / 3 * 1500 * 2)
    assert (script.num_said, script.is_killed) == (5, True)


@pytest.mark.parametrize(("num_processes", "batch_size"), [(None, 4), (1, 4), (3, 12)])
async def test_large_batches_are_timed_in_part(tmp_path: Path, num_processes: int | None, batch_size: int) -> None:
    """A batch is timed with no more examples than are computed at once, by all devices."""
    script = Script(START, *steps(2))
    service = estimates(script, 0.0, 2.0, num_processes=num_processes)

    found = await service.estimate(tmp_path / "f", "dpo", tmp_path, num_examples=100_000)

    assert script.spec is not None
    assert script.spec.batch_size == batch_size
    assert found.seconds == pytest.approx(2.0 / batch_size * 100_000 * found.n_epochs)


@pytest.mark.parametrize(
    ("reports", "complaint"),
    [([Failed(code="out_of_memory", message="Too large.", param=None)], "Too large."), (steps(1), "before two steps")],
)
async def test_no_steps(tmp_path: Path, reports: list[Report], complaint: str) -> None:
    """A file that cannot be trained on has no estimate, and the reason is given."""
    with pytest.raises(ConfigurationError, match=complaint):
        await estimates(Script(*reports), 0.0).estimate(tmp_path / "f", "supervised", tmp_path, num_examples=20)
