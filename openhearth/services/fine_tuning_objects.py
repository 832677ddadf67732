"""Fine-tuning rows as clients see them, and the words of events."""

from collections.abc import Mapping
from typing import Any, Literal

from openhearth import ids
from openhearth.schemas.fine_tuning import (
    FineTuningCheckpointPermission,
    FineTuningJob,
    FineTuningJobCheckpoint,
    FineTuningJobEvent,
)
from openhearth.store.tables import (
    CheckpointPermissionRow,
    FineTuningCheckpointRow,
    FineTuningEventRow,
    FineTuningJobRow,
    FineTuningStepRow,
)


def wire_job(row: FineTuningJobRow, *, organization: str) -> FineTuningJob:
    """Return the row as clients see it."""
    kind = row.method["type"]
    return FineTuningJob.model_validate(
        {
            "id": row.id,
            "object": "fine_tuning.job",
            "created_at": int(row.created_at),
            "finished_at": _seconds(row.finished_at),
            "model": row.model,
            "fine_tuned_model": row.fine_tuned_model,
            "organization_id": f"org-{organization}",
            "status": row.status,
            "hyperparameters": row.method[kind]["hyperparameters"] if kind == "supervised" else None,
            "method": row.method,
            "training_file": row.training_file,
            "validation_file": row.validation_file,
            "result_files": row.result_files,
            "trained_tokens": row.trained_tokens if row.status == "succeeded" else None,
            "error": row.error,
            "seed": row.seed,
            "integrations": row.integrations,
            "estimated_finish": _seconds(row.estimated_finish) if row.status == "running" else None,
            "metadata": row.metadata_,
            "user_provided_suffix": row.suffix,
        }
    )


def wire_event(row: FineTuningEventRow) -> FineTuningJobEvent:
    """Return the row as clients see it."""
    return FineTuningJobEvent.model_validate(
        {
            "id": row.id,
            "object": "fine_tuning.job.event",
            "created_at": int(row.created_at),
            "level": row.level,
            "message": row.message,
            "type": row.type,
            "data": row.data,
        }
    )


def wire_checkpoint(row: FineTuningCheckpointRow, step: FineTuningStepRow) -> FineTuningJobCheckpoint:
    """Return the rows as clients see them."""
    return FineTuningJobCheckpoint.model_validate(
        {
            "id": row.id,
            "object": "fine_tuning.job.checkpoint",
            "created_at": int(row.created_at),
            "fine_tuning_job_id": row.fine_tuning_job_id,
            "fine_tuned_model_checkpoint": row.model_name,
            "step_number": row.step,
            "metrics": {"step": row.step, **step.metrics},
        }
    )


def wire_permission(row: CheckpointPermissionRow) -> FineTuningCheckpointPermission:
    """Return the row as clients see it."""
    return FineTuningCheckpointPermission(
        id=row.id, object="checkpoint.permission", created_at=int(row.created_at), project_id=row.project
    )


def event(
    job_id: str,
    message: str,
    *,
    now: float,
    key: str | None = None,
    level: Literal["info", "warn", "error"] = "info",
    data: Mapping[str, Any] | None = None,
) -> FineTuningEventRow:
    """Return a new event that says something; with a `key`, the job takes it in once."""
    event_id = ids.fine_tuning_event_id()
    return FineTuningEventRow(
        fine_tuning_job_id=job_id,
        id=event_id,
        key=key or event_id,
        created_at=now,
        level=level,
        message=message,
        type="message",
        data={} if data is None else dict(data),
    )


def metrics_event(
    job_id: str, step: int, total_steps: int, metrics: Mapping[str, float], *, now: float
) -> FineTuningEventRow:
    """Return the event that shows what was measured at a step."""
    losses = [
        f"{words} loss={metrics[name]:.2f}"
        for name, words in (
            ("train_loss", "training"),
            ("valid_loss", "validation"),
            ("full_valid_loss", "full validation"),
        )
        if name in metrics
    ]
    data = {"step": step, "total_steps": total_steps, **metrics}
    shown = event(job_id, f"Step {step}/{total_steps}: {', '.join(losses)}", now=now, key=f"step-{step}", data=data)
    shown.type = "metrics"
    return shown


def _seconds(time: float | None) -> int | None:
    return None if time is None else int(time)
