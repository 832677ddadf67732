"""The image engine: a queue in front of a process that draws."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from openhearth.engine.base import ImageOutput, ImageParams
from openhearth.engine.image.config import ImageEngineConfig
from openhearth.engine.image.engine import DiffusersImageEngine
from openhearth.engine.registry import load_image_engine
from openhearth.errors import BadRequestError, ModelLoadError, RateLimitError, ServiceUnavailableError
from tests.image_models import build_image_model
from tests.pictures import decoded, noise, saved

_CONFIG = ImageEngineConfig(max_waiting_requests=2, num_threads=1)


def params(**changes: Any) -> ImageParams:
    """Return a request for one image of two steps."""
    defaults: dict[str, Any] = {"prompt": "a cat", "seeds": (1,), "num_inference_steps": 2}
    return ImageParams(**(defaults | changes))


ENDLESS = params(num_inference_steps=900)


async def draw(engine: DiffusersImageEngine, request: ImageParams) -> list[ImageOutput]:
    """Return all outputs of a request."""
    return [output async for output in engine.generate(request)]


async def until(engine: DiffusersImageEngine, *, num_running: int, num_waiting: int = 0, min_steps: int = 0) -> None:
    """Wait until so many requests are running and waiting, and so many steps are done."""
    while True:
        stats = engine.stats()
        numbers = (stats.num_requests_running, stats.num_requests_waiting)
        if numbers == (num_running, num_waiting) and stats.num_steps >= min_steps:
            return
        await asyncio.sleep(0.005)


@pytest.fixture(scope="module")
def shared(model_folder: Callable[[str], Path]) -> Any:
    """Give one engine for tests that leave it as it was."""
    engine = DiffusersImageEngine(model_folder("sd1"), _CONFIG)
    yield engine
    asyncio.run(engine.close())


@pytest.fixture
async def engine(model_folder: Callable[[str], Path]) -> AsyncIterator[DiffusersImageEngine]:
    """Give an engine of its own to a test that breaks it."""
    engine = await asyncio.to_thread(DiffusersImageEngine, model_folder("sd1"), _CONFIG)
    yield engine
    await engine.close()


async def test_images_come_out(shared: DiffusersImageEngine) -> None:
    """Images and previews come in their file format."""
    outputs = await draw(shared, params(output_format="jpeg", num_partial_images=1))

    assert [output.partial_index for output in outputs] == [0, None]
    assert all(decoded(output.data).format == "JPEG" for output in outputs)


async def test_requests_wait_for_each_other(shared: DiffusersImageEngine) -> None:
    """Requests at the same time get what each would have got alone."""
    alone = [(await draw(shared, params(seeds=(seed,))))[0].data for seed in (1, 2, 3)]

    together = await asyncio.gather(*(draw(shared, params(seeds=(seed,))) for seed in (1, 2, 3)))

    assert [outputs[0].data for outputs in together] == alone


async def test_a_full_queue_refuses(shared: DiffusersImageEngine) -> None:
    """When as many requests wait as may, the next is refused, with a time to try again."""
    tasks = [asyncio.create_task(draw(shared, ENDLESS))]
    await until(shared, num_running=1)
    tasks += [asyncio.create_task(draw(shared, params())) for _ in range(2)]
    await until(shared, num_running=1, num_waiting=2)

    with pytest.raises(RateLimitError) as caught:
        await draw(shared, params())

    assert caught.value.retry_after_seconds > 0
    tasks[0].cancel()
    finished = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outputs, list) for outputs in finished[1:])


async def test_leaving_ends_the_work(shared: DiffusersImageEngine) -> None:
    """When the one who asked goes, the work ends long before its last step, and the next request is served."""
    before = shared.stats().num_steps
    task = asyncio.create_task(draw(shared, ENDLESS))
    await until(shared, num_running=1, min_steps=before + 2)

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await until(shared, num_running=0)

    assert shared.stats().num_steps - before < 500
    assert len(await draw(shared, params())) == 1


async def test_leaving_the_queue(shared: DiffusersImageEngine) -> None:
    """A request whose client goes while it waits is never begun."""
    first, second = (asyncio.create_task(draw(shared, ENDLESS)) for _ in range(2))
    await until(shared, num_running=1, num_waiting=1)
    second.cancel()
    first.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    await until(shared, num_running=0)
    steps = shared.stats().num_steps

    await draw(shared, params())

    assert shared.stats().num_steps == steps + 2


async def test_closing_the_iterator_ends_the_work(shared: DiffusersImageEngine) -> None:
    """An iterator that is closed after a preview ends the work, too."""
    async with aclosing(shared.generate(params(num_inference_steps=900, num_partial_images=3))) as outputs:
        assert (await anext(outputs)).partial_index == 0

    await until(shared, num_running=0)


async def test_what_the_worker_refuses(shared: DiffusersImageEngine, tmp_path: Path) -> None:
    """What turns out to be wrong in the worker is an error of the request, and the worker goes on."""
    (tmp_path / "image.png").write_bytes(b"not a picture")

    with pytest.raises(BadRequestError):
        await draw(shared, params(images=(tmp_path / "image.png",)))

    assert len(await draw(shared, params())) == 1


async def test_what_has_no_name(shared: DiffusersImageEngine) -> None:
    """An error that nobody expected comes with the worker's traceback, and the worker goes on."""
    with pytest.raises(Exception, match="Traceback"):
        await draw(shared, params(num_inference_steps=10_000))  # more than the scheduler was trained for

    assert len(await draw(shared, params())) == 1


