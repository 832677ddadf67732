"""What every embedding engine promises, whatever it computes with.

To put another engine under this suite, add it to `BUILDERS`: a function that takes the limits of `EngineBuilder` and
returns the engine.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Protocol

import numpy as np
import pytest

from openhearth.engine.base import EmbeddingEngine
from openhearth.engine.embedding.config import EmbeddingConfig
from openhearth.engine.fake.embedding import FakeEmbeddingEngine
from openhearth.engine.fake.engine import FakeTextEngine
from openhearth.engine.registry import load_embedding_engine
from openhearth.engine.remote.config import RemoteConfig
from openhearth.engine.remote.embedding import RemoteEmbeddingEngine
from openhearth.errors import (
    ContextLengthExceededError,
    InvalidValueError,
    RateLimitError,
    ServiceUnavailableError,
)
from openhearth.logs import configure_logging
from tests.servers import EMBEDDING_MODEL, make_settings, run_server
from tests.tiny_encoders import build_tiny_encoder

TEXTS = ["The quick brown fox jumps over the lazy dog.", "Café, naïve; 12345 + 67890.", "x", "日本語" * 5]


class EngineBuilder(Protocol):
    """Makes an engine with small limits."""

    def __call__(self, *, max_concurrent_requests: int = 64) -> EmbeddingEngine:
        """Return a running engine; the suite closes it."""
        ...


def build_fake(*, max_concurrent_requests: int = 64) -> EmbeddingEngine:
    """Build the engine that needs no weights, slow enough to be overtaken."""
    return FakeEmbeddingEngine(max_concurrent_requests=max_concurrent_requests, step_seconds=0.001)


@cache
def tiny_model() -> Path:
    """Return an encoder with random weights, made once."""
    return build_tiny_encoder(Path(mkdtemp(prefix="openhearth-test-")))


def build_openvino(*, max_concurrent_requests: int = 64) -> EmbeddingEngine:
    """Build the CPU engine over a tiny model."""
    config = EmbeddingConfig(dtype="f32", max_batch_tokens=256, max_concurrent_requests=max_concurrent_requests)
    return load_embedding_engine(tiny_model(), config)


def build_remote(*, max_concurrent_requests: int = 64) -> EmbeddingEngine:
    """Build the engine that lets another openhearth compute, with that server over the same tiny model."""
    return EngineWithServer(build_openvino(), max_concurrent_requests=max_concurrent_requests)


class EngineWithServer(RemoteEmbeddingEngine):
    """A remote engine that ends its server when it is closed."""

    def __init__(self, computing: EmbeddingEngine, *, max_concurrent_requests: int) -> None:
        self._servers = ExitStack()
        settings = make_settings(Path(mkdtemp()))
        server = self._servers.enter_context(run_server(settings, FakeTextEngine(), embedding_engine=computing))
        config = RemoteConfig(base_url=f"{server.url}/v1", model=EMBEDDING_MODEL, tokenizer=tiny_model())
        super().__init__(config, max_concurrent_requests=max_concurrent_requests)

    async def close(self) -> None:
        """Close the connections, then the server."""
        await super().close()
        await asyncio.to_thread(self._servers.close)


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    """Keep the access log of the servers behind remote engines out of the tests' output."""
    configure_logging("error", "json")


BUILDERS: dict[str, Callable[..., EmbeddingEngine]] = {
    "fake": build_fake,
    "openvino": build_openvino,
    "remote": build_remote,
}


@pytest.fixture(params=list(BUILDERS))
async def build(request: pytest.FixtureRequest) -> AsyncIterator[EngineBuilder]:
    """Give the builder of one implementation, and close what it built."""
    engines: list[EmbeddingEngine] = []

    def build_and_remember(**limits: int) -> EmbeddingEngine:
        engines.append(BUILDERS[request.param](**limits))
        return engines[-1]

    yield build_and_remember
    for engine in engines:
        await engine.close()


