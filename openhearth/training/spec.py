"""What the trainer is told, as one frozen value that travels in a JSON file. Imports no tensor library."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

TrainingMethod = Literal["supervised", "dpo"]
DeviceChoice = Literal["auto", "cpu", "cuda", "mps"]
DtypeChoice = Literal["auto", "f32", "bf16"]
TrackerKind = Literal["wandb", "mlflow", "trackio"]


class LoraSpec(BaseModel):
    """The adapter to train, in PEFT's words; `target_modules` is `all-linear` or names separated by commas."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    r: Annotated[int, Field(ge=1)] = 16
    lora_alpha: Annotated[int, Field(ge=1)] = 32
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: str = "all-linear"


class TrackerSpec(BaseModel):
    """A run at a service that is told about the steps; a resumed run goes on under its `run_id`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: TrackerKind
    project: str
    name: str
    entity: str | None = None
    tags: tuple[str, ...] = ()
    run_id: str


class TrainingSpec(BaseModel):
    """One attempt at one training run.

    `init_adapter` is the adapter that training starts from; `resume_from` are checkpoints of this very run, the newest
    first: the first one that is whole is continued. Checkpoints are written below `output_dir`, at the end of each
    epoch and whenever `snapshot_seconds` have passed since the last one. The same spec gives the same weights, bit by
    bit, on the same machine with the same `num_threads`, however often the run was interrupted. Examples are cut
    after `max_length` tokens. Chat templates that write the date write that of `created_at` (Unix seconds), on whatever
    day the run goes on. `num_processes` is how many devices share a batch, `None` for all that there are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: TrainingMethod
    base_model: Path
    training_file: Path
    validation_file: Path | None = None
    output_dir: Path
    init_adapter: Path | None = None
    resume_from: tuple[Path, ...] = ()
    n_epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    max_micro_batch_size: Annotated[int, Field(ge=1)] = 8
    learning_rate: float = Field(gt=0)
    beta: Annotated[float, Field(gt=0)] = 0.1
    seed: int = Field(ge=0)
    max_length: Annotated[int | None, Field(ge=1)] = None
    lora: LoraSpec = LoraSpec()
    device: DeviceChoice = "auto"
    dtype: DtypeChoice = "auto"
    num_processes: Annotated[int | None, Field(ge=1)] = None
    num_threads: Annotated[int, Field(ge=1)] = 1
    trackers: tuple[TrackerSpec, ...] = ()
    snapshot_seconds: Annotated[float, Field(ge=0)] = 300.0
    created_at: float | None = None