async def test_pictures_are_inspected(shared: DiffusersImageEngine, tmp_path: Path) -> None:
    """The engine says what a picture is without waiting for its worker."""
    info = await shared.inspect(saved(noise(30, 20), tmp_path / "a.png"))

    assert (info.format, info.width, info.height) == ("png", 30, 20)


def test_the_model_is_described(shared: DiffusersImageEngine) -> None:
    """The engine knows what its model can do."""
    assert (shared.info.native_size, shared.info.can_edit, shared.info.has_transparency) == (64, True, False)


async def test_a_worker_that_dies_is_replaced(engine: DiffusersImageEngine) -> None:
    """When the worker dies, its request fails with a sentence, and the next request starts another."""
    task = asyncio.create_task(draw(engine, ENDLESS))
    await until(engine, num_running=1, min_steps=1)
    assert engine.worker_pid is not None
    os.kill(engine.worker_pid, signal.SIGKILL)

    with pytest.raises(ServiceUnavailableError, match="exit code -9"):
        await task

    assert len(await draw(engine, params())) == 1


async def test_closing_ends_running_requests(engine: DiffusersImageEngine) -> None:
    """Requests that run or wait when the engine is closed end with an error, and so do later ones."""
    tasks = [asyncio.create_task(draw(engine, ENDLESS)) for _ in range(2)]
    await until(engine, num_running=1, num_waiting=1, min_steps=1)

    await engine.close()

    results = await asyncio.gather(*tasks, draw(engine, params()), return_exceptions=True)
    assert [type(result) for result in results] == [ServiceUnavailableError] * 3


def test_a_model_that_cannot_be_loaded(tmp_path: Path) -> None:
    """A model that diffusers cannot load is an error that says why."""
    folder = build_image_model(tmp_path / "model")
    (folder / "unet" / "config.json").write_text("{}")

    with pytest.raises(ModelLoadError):
        DiffusersImageEngine(folder, _CONFIG)


def test_missing_libraries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the images extra the error says what to install."""
    monkeypatch.setitem(sys.modules, "diffusers", None)

    with pytest.raises(ModelLoadError, match=r"diffusers.*pip install 'openhearth\[images\]'"):
        load_image_engine(tmp_path, _CONFIG)


def test_the_registry_loads_the_engine(model_folder: Callable[[str], Path]) -> None:
    """The engine is found by name."""
    engine = load_image_engine(model_folder("sd1"), _CONFIG)

    asyncio.run(engine.close())

    assert isinstance(engine, import_module("openhearth.engine.image.engine").DiffusersImageEngine)
