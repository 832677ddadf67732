"""The embeddings resource: turns inputs into vectors (contract: embeddings). Leaves computing to the engine."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from openhearth.engine.base import EmbeddingEngine
from openhearth.engine.embedding.vectors import shortened
from openhearth.errors import BadRequestError, InvalidValueError
from openhearth.schemas.embeddings import CreateEmbeddingRequest
from openhearth.services.model_host import LoadedEmbeddingModel, ModelHost
from openhearth.services.rate_limits import UNLIMITED, Allowance

MAX_INPUTS = 2048
MAX_TOKENS = 300_000


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingResult:
    """The vectors of a request, f32 `[inputs, dimensions]`, and the tokens they took."""

    model: str
    vectors: NDArray[np.float32]
    num_tokens: int


class Embeddings:
    """Creates embeddings. `matryoshka_models` are names whose vectors may be shortened, besides models that say so."""

    def __init__(self, host: ModelHost, *, matryoshka_models: Collection[str]) -> None:
        self._host = host
        self._matryoshka_models = frozenset(matryoshka_models)

    async def create(self, request: CreateEmbeddingRequest, allowance: Allowance = UNLIMITED) -> EmbeddingResult:
        """Return one vector for each input. Raises `APIError` if the request cannot be carried out."""
        inputs = _separate(request.input)
        _check_inputs(inputs)
        model = await self._host.get_embedding_model(request.model)
        self._check_dimensions(request, model)
        token_ids = await _read(inputs, model.engine)
        num_tokens = sum(map(len, token_ids))
        if num_tokens > MAX_TOKENS:
            raise BadRequestError(
                f"Requested {num_tokens} tokens, max {MAX_TOKENS} tokens per request.",
                param="input",
                code="max_tokens_per_request",
            )
        allowance.take_tokens(num_tokens, model=request.model)
        vectors = await model.engine.embed(token_ids)
        if request.dimensions is not None:
            vectors = shortened(vectors, request.dimensions)
        return EmbeddingResult(model=model.id, vectors=vectors, num_tokens=num_tokens)

    def _check_dimensions(self, request: CreateEmbeddingRequest, model: LoadedEmbeddingModel) -> None:
        spec = model.engine.spec
        if request.dimensions is None:
            return
        if not spec.is_matryoshka and request.model not in self._matryoshka_models:
            raise BadRequestError(
                "This model does not support specifying dimensions.", param="dimensions", code="unsupported_parameter"
            )
        if request.dimensions > spec.dimensions:
            raise BadRequestError(
                f"Invalid 'dimensions': integer above maximum value. Expected a value <= {spec.dimensions}, but got "
                f"{request.dimensions} instead.",
                param="dimensions",
                code="integer_above_max_value",
            )


def _separate(value: str | list[str] | list[int] | list[list[int]]) -> Sequence[str | list[int]]:
    """Return the inputs of a request one by one; an array of tokens is one of them."""
    if isinstance(value, str):
        return [value]
    return [value] if value and isinstance(value[0], int) else cast("list[str | list[int]]", value)


def _check_inputs(inputs: Sequence[str | list[int]]) -> None:
    if not inputs:
        raise InvalidValueError("'$.input' is invalid: an empty array has no inputs.", param="input")
    if len(inputs) > MAX_INPUTS:
        raise InvalidValueError(
            f"'$.input' is invalid: {len(inputs)} inputs were sent, and one request has at most {MAX_INPUTS}.",
            param="input",
        )
    for number, each in enumerate(inputs):
        if not each:
            kind = "string" if isinstance(each, str) else "array"
            raise InvalidValueError(f"'$.input' is invalid: input number {number} is an empty {kind}.", param="input")


async def _read(inputs: Sequence[str | list[int]], engine: EmbeddingEngine) -> Sequence[list[int]]:
    if isinstance(inputs[0], str):
        return await engine.encode(cast("Sequence[str]", inputs))
    return cast("Sequence[list[int]]", inputs)
