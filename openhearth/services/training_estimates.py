"""How long a training run would take here: a few of its steps are made by the trainer itself, and thrown away."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from openhearth.errors import ConfigurationError
from openhearth.executor.base import Executor, Program
from openhearth.services.hyperparameters import Hyperparameters, numbers, resolve
from openhearth.services.training_config import TrainingConfig
from openhearth.training.reports import Failed, StepDone, read_report
from openhearth.training.spec import TrainingMethod, TrainingSpec

_SECONDS_TO_TIME = 10.0
_ENOUGH_EPOCHS = 3  # however few examples there are, they give more than one step


@dataclass(frozen=True, slots=True)
class TrainingEstimate:
    """What the run is taken to be, and how long its steps would take, in seconds, while nothing else runs."""

    n_epochs: int
    seconds: float


class TrainingEstimates:
    """Times training on this machine."""

    def __init__(
        self, executor: Executor, config: TrainingConfig, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._executor = executor
        self._config = config
        self._monotonic = monotonic

    async def estimate(
        self, file: Path, method: TrainingMethod, base_model: Path, *, num_examples: int, n_epochs: int | None = None
    ) -> TrainingEstimate:
        """Train for some seconds, and multiply: seconds for each example, times examples, times epochs.

        The first step, which is slower, does not count. Without `n_epochs`, it is what `auto` would come to. Raises
        `ConfigurationError` with the reason if the file cannot be trained on.
        """
        chosen = numbers(resolve(_method(method, n_epochs or "auto"), num_examples=num_examples))
        with TemporaryDirectory() as scratch:
            spec = self._spec(file, method, base_model, chosen, Path(scratch))
            (Path(scratch) / "spec.json").write_text(spec.model_dump_json(), encoding="utf-8")
            program = await self._executor.start(
                ["openhearth.training", str(Path(scratch) / "spec.json")], log=Path(scratch) / "log"
            )
            try:
                seconds_per_step = await self._time_steps(program)
            finally:
                await program.kill()
        return TrainingEstimate(chosen.n_epochs, seconds_per_step / spec.batch_size * num_examples * chosen.n_epochs)

    def _spec(
        self, file: Path, method: TrainingMethod, base_model: Path, chosen: Hyperparameters, scratch: Path
    ) -> TrainingSpec:
        config = self._config
        return TrainingSpec(
            method=method,
            base_model=base_model,
            training_file=file.absolute(),
            output_dir=scratch,
            n_epochs=_ENOUGH_EPOCHS,
            batch_size=min(chosen.batch_size, config.max_micro_batch_size * (config.num_processes or 1)),
            max_micro_batch_size=config.max_micro_batch_size,
            learning_rate=config.base_learning_rate(method),
            beta=chosen.beta,
            seed=0,
            max_length=config.max_length,
            lora=config.lora,
            device=config.device,
            dtype=config.dtype,
            num_processes=config.num_processes,
            num_threads=config.num_threads,
        )

    async def _time_steps(self, program: Program) -> float:
        times: list[float] = []
        async for line in program.lines():
            report = read_report(line)
            if isinstance(report, Failed):
                raise ConfigurationError(f"It cannot be trained on: {report.message}")
            if isinstance(report, StepDone):
                times.append(self._monotonic())
            if len(times) > 1 and times[-1] - times[0] >= _SECONDS_TO_TIME:
                break
        if len(times) < 2:
            raise ConfigurationError("The trainer ended before two steps were made, so no time can be estimated.")
        return (times[-1] - times[0]) / (len(times) - 1)


def _method(method: TrainingMethod, n_epochs: int | Literal["auto"]) -> dict[str, object]:
    open_values = {"batch_size": "auto", "learning_rate_multiplier": "auto", "n_epochs": n_epochs}
    if method == "dpo":
        open_values["beta"] = "auto"
    return {"type": method, method: {"hyperparameters": open_values}}
