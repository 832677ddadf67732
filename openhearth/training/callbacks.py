"""How training is heard and steered: a step, a checkpoint, a wish to stop.

Measures validation at the steps that are due; what the numbers become is left to whoever reads the reports.
"""

import threading
import time
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from openhearth.training.checkpoints import seal
from openhearth.training.divergence import require_finite
from openhearth.training.reports import CheckpointSaved, StepDone, StepMetrics, Tell

VALIDATION_INTERVAL = 10
"""Steps from one look at a batch of the validation file to the next."""


class Validation:
    """Measures the loss on the validation file: on its first batch, or on the whole."""

    def __init__(self, trainer: Trainer, *, batch_size: int) -> None:
        self._trainer = trainer
        self._whole = trainer.eval_dataset
        self._batch = None if self._whole is None else self._whole.select(range(min(batch_size, len(self._whole))))

    def measure(self, *, is_full: bool) -> dict[str, float]:
        """Return the metrics of the batch, and of the whole if that is due; nothing without a validation file."""
        if self._whole is None:
            return {}
        measured = self._measure(self._batch, "valid")
        return measured | self._measure(self._whole, "full_valid") if is_full else measured

    def _measure(self, dataset: Any, name: str) -> dict[str, float]:
        metrics = self._trainer.evaluate(dataset)
        return {
            f"{name}_loss": metrics["eval_loss"],
            f"{name}_mean_token_accuracy": metrics["eval_mean_token_accuracy"],
        }


class Progress(TrainerCallback):  # type: ignore[misc]  # the library is untyped
    """Reports every step and every checkpoint, asks for checkpoints when they are due, and stops when asked."""

    def __init__(self, tell: Tell, *, steps_per_epoch: int, snapshot_seconds: float, stop: threading.Event) -> None:
        self.validation: Validation | None = None
        self._tell = tell
        self._steps_per_epoch = steps_per_epoch
        self._snapshot_seconds = snapshot_seconds
        self._stop = stop
        self._last_checkpoint = time.monotonic()

    def on_step_end(
        self, _args: TrainingArguments, state: TrainerState, control: TrainerControl, **_kwargs: Any
    ) -> TrainerControl:
        """Ask for a checkpoint at the end of an epoch, of the time or of the run; all processes do the same."""
        is_due = time.monotonic() - self._last_checkpoint >= self._snapshot_seconds
        stops, dues = zip(*gather_object([(self._stop.is_set(), is_due)]), strict=True)
        if any(stops):
            control.should_training_stop = True
        control.should_save = self._is_epoch_end(state) or any(stops) or any(dues)
        return control

    def on_log(
        self,
        _args: TrainingArguments,
        state: TrainerState,
        _control: TrainerControl,
        logs: dict[str, float],
        **_kwargs: Any,
    ) -> None:
        """Report the step that was just taken."""
        if "loss" not in logs:
            return
        require_finite(logs["loss"], step=state.global_step)
        metrics = StepMetrics(
            train_loss=logs["loss"],
            train_mean_token_accuracy=logs["mean_token_accuracy"],
            **self._measure_validation(state),
        )
        self._tell(StepDone(step=state.global_step, total_steps=state.max_steps, metrics=metrics))

    def on_save(self, args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_kwargs: Any) -> None:
        """Seal the checkpoint that all processes have written by now, and report it."""
        directory = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            seal(directory)
        self._last_checkpoint = time.monotonic()
        self._tell(
            CheckpointSaved(step=state.global_step, directory=directory.name, is_epoch_end=self._is_epoch_end(state))
        )

    def _is_epoch_end(self, state: TrainerState) -> bool:
        step: int = state.global_step
        return step % self._steps_per_epoch == 0

    def _measure_validation(self, state: TrainerState) -> dict[str, float]:
        is_full = self._is_epoch_end(state)
        if self.validation is None or not (is_full or state.global_step % VALIDATION_INTERVAL == 0):
            return {}
        return self.validation.measure(is_full=is_full)
