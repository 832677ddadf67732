"""Running prompts through an engine, with the engine that needs no weights."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openhearth.catalog.catalog import Catalog
from openhearth.engine.base import SamplingParams
from openhearth.engine.fake.embedding import FakeEmbeddingEngine
from openhearth.engine.fake.engine import FakeTextEngine
from openhearth.errors import GenerationTimeoutError, InvalidValueError
from openhearth.services.generation import Generation, Tally
from openhearth.services.metrics import Metrics
from openhearth.services.model_host import LoadedModel, Loaders, ModelHost
from openhearth.services.resident_models import ResidentModels
from openhearth.services.training_files import TrainingFiles
from openhearth.services.tuned_models import TunedModels
from openhearth.store.blobs.memory import MemoryBlobStore
from openhearth.store.database import Database, sqlite_url

PROMPTS = ([1, 2, 3], [4, 5, 6])
ENDLESS = SamplingParams(max_tokens=2000, ignore_eos=True)


@pytest.fixture
async def model() -> AsyncIterator[LoadedModel]:
    """Give a model that takes its time."""
    engine = FakeTextEngine(step_seconds=0.003)
    yield LoadedModel("slow", engine)
    await engine.close()


def generation(*, timeout_seconds: float) -> Generation:
    """Return the service over metrics of its own."""
    loaders = Loaders(text=lambda _: FakeTextEngine(), embedding=lambda _: FakeEmbeddingEngine())
    tuned_models = TunedModels(Database(sqlite_url(Path("none"))), TrainingFiles(MemoryBlobStore(), Path("none")))
    host = ModelHost(
        Catalog(Path("none"), aliases={}),
        tuned_models,
        loaders=loaders,
        defaults=["slow"],
        residents=ResidentModels(max_bytes=0),
    )
    return Generation(Metrics(host), timeout_seconds=timeout_seconds)


@pytest.mark.parametrize("num_prompts", [1, 2])
async def test_time_limit(model: LoadedModel, num_prompts: int) -> None:
    """A request that takes too long keeps what it has said so far, ends with an error, and leaves the engine."""
    limited, tally = generation(timeout_seconds=1.5), Tally()

    outputs = limited.run(model, PROMPTS[:num_prompts], ENDLESS, tally=tally)
    with pytest.raises(GenerationTimeoutError, match=r"1\.5 seconds"):
        [output async for output in outputs]

    assert len(tally.latest) == num_prompts
    assert model.engine.stats().num_requests_running == 0


async def test_time_limit_of_a_caller_that_rests(model: LoadedModel) -> None:
    """The time that a caller takes between two outputs counts, and its own waiting is never interrupted."""
    limited = generation(timeout_seconds=0.05)
    outputs = limited.run(model, PROMPTS[:1], ENDLESS, tally=Tally())
    await anext(outputs)

    await asyncio.sleep(0.1)
    with pytest.raises(GenerationTimeoutError):
        [output async for output in outputs]

    assert model.engine.stats().num_requests_running == 0


async def test_within_the_limit(model: LoadedModel) -> None:
    """A request that is done in time is not disturbed."""
    unlimited = generation(timeout_seconds=600)

    outputs = [output async for output in unlimited.run(model, PROMPTS, SamplingParams(max_tokens=3), tally=Tally())]

    assert {number for number, _ in outputs} == {0, 1}
    assert sum(output.finish_reason is not None for _, output in outputs) == 2


async def test_one_prompt_fails() -> None:
    """When one prompt of a request fails, its error is raised and the others are given up."""
    engine = FakeTextEngine(step_seconds=0.003)
    failing = [*PROMPTS, [10**6]]

    outputs = generation(timeout_seconds=60).run(LoadedModel("slow", engine), failing, ENDLESS, tally=Tally())
    with pytest.raises(InvalidValueError):
        [output async for output in outputs]

    assert engine.stats().num_requests_running == 0


async def test_caller_leaves(model: LoadedModel) -> None:
    """When the caller leaves in the middle, all prompts of its request are given up."""
    outputs = generation(timeout_seconds=60).run(model, PROMPTS, ENDLESS, tally=Tally())
    await anext(outputs)

    await outputs.aclose()

    assert model.engine.stats().num_requests_running == 0
