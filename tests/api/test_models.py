"""The models resource, as the official client sees it."""

import pytest
from openai import NotFoundError, OpenAI, PermissionDeniedError

from openhearth.settings import DEFAULT_ALIASES, DEFAULT_EMBEDDING_ALIASES
from tests.servers import EMBEDDING_MODEL, MODEL


class TestListModels:
    """All names that can be used."""

    def test_models_and_aliases(self, client: OpenAI) -> None:
        """The list holds models and aliases, in the shape of the reference."""
        models = client.models.list()

        assert {model.id for model in models} == {
            MODEL,
            EMBEDDING_MODEL,
            *DEFAULT_ALIASES,
            *DEFAULT_EMBEDDING_ALIASES,
        }
        assert {model.object for model in models} == {"model"}
        assert all(model.created > 0 for model in models)
        assert all(model.owned_by for model in models)


class TestRetrieveModel:
    """One name."""

    @pytest.mark.parametrize("name", [MODEL, "gpt-4o-mini"])
    def test_known(self, client: OpenAI, name: str) -> None:
        """A model and an alias describe themselves."""
        assert client.models.retrieve(name).id == name

    @pytest.mark.parametrize("name", ["nobody", "ft:gpt-4o-mini:me::abc", "org/model name"])
    def test_unknown(self, client: OpenAI, name: str) -> None:
        """An unknown id is a 404 that names it, also with the characters that ids may have."""
        with pytest.raises(NotFoundError) as caught:
            client.models.retrieve(name)

        assert caught.value.body == {
            "message": f"The model '{name}' does not exist",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }


class TestDeleteModel:
    """Only fine-tuned models can be deleted."""

    def test_base_model(self, client: OpenAI) -> None:
        """A base model stays."""
        with pytest.raises(PermissionDeniedError):
            client.models.delete(MODEL)

        assert client.models.retrieve(MODEL).id == MODEL

    def test_unknown(self, client: OpenAI) -> None:
        """An unknown id is a 404."""
        with pytest.raises(NotFoundError) as caught:
            client.models.delete("nobody")

        assert (caught.value.param, caught.value.code) == ("model", "model_not_found")
