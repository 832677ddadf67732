"""How this server trains: settings that no request decides."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec

from openhearth.training.spec import DeviceChoice, DtypeChoice, LoraSpec, TrackerKind, TrainingMethod
from openhearth.training.trackers import find_tracker_obstacle

_PACKAGES = ("accelerate", "datasets", "peft", "torch", "transformers", "trl")


def find_training_obstacle(trackers: Sequence[TrackerKind] = ()) -> str | None:
    """Return what keeps this server from training, in a sentence that says what to do; `None` if nothing does."""
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if not missing:
        return find_tracker_obstacle(trackers)
    return (
        f"This server cannot train, because {', '.join(missing)} is not installed. Its operator has to run "
        "`pip install 'openhearth[train]'`."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """Learning rates are what a multiplier of 1 stands for. Seconds, tokens, examples, threads and processes.

    `trackers` are told about every job, under the project `tracker_project`.
    """

    learning_rate: float = 2e-4
    dpo_learning_rate: float = 5e-5
    lora: LoraSpec = field(default_factory=LoraSpec)
    device: DeviceChoice = "auto"
    dtype: DtypeChoice = "auto"
    num_processes: int | None = None
    num_threads: int = 1
    max_length: int | None = None
    max_micro_batch_size: int = 8
    snapshot_seconds: float = 300.0
    trackers: tuple[TrackerKind, ...] = ()
    tracker_project: str = "openhearth"

    def base_learning_rate(self, method: TrainingMethod) -> float:
        """Return the learning rate that a method's multiplier scales."""
        return self.dpo_learning_rate if method == "dpo" else self.learning_rate
