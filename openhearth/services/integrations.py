"""Integrations: the runs at other services that are told about a job's steps."""

from typing import Any

from openhearth.schemas.fine_tuning import CreateFineTuningJobRequest
from openhearth.services.training_config import TrainingConfig
from openhearth.store.tables import FineTuningJobRow
from openhearth.training.spec import TrackerSpec

_LONGEST_TAG = 64
"""For Weights & Biases, which refuses a run with a longer one."""


def requested_integrations(request: CreateFineTuningJobRequest, job_id: str) -> list[dict[str, Any]]:
    """Return the integrations as the job object shows them: each with the `run_id` to find it by.

    The first run has the id of the job, the second that id and `-2`, for two of them may be in the same project.
    """
    return [
        {
            "type": integration.type,
            "wandb": integration.wandb.model_dump() | {"run_id": job_id if number == 1 else f"{job_id}-{number}"},
        }
        for number, integration in enumerate(request.integrations or (), start=1)
    ]


def trackers(job: FineTuningJobRow, config: TrainingConfig) -> tuple[TrackerSpec, ...]:
    """Return the runs that are told about a job: those it asked for, and those that are told of every job."""
    tags = ("openai/finetune", f"openai/{job.base_model}"[:_LONGEST_TAG], f"openai/{job.id}")
    asked = (_wandb(integration["wandb"], job, tags) for integration in job.integrations)
    always = (
        TrackerSpec(kind=kind, project=config.tracker_project, name=job.id, tags=tags, run_id=job.id)
        for kind in config.trackers
    )
    return (*asked, *always)


def _wandb(wanted: dict[str, Any], job: FineTuningJobRow, tags: tuple[str, ...]) -> TrackerSpec:
    """Return the run at Weights & Biases that a job asks for, with the tags that the reference adds."""
    return TrackerSpec(
        kind="wandb",
        project=wanted["project"],
        name=wanted["name"] or job.id,
        entity=wanted["entity"],
        tags=(*wanted["tags"], *tags),
        run_id=wanted.get("run_id", job.id),  # older jobs have one run, and do not show its id
    )
