"""`/v1/embeddings`."""

import asyncio
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
from fastapi import APIRouter
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from openhearth.api.dependencies import AllowanceOf, ServicesOf
from openhearth.api.disconnect import until_disconnect
from openhearth.api.model_headers import model_headers
from openhearth.api.strict_json import StrictJSONRoute
from openhearth.schemas.embeddings import CreateEmbeddingRequest, CreateEmbeddingResponse, EncodingFormat
from openhearth.services.embeddings import EmbeddingResult

router = APIRouter(tags=["Embeddings"], route_class=StrictJSONRoute)

_VECTORS_AT_ONCE = 64
"""How many vectors are written between two chances for other requests; some tens of thousands of numbers."""


@router.post("/v1/embeddings", response_model=CreateEmbeddingResponse)
async def create_embedding(
    body: CreateEmbeddingRequest, request: Request, services: ServicesOf, allowance: AllowanceOf
) -> Response:
    """Turn one or more inputs into vectors."""
    result = await until_disconnect(request, services.embeddings.create(body, allowance))
    content = await written(result, body.encoding_format)
    return Response(content, headers=model_headers(result.model), media_type="application/json")


async def written(result: EmbeddingResult, encoding_format: EncodingFormat) -> bytes:
    """Return a `CreateEmbeddingResponse` as JSON, straight from the array."""
    encode = _ENCODERS[encoding_format]
    pieces: list[bytes] = []
    for start in range(0, len(result.vectors), _VECTORS_AT_ONCE):
        vectors = result.vectors[start : start + _VECTORS_AT_ONCE]
        data = [
            {"object": "embedding", "index": start + offset, "embedding": encode(vector)}
            for offset, vector in enumerate(vectors)
        ]
        pieces.append(orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1])
        await asyncio.sleep(0)
    usage = {"prompt_tokens": result.num_tokens, "total_tokens": result.num_tokens}
    rest = orjson.dumps({"model": result.model, "usage": usage})
    return b"".join((b'{"object":"list","data":[', b",".join(pieces), b"],", rest[1:]))


def _floats(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return vector


def _base64(vector: NDArray[np.float32]) -> str:
    return b64encode(vector.astype("<f4", copy=False).tobytes()).decode("ascii")


_ENCODERS: dict[EncodingFormat, Callable[[NDArray[np.float32]], Any]] = {"float": _floats, "base64": _base64}
