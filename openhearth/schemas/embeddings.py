"""The embeddings resource (contract: embeddings). How long and how many inputs may be is for the service to say."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticKnownError

from openhearth.schemas.shared import RequestModel, ResponseModel
from openhearth.schemas.variants import chosen_by, variant


def _form_of_input(value: Any) -> str | None:
    if isinstance(value, str):
        return "string"
    if not isinstance(value, list):
        return None
    first = value[0] if value else ""
    return "strings" if isinstance(first, str) else "token arrays" if isinstance(first, list) else "tokens"


def _not_null(value: Any) -> Any:
    if value is None:
        raise PydanticKnownError("int_type")
    return value


EmbeddingInput = Annotated[
    Annotated[str, variant("string")]
    | Annotated[list[str], variant("strings")]
    | Annotated[list[int], variant("tokens")]
    | Annotated[list[list[int]], variant("token arrays")],
    chosen_by(_form_of_input, expected="a string or an array"),
]
EncodingFormat = Literal["float", "base64"]
Dimensions = Annotated[
    int | None, Field(ge=1), BeforeValidator(_not_null), WithJsonSchema({"type": "integer", "minimum": 1})
]


class CreateEmbeddingRequest(RequestModel):
    """A request to turn one or more inputs into vectors."""

    input: EmbeddingInput
    model: str
    encoding_format: EncodingFormat = "float"
    dimensions: Dimensions = None
    user: str = ""


class Embedding(ResponseModel):
    """The vector of one input: numbers, or their bytes as 32-bit floats in base64."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(ResponseModel):
    """The tokens of all inputs."""

    prompt_tokens: int
    total_tokens: int


class CreateEmbeddingResponse(ResponseModel):
    """One vector for each input, in their order."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
