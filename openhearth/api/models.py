"""`/v1/models`."""

from fastapi import APIRouter

from openhearth.api.dependencies import ServicesOf
from openhearth.schemas.models import DeleteModelResponse, ListModelsResponse, Model

router = APIRouter(tags=["Models"])


@router.get("/v1/models")
async def list_models(services: ServicesOf) -> ListModelsResponse:
    """List the models and aliases that can be served."""
    return services.models.list()


@router.get("/v1/models/{model:path}")
async def retrieve_model(model: str, services: ServicesOf) -> Model:
    """Describe one model or alias."""
    return services.models.retrieve(model)


@router.delete("/v1/models/{model:path}")
async def delete_model(model: str, services: ServicesOf) -> DeleteModelResponse:
    """Delete a fine-tuned model."""
    return services.models.delete(model)
