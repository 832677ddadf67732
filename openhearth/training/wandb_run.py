"""A run at Weights & Biases, which takes its key and its mode from its own settings."""

import os
from pathlib import Path

import wandb

from openhearth.training.spec import TrackerSpec


class WandbRun:
    """See `Tracker`."""

    def __init__(self, run: wandb.Run) -> None:
        self._run = run

    def log(self, metrics: dict[str, float], *, step: int) -> None:
        """See `Tracker.log`."""
        self._run.log(metrics, step=step)

    def finish(self, *, is_complete: bool) -> None:
        """See `Tracker.finish`; a run that has ended may be resumed just as well."""
        del is_complete
        self._run.finish()


def open_run(spec: TrackerSpec, directory: Path) -> WandbRun:
    """Begin or resume the run."""
    return WandbRun(
        wandb.init(
            project=spec.project,
            name=spec.name,
            entity=spec.entity,
            tags=list(spec.tags),
            id=spec.run_id,
            resume="allow",
            dir=os.environ.get("WANDB_DIR", directory),
        )
    )
