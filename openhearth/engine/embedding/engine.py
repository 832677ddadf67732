"""The embedding engine on CPU: the protocol's asynchronous face over a thread that computes batch after batch."""

import asyncio
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from openhearth.engine.base import EmbeddingSpec, EmbeddingStats
from openhearth.engine.embedding.batcher import Batcher, BatchItem, Request
from openhearth.engine.embedding.config import EmbeddingConfig
from openhearth.engine.embedding.limits import check_inputs
from openhearth.engine.embedding.model_runner import ModelRunner
from openhearth.engine.embedding.pooling import PoolingConfig
from openhearth.engine.embedding.tokenizer import Tokenizer
from openhearth.errors import RateLimitError, ServiceUnavailableError

logger = structlog.get_logger(__name__)

_SPEED_MEMORY = 0.9


class _Job:
    """A request, the vectors it has so far, and the caller that waits for them in its own event loop."""

    def __init__(self, inputs: Sequence[Sequence[int]], dimensions: int) -> None:
        self.request = Request(inputs)
        self.num_tokens = sum(map(len, inputs))
        self.num_missing = len(inputs)
        self.vectors: NDArray[np.float32] = np.empty((len(inputs), dimensions), dtype=np.float32)
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[NDArray[np.float32]] = self.loop.create_future()

    @property
    def is_running(self) -> bool:
        """Whether some vectors are there and others are not."""
        return self.num_missing < len(self.vectors)

    def resolve(self, error: Exception | None) -> None:
        """Give the caller its vectors, or the error; in its own event loop."""
        if self.future.done():
            return
        if error is None:
            self.future.set_result(self.vectors)
        else:
            self.future.set_exception(error)


class OpenVINOEmbeddingEngine:
    """Serves one model; see `engine/base.py` for what each method promises."""

    def __init__(self, model: Path, config: EmbeddingConfig) -> None:
        """Load the model in a Hugging Face directory; takes seconds. Raises `ModelLoadError`."""
        pooling = PoolingConfig.read(model)
        self._config = config
        self._runner = ModelRunner(model, config, pooling.mode)
        self._tokenizer = Tokenizer(model, prompt=pooling.prompt)
        self._batcher = Batcher(max_batch_tokens=config.max_batch_tokens)
        self._inbox: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._jobs: dict[Request, _Job] = {}
        self._is_closed = False
        self._num_tokens_computed = 0
        self._tokens_per_second = 1000.0
        self._thread = threading.Thread(target=self._run, name="embedding-engine", daemon=True)
        self._thread.start()

    @property
    def spec(self) -> EmbeddingSpec:
        """What the model is."""
        return self._runner.spec

    async def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text."""
        self._check_queue(0)
        return await self._tokenizer.encode(texts)

    async def embed(self, inputs: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return one vector for each input; nothing more is computed for a caller that is cancelled."""
        check_inputs(inputs, self.spec)
        job = _Job(inputs, self.spec.dimensions)
        self._check_queue(job.num_tokens)
        self._jobs[job.request] = job
        self._inbox.put(job.request)
        try:
            return await job.future
        finally:
            job.request.is_cancelled = True
            self._jobs.pop(job.request, None)

    def stats(self) -> EmbeddingStats:
        """Return a reading of the gauges and counters."""
        jobs = list(self._jobs.values())
        num_running = sum(job.is_running for job in jobs)
        return EmbeddingStats(
            num_requests_running=num_running,
            num_requests_waiting=len(jobs) - num_running,
            prompt_tokens=self._num_tokens_computed,
        )

    async def close(self) -> None:
        """Stop the thread; running requests end with an error."""
        self._is_closed = True
        self._inbox.put(None)
        await asyncio.to_thread(self._thread.join)
        _end(list(self._jobs.values()), ServiceUnavailableError("The server is shutting down."))

    def _check_queue(self, num_tokens: int) -> None:
        if self._is_closed:
            raise ServiceUnavailableError("The server is shutting down.")
        config = self._config
        num_waiting_tokens = sum(job.num_tokens for job in self._jobs.values())
        is_full = len(self._jobs) >= config.max_concurrent_requests
        if is_full or (self._jobs and num_waiting_tokens + num_tokens > config.max_waiting_tokens):
            raise RateLimitError(
                f"The server is working on {len(self._jobs)} requests and takes no more. Please try again later.",
                retry_after_seconds=min(60.0, max(1.0, num_waiting_tokens / self._tokens_per_second)),
            )

    def _run(self) -> None:
        while self._take_in():
            if batch := self._batcher.next_batch():
                self._compute(batch)

    def _take_in(self) -> bool:
        """Carry new requests over; waits while there is nothing to do. False ends the thread."""
        while True:
            try:
                request = self._inbox.get(block=not self._batcher.has_work)
            except queue.Empty:
                return True
            if request is None:
                return False
            self._batcher.add(request)

    def _compute(self, batch: list[BatchItem]) -> None:
        started = time.perf_counter()
        try:
            vectors = self._runner.run([item.token_ids for item in batch])
        except Exception as error:
            logger.exception("embedding_batch_failed")
            self._fail(batch, error)
            return
        num_tokens = sum(len(item.token_ids) for item in batch)
        speed = num_tokens / max(time.perf_counter() - started, 1e-6)
        self._num_tokens_computed += num_tokens
        self._tokens_per_second = max(1.0, _SPEED_MEMORY * self._tokens_per_second + (1 - _SPEED_MEMORY) * speed)
        self._deliver(batch, vectors)

    def _deliver(self, batch: list[BatchItem], vectors: NDArray[np.float32]) -> None:
        ended = []
        for item, vector in zip(batch, vectors, strict=True):
            job = self._jobs.get(item.request)
            if job is not None:  # a caller may have gone while its input was computed
                job.vectors[item.number] = vector
                job.num_missing -= 1
                if not job.num_missing:
                    ended.append(job)
        _end(ended)

    def _fail(self, batch: list[BatchItem], error: Exception) -> None:
        failure = ServiceUnavailableError("The model failed while computing this request; it is ready for others.")
        failure.__cause__ = error
        requests = {item.request for item in batch}
        _end([job for job in list(self._jobs.values()) if job.request in requests], failure)


def _end(jobs: list[_Job], error: Exception | None = None) -> None:
    """Give callers their vectors, or the error; from any thread, and waking each event loop once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = defaultdict(list)
    for job in jobs:
        job.request.is_cancelled = True
        by_loop[job.loop].append(job)
    for loop, ended in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve_all, ended, error)


def _resolve_all(jobs: list[_Job], error: Exception | None) -> None:
    for job in jobs:
        job.resolve(error)
