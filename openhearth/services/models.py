"""The models resource: what can be asked for by name."""

from openhearth.catalog.catalog import Catalog
from openhearth.catalog.entry import ModelEntry
from openhearth.errors import ModelNotFoundError, NotFoundError, PermissionDeniedError
from openhearth.schemas.models import DeleteModelResponse, ListModelsResponse, Model
from openhearth.services.tuned_models import TunedModel, TunedModels


class Models:
    """Lists the models, aliases and tuned models that can be served; leaves loading them to `ModelHost`."""

    def __init__(self, catalog: Catalog, tuned_models: TunedModels, *, organization: str) -> None:
        self._catalog = catalog
        self._tuned_models = tuned_models
        self._organization = organization

    async def list(self, project: str) -> ListModelsResponse:
        """Return all models and aliases that can be served, then the tuned models that this project may call."""
        base = [_model(entry) for entry in self._catalog.list() if entry.is_ready]
        tuned = [self._tuned_model(model) for model in await self._tuned_models.list(project)]
        return ListModelsResponse(object="list", data=[*base, *tuned])

    async def retrieve(self, project: str, model: str) -> Model:
        """Return one model or alias. Raises `NotFoundError`."""
        tuned = await self._tuned_models.find(project, model)
        return _model(self._find(model)) if tuned is None else self._tuned_model(tuned)

    async def delete(self, project: str, model: str) -> DeleteModelResponse:
        """Delete a tuned model. Raises `NotFoundError`, and `PermissionDeniedError` for one of somebody else's."""
        tuned = await self._tuned_models.find(project, model)
        if tuned is None:
            entry = self._find(model)
            raise PermissionDeniedError(
                f"The model '{entry.id}' is a base model; only fine-tuned models can be deleted.", param="model"
            )
        if tuned.project != project:
            raise PermissionDeniedError(
                f"The model '{model}' belongs to another project; this one may only call it.", param="model"
            )
        await self._tuned_models.delete(tuned)
        return DeleteModelResponse(id=model, object="model", deleted=True)

    def _find(self, model: str) -> ModelEntry:
        try:
            entry = self._catalog.resolve(model)
        except ModelNotFoundError:
            entry = None
        if entry is None or not entry.is_ready:
            raise NotFoundError(f"The model '{model}' does not exist", param="model", code="model_not_found")
        return entry

    def _tuned_model(self, model: TunedModel) -> Model:
        return Model(id=model.name, object="model", created=int(model.created_at), owned_by=self._organization)


def _model(entry: ModelEntry) -> Model:
    return Model(id=entry.id, object="model", created=entry.created, owned_by=entry.owned_by)
