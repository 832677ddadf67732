"""`/v1/models`."""

from fastapi import APIRouter

from openhearth.api.dependencies import ProjectOf, ServicesOf
from openhearth.schemas.models import DeleteModelResponse, ListModelsResponse, Model

router = APIRouter(tags=["Models"])


@router.get("/v1/models")
async def list_models(project: ProjectOf, services: ServicesOf) -> ListModelsResponse:
    """List the models, aliases and tuned models that can be served."""
    return await services.models.list(project)


@router.get("/v1/models/{model:path}")
async def retrieve_model(model: str, project: ProjectOf, services: ServicesOf) -> Model:
    """Describe one model or alias."""
    return await services.models.retrieve(project, model)


@router.delete("/v1/models/{model:path}")
async def delete_model(model: str, project: ProjectOf, services: ServicesOf) -> DeleteModelResponse:
    """Delete a fine-tuned model."""
    return await services.models.delete(project, model)
