"""Metrics for Weights & Biases, through its own client, which takes its key and its mode from its own settings.

A service that cannot be reached is a notice to the user, and no reason to stop training.
"""

import os
from pathlib import Path

import wandb

from openhearth.training.reports import Finished, Notice, Report, StepDone, Stopped, Tell
from openhearth.training.spec import WandbSpec


def connect(spec: WandbSpec, tell: Tell, *, directory: Path) -> Tell:
    """Return a `tell` that passes every report on, and logs the steps among them to the run."""
    try:
        run = wandb.init(
            project=spec.project,
            name=spec.name,
            entity=spec.entity,
            tags=list(spec.tags),
            id=spec.run_id,
            resume="allow",
            dir=os.environ.get("WANDB_DIR", directory),
        )
    except wandb.Error as error:
        tell(Notice(message=f"Weights & Biases cannot be told about this job: {error}"))
        return tell

    def tell_both(report: Report) -> None:
        tell(report)
        if isinstance(report, StepDone):
            run.log(report.metrics.model_dump(exclude_none=True), step=report.step)
        elif isinstance(report, Finished | Stopped):
            run.finish()

    return tell_both
