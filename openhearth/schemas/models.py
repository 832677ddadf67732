"""The models resource (contract: models)."""

from typing import Literal

from openhearth.schemas.shared import ResponseModel


class Model(ResponseModel):
    """A name under which a model can be used."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ListModelsResponse(ResponseModel):
    """All models and aliases."""

    object: Literal["list"]
    data: list[Model]


class DeleteModelResponse(ResponseModel):
    """The model that is gone."""

    id: str
    object: Literal["model"]
    deleted: bool
