"""A run at Weights & Biases, which takes its key and its mode from its own settings."""

import os
from pathlib import Path

import wandb

from openhearth.training.spec import TrackerSpec
from openhearth.training.trackers import ClientRun


def open_run(spec: TrackerSpec, directory: Path) -> ClientRun:
    """Begin or resume the run."""
    return ClientRun(
        wandb.init(
            project=spec.project,
            name=spec.name,
            entity=spec.entity,
            tags=list(spec.tags),
            id=spec.run_id,
            resume="allow",
            reinit="create_new",  # a job may be told about in several places
            dir=os.environ.get("WANDB_DIR", directory),
        )
    )
