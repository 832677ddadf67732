"""The models resource: what can be asked for by name."""

from openhearth.catalog.catalog import Catalog
from openhearth.catalog.entry import ModelEntry
from openhearth.errors import ModelNotFoundError, NotFoundError, PermissionDeniedError
from openhearth.schemas.models import DeleteModelResponse, ListModelsResponse, Model


class Models:
    """Lists the models and aliases that can be served; leaves loading them to `ModelHost`."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def list(self) -> ListModelsResponse:
        """Return all models and aliases that can be served."""
        entries = (entry for entry in self._catalog.list() if entry.is_ready)
        return ListModelsResponse(object="list", data=[_model(entry) for entry in entries])

    def retrieve(self, model: str) -> Model:
        """Return one model or alias. Raises `NotFoundError`."""
        return _model(self._find(model))

    def delete(self, model: str) -> DeleteModelResponse:
        """Delete a fine-tuned model. Raises `PermissionDeniedError` for a base model, `NotFoundError` for none."""
        entry = self._find(model)
        raise PermissionDeniedError(
            f"The model '{entry.id}' is a base model; only fine-tuned models can be deleted.", param="model"
        )

    def _find(self, model: str) -> ModelEntry:
        try:
            entry = self._catalog.resolve(model)
        except ModelNotFoundError:
            entry = None
        if entry is None or not entry.is_ready:
            raise NotFoundError(f"The model '{model}' does not exist", param="model", code="model_not_found")
        return entry


def _model(entry: ModelEntry) -> Model:
    return Model(id=entry.id, object="model", created=entry.created, owned_by=entry.owned_by)
