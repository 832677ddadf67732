"""What the trainer says while it works: one JSON object on each line of its standard output.

Imports no tensor library, so that whoever started the trainer can read the lines.
"""

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Started(_Report):
    """The data is read and the first step is about to be taken, behind `step`. Counts are of the whole run."""

    kind: Literal["started"] = "started"
    step: int
    total_steps: int
    trained_tokens: int


class Notice(_Report):
    """Something the user should know, once."""

    kind: Literal["notice"] = "notice"
    message: str


class StepMetrics(BaseModel):
    """What was measured at a step, in the words of the OpenAI reference; `None` is what was not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train_loss: float
    train_mean_token_accuracy: float
    valid_loss: float | None = None
    valid_mean_token_accuracy: float | None = None
    full_valid_loss: float | None = None
    full_valid_mean_token_accuracy: float | None = None


class StepDone(_Report):
    """A step was taken. A resumed run repeats the steps behind its checkpoint, with the same metrics."""

    kind: Literal["step"] = "step"
    step: int
    total_steps: int
    metrics: StepMetrics


class CheckpointSaved(_Report):
    """A checkpoint lies whole in `directory`, below the spec's `output_dir`; it is a PEFT adapter as well."""

    kind: Literal["checkpoint"] = "checkpoint"
    step: int
    directory: str
    is_epoch_end: bool


class Finished(_Report):
    """All steps were taken."""

    kind: Literal["finished"] = "finished"


class Stopped(_Report):
    """The run was asked to stop, and left a checkpoint."""

    kind: Literal["stopped"] = "stopped"


class Failed(_Report):
    """The run cannot go on, and trying again would not help. Members are those of the job's error."""

    kind: Literal["failed"] = "failed"
    code: str
    message: str
    param: str | None = None


Report = Started | Notice | StepDone | CheckpointSaved | Finished | Stopped | Failed
Tell = Callable[[Report], None]
"""Passes a report on to whoever started the trainer."""

_adapter: TypeAdapter[Report] = TypeAdapter(Annotated[Report, Field(discriminator="kind")])


def write_report(report: Report) -> str:
    """Return the line that says `report`, with its end."""
    return report.model_dump_json(exclude_none=True) + "\n"


def read_report(line: bytes | str) -> Report:
    """Return what a line says. Raises `ValueError` for a line that the trainer did not write."""
    return _adapter.validate_json(line)
