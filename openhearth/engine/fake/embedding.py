"""`FakeEmbeddingEngine`: the whole `EmbeddingEngine` protocol without weights, for tests and for trying a client.

A token is a byte. Member `d` of a vector is one more than the number of tokens that are `d` modulo the number of
dimensions, before the vector gets the length 1.
"""

import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from openhearth.engine.base import EmbeddingSpec, EmbeddingStats
from openhearth.engine.embedding.limits import check_inputs
from openhearth.errors import RateLimitError, ServiceUnavailableError

_VOCABULARY_SIZE = 256


class FakeEmbeddingEngine:
    """An `EmbeddingEngine` that needs no weights; `step_seconds` is how long it takes to compute one input."""

    def __init__(
        self,
        *,
        dimensions: int = 8,
        max_model_len: int = 512,
        max_concurrent_requests: int = 64,
        is_matryoshka: bool = False,
        step_seconds: float = 0.0,
    ) -> None:
        self._spec = EmbeddingSpec(
            dimensions=dimensions,
            max_model_len=max_model_len,
            vocab_size=_VOCABULARY_SIZE,
            is_matryoshka=is_matryoshka,
        )
        self._max_concurrent_requests = max_concurrent_requests
        self._step_seconds = step_seconds
        self._num_running = 0
        self._num_tokens = 0
        self._is_closed = False

    @property
    def spec(self) -> EmbeddingSpec:
        """What the model is said to be."""
        return self._spec

    async def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the UTF-8 bytes of each text."""
        self._check_queue()
        return [list(text.encode()) for text in texts]

    async def embed(self, inputs: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return one vector for each input, after the time that computing them takes."""
        check_inputs(inputs, self._spec)
        self._check_queue()
        self._num_running += 1
        try:
            return np.stack([await self._compute(token_ids) for token_ids in inputs])
        finally:
            self._num_running -= 1

    def stats(self) -> EmbeddingStats:
        """Return a reading of the gauges and counters."""
        return EmbeddingStats(
            num_requests_running=self._num_running, num_requests_waiting=0, prompt_tokens=self._num_tokens
        )

    async def close(self) -> None:
        """End running requests with an error."""
        self._is_closed = True

    async def _compute(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        await asyncio.sleep(self._step_seconds)
        self._check_open()
        self._num_tokens += len(token_ids)
        counts = np.bincount(np.asarray(token_ids) % self._spec.dimensions, minlength=self._spec.dimensions) + 1
        vector: NDArray[np.float32] = (counts / np.linalg.norm(counts)).astype(np.float32)
        return vector

    def _check_queue(self) -> None:
        self._check_open()
        if self._num_running >= self._max_concurrent_requests:
            raise RateLimitError("The queue is full. Try again later.", retry_after_seconds=1.0)

    def _check_open(self) -> None:
        if self._is_closed:
            raise ServiceUnavailableError("The engine was closed.")
