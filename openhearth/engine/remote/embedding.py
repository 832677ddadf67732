"""The embedding engine whose computing is done by another server, behind any OpenAI-compatible base URL.

Tokens are made here, with the model's own tokenizer, so that an input that is too long is refused with both numbers,
whatever the other server would make of it.
"""

import json
from base64 import b64decode
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhearth.engine.base import EmbeddingSpec, EmbeddingStats
from openhearth.engine.embedding.limits import check_inputs
from openhearth.engine.embedding.tokenizer import Tokenizer, default_prompt
from openhearth.engine.embedding.vectors import normalized
from openhearth.engine.remote.client import RemoteClient
from openhearth.engine.remote.config import RemoteConfig
from openhearth.errors import ModelLoadError, RateLimitError, ServiceUnavailableError

_INPUTS_AT_ONCE = 64
"""How many inputs travel together; for a caller that has gone, no more are sent."""


class RemoteEmbeddingEngine:
    """One model on another server; see `engine/base.py` for what each method promises."""

    def __init__(self, config: RemoteConfig, *, max_concurrent_requests: int = 512) -> None:
        """Read tokenizer and configuration; the server is not asked before the first request.

        Raises `ModelLoadError` if they do not say what has to be known.
        """
        self._spec = _read_spec(config)
        self._tokenizer = Tokenizer(config.tokenizer, prompt=default_prompt(config.tokenizer))
        self._client = RemoteClient(config)
        self._max_concurrent_requests = max_concurrent_requests
        self._num_running = 0
        self._num_tokens = 0
        self._is_closed = False

    @property
    def spec(self) -> EmbeddingSpec:
        """What the model is."""
        return self._spec

    async def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text."""
        self._check_queue()
        return await self._tokenizer.encode(texts)

    async def embed(self, inputs: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return one vector for each input; nothing more is asked for when the caller is cancelled."""
        check_inputs(inputs, self._spec)
        self._check_queue()
        self._num_running += 1
        try:
            starts = range(0, len(inputs), _INPUTS_AT_ONCE)
            parts = [await self._embed(inputs[start : start + _INPUTS_AT_ONCE]) for start in starts]
        finally:
            self._num_running -= 1
        return normalized(np.concatenate(parts))

    def stats(self) -> EmbeddingStats:
        """Return a reading of the gauges and counters, as far as they can be seen from here."""
        return EmbeddingStats(
            num_requests_running=self._num_running, num_requests_waiting=0, prompt_tokens=self._num_tokens
        )

    async def close(self) -> None:
        """Close the connections; running requests end with an error."""
        self._is_closed = True
        await self._client.close()

    async def _embed(self, inputs: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        self._check_open()
        members = {"input": [list(token_ids) for token_ids in inputs], "encoding_format": "base64"}
        vectors = _read_vectors(await self._client.create_embeddings(members))
        if vectors.shape != (len(inputs), self._spec.dimensions):
            raise ServiceUnavailableError(
                f"The server behind this model sent vectors of the shape {vectors.shape}, and {len(inputs)} of "
                f"{self._spec.dimensions} dimensions were expected; it may serve another model."
            )
        self._num_tokens += sum(map(len, inputs))
        return vectors

    def _check_queue(self) -> None:
        self._check_open()
        if self._num_running >= self._max_concurrent_requests:
            raise RateLimitError(
                f"The server is working on {self._num_running} requests and takes no more. Please try again later.",
                retry_after_seconds=1.0,
            )

    def _check_open(self) -> None:
        if self._is_closed:
            raise ServiceUnavailableError("The server is shutting down.")


def _read_spec(config: RemoteConfig) -> EmbeddingSpec:
    path = config.tokenizer / "config.json"
    content: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
    dimensions = content.get("hidden_size") or content.get("dim")
    max_model_len = config.max_model_len or content.get("max_position_embeddings")
    if not (dimensions and max_model_len and content.get("vocab_size")):
        raise ModelLoadError(
            f"How large the vectors of {config.model} are, or how many tokens it takes, is not known: put the model's "
            f"config.json into {config.tokenizer}, and set 'max_model_len' of the remote if it does not say it."
        )
    return EmbeddingSpec(
        dimensions=dimensions,
        max_model_len=max_model_len,
        vocab_size=content["vocab_size"],
        is_matryoshka=bool(content.get("is_matryoshka") or content.get("matryoshka_dimensions")),
    )


def _read_vectors(answer: dict[str, Any]) -> NDArray[np.float32]:
    """Read the vectors of an answer, in the order of their inputs; servers may send numbers all the same."""
    try:
        data: list[dict[str, Any]] = sorted(answer["data"], key=lambda each: each["index"])
        return np.stack([_read_vector(each["embedding"]) for each in data])
    except (KeyError, TypeError, ValueError) as error:
        raise ServiceUnavailableError("The server behind this model does not speak the OpenAI API.") from error


def _read_vector(value: str | list[float]) -> NDArray[np.float32]:
    if isinstance(value, str):
        return np.frombuffer(b64decode(value), dtype="<f4").astype(np.float32)
    return np.array(value, dtype=np.float32)