class TestVectors:
    """What comes back."""

    async def test_shape_and_length(self, build: EngineBuilder) -> None:
        """Each input has one vector, in 32 bits, of length 1."""
        engine = build()

        vectors = await engine.embed(await engine.encode(TEXTS))

        assert vectors.shape == (len(TEXTS), engine.spec.dimensions)
        assert vectors.dtype == np.float32
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)

    async def test_order(self, build: EngineBuilder) -> None:
        """Vectors are in the order of their inputs, and what is computed beside an input does not change it."""
        engine = build()
        inputs = await engine.encode(TEXTS)

        together = await engine.embed(inputs)
        alone = [(await engine.embed([token_ids]))[0] for token_ids in inputs]

        assert np.abs(together - np.stack(alone)).max() < 1e-5
        assert not np.allclose(together[0], together[1], atol=1e-3)

    async def test_callers_at_once(self, build: EngineBuilder) -> None:
        """Callers that come together each get their own vectors."""
        engine = build()
        inputs = await engine.encode([f"number {number} " * (number % 7 + 1) for number in range(40)])

        together = await asyncio.gather(*(engine.embed([token_ids]) for token_ids in inputs))

        assert np.abs(np.concatenate(together) - await engine.embed(inputs)).max() < 1e-5

    async def test_tokens_are_counted(self, build: EngineBuilder) -> None:
        """The tokens that were computed are counted once, and nothing is left running."""
        engine = build()
        inputs = await engine.encode(TEXTS)

        await engine.embed(inputs)

        stats = engine.stats()
        assert stats.prompt_tokens == sum(map(len, inputs))
        assert (stats.num_requests_running, stats.num_requests_waiting) == (0, 0)


class TestLimits:
    """What is refused, before anything is computed."""

    async def test_longest_input(self, build: EngineBuilder) -> None:
        """An input may be as long as the model allows; one token more is refused with both numbers."""
        engine = build()
        longest = [7] * engine.spec.max_model_len

        assert len(await engine.embed([longest])) == 1
        with pytest.raises(ContextLengthExceededError) as caught:
            await engine.embed([[7], [*longest, 7]])
        assert f"length is {len(longest)} tokens, however you requested {len(longest) + 1} tokens" in str(caught.value)
        assert caught.value.param == "input"

    @pytest.mark.parametrize("token_ids", [[], [-1], [7, 10**6]])
    async def test_tokens(self, build: EngineBuilder, token_ids: list[int]) -> None:
        """An input without tokens, or with one that does not exist, is refused."""
        with pytest.raises(InvalidValueError) as caught:
            await build().embed([[7], token_ids])

        assert caught.value.param == "input"
        assert "number 1" in str(caught.value)

    async def test_full_queue(self, build: EngineBuilder) -> None:
        """What is more than the engine takes on is refused at once, with a time; afterwards there is room again."""
        engine = build(max_concurrent_requests=2)
        inputs = [[7] * 50] * 60
        running = [asyncio.create_task(engine.embed(inputs)) for _ in range(2)]
        await asyncio.sleep(0)

        with pytest.raises(RateLimitError) as caught:
            await engine.embed([[7]])
        with pytest.raises(RateLimitError):
            await engine.encode(["x"])
        assert caught.value.retry_after_seconds >= 1

        await asyncio.gather(*running)
        assert len(await engine.embed([[7]])) == 1


class TestEnding:
    """Callers that go, and engines that do."""

    async def test_cancelled(self, build: EngineBuilder) -> None:
        """For a caller that has gone nothing more is computed, and the next one does not wait for it."""
        engine = build()
        inputs = [[7] * 100] * 1000
        caller = asyncio.create_task(engine.embed(inputs))
        await asyncio.sleep(0.01)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)

        await engine.embed([[7]])

        assert engine.stats().prompt_tokens < 50_000
        assert (engine.stats().num_requests_running, engine.stats().num_requests_waiting) == (0, 0)

    async def test_closed(self, build: EngineBuilder) -> None:
        """An engine that is closed ends what it was computing with an error, and takes no more."""
        engine = build()
        caller = asyncio.create_task(engine.embed([[7] * 100] * 1000))
        await asyncio.sleep(0.1)  # it is on its way, also to another server

        await engine.close()

        with pytest.raises(ServiceUnavailableError):
            await caller
        with pytest.raises(ServiceUnavailableError):
            await engine.embed([[7]])
