"""`/v1/fine_tuning/jobs` and `/v1/fine_tuning/checkpoints/…/permissions`."""

import re
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request

from openhearth.api.dependencies import ProjectOf, ServicesOf
from openhearth.api.strict_json import StrictJSONRoute
from openhearth.schemas.fine_tuning import (
    CreateFineTuningCheckpointPermissionRequest,
    CreateFineTuningJobRequest,
    DeleteFineTuningCheckpointPermissionResponse,
    FineTuningJob,
    ListFineTuningCheckpointPermissionResponse,
    ListFineTuningJobCheckpointsResponse,
    ListFineTuningJobEventsResponse,
    ListPaginatedFineTuningJobsResponse,
)

router = APIRouter(tags=["Fine-tuning"], route_class=StrictJSONRoute)

Limit = Annotated[int, Query(ge=1, le=1000)]
_METADATA = re.compile(r"metadata\[(.*)\]", re.DOTALL)


@router.post("/v1/fine_tuning/jobs")
async def create_fine_tuning_job(
    body: CreateFineTuningJobRequest, project: ProjectOf, services: ServicesOf
) -> FineTuningJob:
    """Create a fine-tuning job."""
    return await services.fine_tuning.create(project, body)


@router.get("/v1/fine_tuning/jobs")
async def list_paginated_fine_tuning_jobs(
    request: Request, project: ProjectOf, services: ServicesOf, after: str | None = None, limit: Limit = 20
) -> ListPaginatedFineTuningJobsResponse:
    """List the jobs of the project; `metadata[k]=v` chooses those with such metadata, `metadata=null` those without."""
    query = request.query_params
    metadata = {match[1]: query[name] for name in query if (match := _METADATA.fullmatch(name))}
    has_no_metadata = query.get("metadata") == "null"
    return await services.fine_tuning.list(
        project, metadata=metadata, has_no_metadata=has_no_metadata, after=after, limit=limit
    )


@router.get("/v1/fine_tuning/jobs/{fine_tuning_job_id}")
async def retrieve_fine_tuning_job(fine_tuning_job_id: str, project: ProjectOf, services: ServicesOf) -> FineTuningJob:
    """Describe one job."""
    return await services.fine_tuning.retrieve(project, fine_tuning_job_id)


@router.post("/v1/fine_tuning/jobs/{fine_tuning_job_id}/cancel")
async def cancel_fine_tuning_job(fine_tuning_job_id: str, project: ProjectOf, services: ServicesOf) -> FineTuningJob:
    """End a job before its time."""
    return await services.fine_tuning.cancel(project, fine_tuning_job_id)


@router.post("/v1/fine_tuning/jobs/{fine_tuning_job_id}/pause")
async def pause_fine_tuning_job(fine_tuning_job_id: str, project: ProjectOf, services: ServicesOf) -> FineTuningJob:
    """Stop a job for a while."""
    return await services.fine_tuning.pause(project, fine_tuning_job_id)


@router.post("/v1/fine_tuning/jobs/{fine_tuning_job_id}/resume")
async def resume_fine_tuning_job(fine_tuning_job_id: str, project: ProjectOf, services: ServicesOf) -> FineTuningJob:
    """Let a paused job go on."""
    return await services.fine_tuning.resume(project, fine_tuning_job_id)


@router.get("/v1/fine_tuning/jobs/{fine_tuning_job_id}/events")
async def list_fine_tuning_events(
    fine_tuning_job_id: str, project: ProjectOf, services: ServicesOf, after: str | None = None, limit: Limit = 20
) -> ListFineTuningJobEventsResponse:
    """List what happened to a job, newest first."""
    return await services.fine_tuning.list_events(project, fine_tuning_job_id, after=after, limit=limit)


@router.get("/v1/fine_tuning/jobs/{fine_tuning_job_id}/checkpoints")
async def list_fine_tuning_job_checkpoints(
    fine_tuning_job_id: str, project: ProjectOf, services: ServicesOf, after: str | None = None, limit: Limit = 10
) -> ListFineTuningJobCheckpointsResponse:
    """List the checkpoints of a job, latest step first."""
    return await services.fine_tuning.list_checkpoints(project, fine_tuning_job_id, after=after, limit=limit)


@router.post("/v1/fine_tuning/checkpoints/{fine_tuned_model_checkpoint:path}/permissions")
async def create_fine_tuning_checkpoint_permission(
    fine_tuned_model_checkpoint: str,
    body: CreateFineTuningCheckpointPermissionRequest,
    project: ProjectOf,
    services: ServicesOf,
) -> ListFineTuningCheckpointPermissionResponse:
    """Let other projects call a checkpoint."""
    return await services.checkpoint_permissions.create(project, fine_tuned_model_checkpoint, body.project_ids)


@router.get("/v1/fine_tuning/checkpoints/{fine_tuned_model_checkpoint:path}/permissions")
async def list_fine_tuning_checkpoint_permissions(
    fine_tuned_model_checkpoint: str,
    project: ProjectOf,
    services: ServicesOf,
    project_id: str | None = None,
    after: str | None = None,
    limit: Limit = 10,
    order: Literal["ascending", "descending"] = "descending",
) -> ListFineTuningCheckpointPermissionResponse:
    """List who may call a checkpoint."""
    return await services.checkpoint_permissions.list(
        project, fine_tuned_model_checkpoint, project_id=project_id, order=order, after=after, limit=limit
    )


@router.delete("/v1/fine_tuning/checkpoints/{fine_tuned_model_checkpoint:path}/permissions/{permission_id}")
async def delete_fine_tuning_checkpoint_permission(
    fine_tuned_model_checkpoint: str, permission_id: str, project: ProjectOf, services: ServicesOf
) -> DeleteFineTuningCheckpointPermissionResponse:
    """Take back the leave to call a checkpoint."""
    return await services.checkpoint_permissions.delete(project, fine_tuned_model_checkpoint, permission_id)
